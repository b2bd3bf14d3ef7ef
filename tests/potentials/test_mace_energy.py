"""All members in one pass or one by one: the same numbers, and which of the two is taken."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import networks
from tunesmith.core import Base
from tunesmith.errors import ModelError
from tunesmith.potentials.mace import mace_potential
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.potentials.potential import Batch, Evaluation, one_by_one, stack, unstack
from tunesmith.testing.interface import check_embedding_gradient

STACKING: dict[str, dict[str, Any]] = {
    "scalars": {"hidden_irreps": "8x0e"},
    "vectors": {},
    "correlation-3": {"correlation": 3, "max_ell": 3},
    "one layer": {"num_interactions": 1},
    "density": networks.DENSITY,
}


def _native(changes: dict[str, Any]) -> torch.nn.Module:
    return networks.native(**changes) if "block" in changes else networks.build(**changes)


def _members(potential: MACEPotential, n: int = 3) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    names, start = potential.names.trainable(), potential.weights()

    def bent(name: str, weight: torch.Tensor) -> torch.Tensor:
        noise = 0.1 * torch.randn(weight.shape, generator=generator)
        return weight + noise if name in names else weight

    return [{k: bent(k, v) for k, v in start.items()} for _ in range(n)]


def _batch(potential: MACEPotential) -> Batch:
    rng = np.random.default_rng(0)
    frames = [molecule("CH3OH"), bulk("C", cubic=True), molecule("O")]
    for atoms in frames:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return potential.batch([potential.graph(atoms) for atoms in frames])


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way members are computed, call by call."""
    taken = []

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(mace_potential, name)

        def call(*args: Any, **options: Any) -> Any:
            taken.append(name)
            return original(*args, **options)

        return call

    for name in ("vmap", "one_by_one"):
        monkeypatch.setattr(mace_potential, name, counted(name))
    return taken


@pytest.mark.parametrize("name", STACKING)
@pytest.mark.parametrize("each", [True, False])
def test_in_one_pass_as_one_by_one(name: str, each: bool, passes: list[str]) -> None:
    potential = networks.potential(_native(STACKING[name]))
    batch = _batch(potential)
    members = _members(potential)
    # an untouched embedding, as where only a part of the model is sampled
    embedding = potential.names.embedding[0]
    shared, stacked = stack([m | {embedding: members[0][embedding]} for m in members])
    assert set(shared) == {embedding, *potential.names.scale}
    options = {"each": each, "stress": True, "features": True}
    together = potential.evaluate_members(shared, stacked, batch, **options)
    assert passes == ["vmap"]
    alone = one_by_one(potential, shared, stacked, batch, **options)
    for part in ("energy", "forces", "stress", "features"):
        found, expected = getattr(together, part), getattr(alone, part)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert together.forces is not None
    assert together.forces.dim() == (3 if each else 2)


def test_large_batches_single_members_and_other_blocks_go_one_by_one(
    passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = networks.potential(networks.build())

    def ask(potential: MACEPotential, n: int) -> Evaluation:
        shared, stacked = stack(_members(potential, n))
        return potential.evaluate_members(shared, stacked, _batch(potential))

    ask(potential, 1)
    ask(potential, 2)
    monkeypatch.setattr(mace_potential, "_SMALL", 100)
    ask(potential, 2)
    monkeypatch.undo()
    assert passes == ["one_by_one", "vmap", "one_by_one"]
    for changes in (networks.NONLINEAR, {"pair_repulsion": True}):
        module = networks.native(**changes)
        ask(MACEPotential(module, Base("x", "0", "mace"), dtype=torch.float64), 2)


@pytest.mark.parametrize("name", STACKING)
def test_gradients_in_one_pass_as_one_by_one(name: str, passes: list[str]) -> None:
    potential = networks.potential(_native(STACKING[name]))
    batch = _batch(potential)
    members = _members(potential)
    # a common readout, whose gradient is the sum of what the members give it
    readout = potential.names.readouts[0]
    shared, stacked = stack([m | {readout: members[0][readout]} for m in members])
    leaves = [w.requires_grad_() for w in (*stacked.values(), shared[readout])]
    options = {"stress": True, "features": True, "create_graph": True}
    gradients = []
    for run in (potential.evaluate_members, partial(one_by_one, potential)):
        out = run(shared, stacked, batch, **options)
        parts = [out.energy, out.forces, out.stress, out.features]
        assert None not in parts
        value = torch.stack([p.nan_to_num().square().sum() for p in parts]).sum()
        gradients.append(torch.autograd.grad(value, leaves))
    assert passes == ["vmap"]
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
        assert found.abs().max() > 0


def test_stacks_come_apart_again() -> None:
    same = torch.ones(2)
    members = [{"a": same, "b": torch.full((3,), float(i))} for i in range(4)]
    shared, stacked = stack(members)
    assert shared.keys() == {"a"}
    assert [w["b"][0].item() for w in unstack(stacked)] == [0, 1, 2, 3]
    # there is always something stacked, from which the number of members is known
    shared, stacked = stack([{"a": same, "c": same}] * 5)
    assert len(shared) == 1
    assert len(unstack(stacked)) == 5


def test_an_embedding_of_every_structures_own() -> None:
    """Also where mace's own blocks are called; what is no linear layer is refused by name."""
    potential = networks.potential(networks.native(**networks.NONLINEAR))
    assert not potential._path.sorts
    check_embedding_gradient(potential)
    potential._path.embedding = None
    with pytest.raises(ModelError, match="a test: its node embedding is not mace's own"):
        potential.embedding_gradient(potential.weights(), _batch(potential))
