"""What may move: names, sizes, the start, and that nothing else ever moves."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from tunesmith import config
from tunesmith.core import Weights
from tunesmith.errors import ConfigError
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.coordinates import pretrained
from tunesmith.tune.lora import LoRA
from tunesmith.tune.subspace import All, Blocks, FreezeFirst, FreezeReadout, weight_of

SUBSPACES: dict[str, Any] = {
    "all": All(),
    "freeze-first": FreezeFirst(),
    "freeze-readout": FreezeReadout(),
    "blocks": Blocks(names=("products.1", "embedding")),
    "lora": LoRA(rank=2),
    "outer": LoRA(rank=2, factors="outer"),
}
POTENTIAL = tiny.potential()
OWN = POTENTIAL.weights()


def start(subspace: Any, seed: int = 0) -> Weights:
    found: Weights = subspace.start(POTENTIAL, torch.Generator().manual_seed(seed))
    return found


def beginning(*prefixes: str) -> set[str]:
    return {n for n in OWN if n.startswith(prefixes)}


@pytest.mark.parametrize("kind", SUBSPACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_start_is_the_model_itself(kind: str, dtype: torch.dtype) -> None:
    potential, subspace = tiny.potential(dtype), SUBSPACES[kind]
    own = potential.weights()
    coordinates = subspace.start(potential, torch.Generator().manual_seed(0))
    full = subspace.expand(own, coordinates)
    assert list(full) == list(own)
    assert all(torch.equal(full[n], own[n]) for n in own)
    assert {c.dtype for c in coordinates.values()} == {dtype}
    assert {weight_of(n) for n in coordinates} <= set(own)
    assert set(subspace.unit(potential, coordinates)) == set(coordinates)
    assert any(subspace.moves(n) for n in coordinates)


def test_frozen_parts_are_those_of_the_paper() -> None:
    scale = beginning("scale_shift.")
    assert set(start(All())) == set(OWN) - scale
    frozen = beginning("node_embedding.", "interactions.0.")
    assert len(frozen) > 4
    assert set(start(FreezeFirst())) == set(OWN) - scale - frozen
    assert set(start(FreezeReadout())) == beginning("readouts.")


@pytest.mark.parametrize(
    ("names", "prefixes"),
    [
        (("embedding",), ("node_embedding.",)),
        (("interactions",), ("interactions.",)),
        (("products.1", "readouts"), ("products.1.", "readouts.")),
        (("interactions.0.conv_tp_weights",), ("interactions.0.conv_tp_weights.",)),
        (("readouts.1.linear_2.weight",), ("readouts.1.linear_2.weight",)),
        (("*.linear_up.*",), ("interactions.0.linear_up.", "interactions.1.linear_up.")),
        (("scale",), ("scale_shift.",)),
    ],
)
def test_blocks_are_named_in_the_users_words(
    names: tuple[str, ...], prefixes: tuple[str, ...]
) -> None:
    found = start(Blocks(names=names))
    assert set(found) == beginning(*prefixes)
    assert list(found) == [n for n in OWN if n in found], "the model's order"


def test_a_block_that_is_none_is_refused_with_what_there_is() -> None:
    for name, said in (
        ("interaction.0", "did you mean 'interactions.0'?"),
        ("readouts.3", "did you mean 'readouts'?"),
        ("zzz", "known: embedding, interactions, interactions.0"),
        # no beginning of a part of a name
        ("interactions.0.linear_u", "interactions.0.linear_u"),
    ):
        with pytest.raises(ConfigError, match=r"tune\.subspace\.names: .*tiny") as caught:
            start(Blocks(names=("readouts", name)))
        assert said in str(caught.value)


def test_kinds_can_be_configured() -> None:
    def subspace(*overrides: str) -> Any:
        given = [f"tune.subspace.{o}" for o in overrides]
        short = {"model.source": "organic-xs", "data.train": "train.xyz"}
        return config.load(config.TuneConfig, None, given, short).tune.subspace

    assert subspace() == All()
    assert subspace("initial=random") == All(initial="random")
    assert subspace("kind=freeze-first") == FreezeFirst()
    assert subspace("kind=freeze-readout") == FreezeReadout()
    assert subspace("kind=blocks", "names=readouts") == Blocks(names=("readouts",))
    assert subspace("kind=blocks", "names=[readouts, products.0]").names[1] == "products.0"
    assert subspace("kind=lora", "rank=16") == LoRA(rank=16)
    for wrong, said in (
        (("kind=blocks",), r"tune\.subspace\.names"),
        (("kind=blocks", "names=[]"), r"tune\.subspace\.names"),
        (("kind=lora", "rank=0"), r"tune\.subspace\.rank"),
        (("kind=lora", "factors=outer", "init_std=0.1"), "init_std is not used"),
    ):
        with pytest.raises(ConfigError, match=said):
            subspace(*wrong)


def test_unit_is_the_rms_of_all_that_moves() -> None:
    for kind in ("all", "freeze-first", "freeze-readout", "blocks"):
        coordinates = start(SUBSPACES[kind])
        numbers = np.concatenate([OWN[n].numpy().ravel() for n in coordinates])
        units = SUBSPACES[kind].unit(POTENTIAL, coordinates)
        size = np.sqrt(np.mean(numbers**2))
        assert [float(u) for u in units.values()] == pytest.approx([size] * len(coordinates))


def test_from_scratch_starts_from_fresh_weights_of_the_generator() -> None:
    scratch = All(initial="random")
    one, again, other = start(scratch), start(scratch), start(scratch, seed=1)
    fresh = POTENTIAL.untaught(torch.Generator().manual_seed(0))
    for name, w in one.items():
        assert torch.equal(w, again[name])
        assert torch.equal(w, fresh[name])
        assert not torch.equal(w, other[name])
        assert not torch.equal(w, OWN[name])
    # the prior's width stays a fraction of the pretrained weights
    assert scratch.unit(POTENTIAL, one) == All().unit(POTENTIAL, start(All()))


@pytest.mark.parametrize("kind", SUBSPACES)
def test_training_moves_what_may_move_and_not_a_bit_of_the_rest(kind: str) -> None:
    subspace = SUBSPACES[kind]
    task = tiny.problem(tiny.molecules(5), tiny.molecules(2, seed=9), subspace=subspace)
    sampler = AdamW(epochs=15, batch_size=5, learning_rate=1e-2, ema=0.5)
    fit = sampler.fit(task)
    coordinates = {k: w[0] for k, w in fit.moved.items()}
    first = start_of(task)
    assert set(coordinates) == set(first)
    for name, w in coordinates.items():
        assert torch.equal(w, first[name]) != subspace.moves(name), name
    full = subspace.expand(OWN, coordinates)
    touched = {weight_of(n) for n in coordinates}
    for name, w in OWN.items():
        assert torch.equal(full[name], w) == (name not in touched), name
    losses = [entry["valid_loss"] for entry in fit.histories[0]]
    assert losses[-1] < losses[0]


def start_of(task: Any) -> Weights:
    return pretrained(task.potential, task.subspace, task.seed)


def test_scale_and_shift_can_be_trained_by_name() -> None:
    subspace = Blocks(names=("scale",))
    leaves = {k: w.requires_grad_() for k, w in start(subspace).items()}
    atoms = tiny.molecules(1)[0].atoms
    batch = POTENTIAL.batch([POTENTIAL.graph(atoms)])
    energy = POTENTIAL.evaluate(subspace.expand(OWN, leaves), batch, create_graph=True).energy[0]
    scale, shift = torch.autograd.grad(energy, list(leaves.values()))
    # E = scale · network + shift for every atom
    assert float(shift) == pytest.approx(len(atoms))
    offset = len(atoms) * float(OWN["scale_shift.shift"])
    network = (energy.item() - offset) / float(OWN["scale_shift.scale"])
    assert float(scale) == pytest.approx(network)
