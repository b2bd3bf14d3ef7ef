"""The whole product subspace × anchor × sampler on tiny data: no point of it needs code of its own.

Every point: the loss falls, its gradient is that of finite differences, a fit killed on the way
ends with the same bits, and the exported model gives the numbers of the members.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from tiny import e0s, molecules, potential, problem
from tunesmith import tensor_files
from tunesmith.core import Frame, Members
from tunesmith.data.formats import write_frames
from tunesmith.posterior.export import export
from tunesmith.tune import fixed
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.adamw_fit import AdamWFit
from tunesmith.tune.anchor import GaussianPrior, NoAnchor
from tunesmith.tune.chains import SGHMC
from tunesmith.tune.committee import Committee
from tunesmith.tune.cycles import Cyclical
from tunesmith.tune.density import Density, task_of
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.lora import LoRA
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Fit, Problem
from tunesmith.tune.replay import Multihead, Pseudolabel
from tunesmith.tune.subspace import All, Blocks, FreezeFirst, FreezeReadout

LIKELIHOOD = GaussianLikelihood(energy="0.2 eV", forces="0.2 eV/Å", stress="0.05 eV/Å^3")
SUBSPACES = {
    "all": All(),
    "freeze-first": FreezeFirst(),
    "freeze-readout": FreezeReadout(),
    "blocks": Blocks(names=("products.1", "readouts")),
    "lora": LoRA(rank=2, init_std=0.1),
    "lora-outer": LoRA(rank=2, factors="outer"),
}
ANCHORS = ("none", "gaussian", "multihead", "pseudolabel")
SAMPLERS: dict[str, Any] = {
    "adamw": AdamW(epochs=4, batch_size=2, learning_rate=1e-2, ema=0.5, checkpoint_every="0 s"),
    "committee": Committee(
        members=2, epochs=4, batch_size=2, learning_rate=1e-2, ema=0.5, checkpoint_every="0 s"
    ),
    "sghmc": SGHMC(members=2, steps=40, learning_rate=5e-3, batch_size=2),
    "cyclical": Cyclical(members=2, converge=40, cycle=20, learning_rate=5e-3, batch_size=2),
}


def refused(subspace: str, anchor: str) -> bool:
    """What makes no sense, and the configuration refuses."""
    return (subspace, anchor) in {
        ("lora", "gaussian"),
        ("freeze-readout", "multihead"),
        ("freeze-readout", "pseudolabel"),
    }


def cells(samplers: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    for subspace, anchor, sampler in product(SUBSPACES, ANCHORS, samplers):
        if not refused(subspace, anchor):
            yield subspace, anchor, sampler


_TURNED = ("sghmc", "cyclical", "adamw", "committee")
#: of the default run: every part once with every kind of part of the other two
FEW = {
    *(("all", a, s) for a, s in zip(ANCHORS, SAMPLERS, strict=True)),
    *(("lora-outer", a, s) for a, s in zip(ANCHORS, _TURNED, strict=True)),
    ("lora", "none", "cyclical"),
    ("lora", "pseudolabel", "adamw"),
    ("freeze-first", "multihead", "committee"),
    ("freeze-readout", "gaussian", "sghmc"),
    ("blocks", "none", "committee"),
}  # fmt: skip


def points() -> list[Any]:
    return [
        pytest.param(*cell, marks=() if cell in FEW else pytest.mark.slow, id="-".join(cell))
        for cell in cells(tuple(SAMPLERS))
    ]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of labelled structures to replay."""
    path = tmp_path_factory.mktemp("old") / "old.xyz"
    write_frames(path, molecules(4, seed=5))
    return str(path)


def posed(subspace: str, anchor: str, sampler: str, old: str) -> Problem:
    held: Any = {
        "none": NoAnchor(),
        "gaussian": GaussianPrior(scale=0.3),
        "multihead": Multihead(frames=(old,)),
        "pseudolabel": Pseudolabel(frames=(old,)),
    }[anchor]
    model, train = potential(), molecules(3)
    loss: Any = LIKELIHOOD if sampler in ("sghmc", "cyclical") else Huber()
    selected = held.select(model, train, 0)
    replay = held.replay(model, selected, loss) if selected else None
    parts = {"subspace": SUBSPACES[subspace], "anchor": held, "loss": loss, "replay": replay}
    return problem(train, molecules(2, seed=9), potential=model, **parts)


# ------------------------------------------------------------------------------ gradients


def _slope(value: Any, theta: torch.Tensor, seed: int) -> tuple[float, float]:
    """Of a function along a random way: by its gradient, and by central differences."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(theta.shape, generator=generator, dtype=theta.dtype) for _ in "ab"]
    theta, way, h = (theta + 0.03 * draw[0]).requires_grad_(), draw[1], 1e-5
    (gradient,) = torch.autograd.grad(value(theta), theta)
    up, down = (float(value((theta + s * h * way).detach()).detach()) for s in (1, -1))
    return float((gradient * way).sum()), (up - down) / (2 * h)


@pytest.mark.parametrize(("subspace", "anchor", "sampler"), cells(("adamw", "sghmc")))
def test_gradient_by_finite_differences(subspace: str, anchor: str, sampler: str, old: str) -> None:
    what = posed(subspace, anchor, sampler, old)
    if sampler == "adamw":
        run = AdamWFit(SAMPLERS["adamw"], what, None)
        exact, numeric = _slope(lambda t: run.loss(t, run.train[:2]), run.theta, 1)
    else:
        settings = SAMPLERS["sghmc"]
        target = Density(task_of(settings, settings.start(what), what, (0, 1), settings.plan(20)))
        exact, numeric = _slope(
            lambda t: target.value(t, [0, 2], [0.4, 0.6]).sum(), target.theta, 1
        )
    assert exact == pytest.approx(numeric, rel=2e-4)


# ---------------------------------------------------------------- falls, resumes, is exported


class Killed(Exception):
    pass


def _killed_once(fit: Any, place: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> Fit:
    """A fit whose process ends at its ``at``-th write of a checkpoint, run again."""
    write, calls = tensor_files.write, 0

    def counted(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        write(*args, **kwargs)
        if calls == at:
            raise Killed

    monkeypatch.setattr(tensor_files, "write", counted)
    monkeypatch.setattr(fixed, "SAVE_EVERY", 0.0)  # chains write one after every step
    with pytest.raises(Killed):
        fit(place)
    monkeypatch.undo()
    done: Fit = fit(place)
    return done


@pytest.mark.parametrize(("subspace", "anchor", "sampler"), points())
def test_a_point_of_the_product(
    subspace: str,
    anchor: str,
    sampler: str,
    old: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    what, settings = posed(subspace, anchor, sampler, old), SAMPLERS[sampler]
    whole = settings.fit(what, tmp_path / "whole")
    again = _killed_once(lambda place: settings.fit(what, place), tmp_path / "k", monkeypatch, 2)
    for mine, other in ((whole.moved, again.moved), (whole.replay, again.replay)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    members = Members(
        what.potential.base, what.potential.weights(), what.subspace, whole.moved, e0s(),
        whole.replay, whole.noise, whole.noise_scale,
    )  # fmt: skip
    _stays_frozen(members)
    assert _misfit(members, what) < _misfit(None, what)
    judges = [f.atoms for f in what.valid]
    name = export(tmp_path / "out", what.potential, members, judges)
    _is_exported(members, what, tmp_path / "out", judges, name)


def _misfit(members: Members | None, what: Problem) -> float:
    """The loss on the training structures, mean over members; of the untouched model for None."""
    data = examples(what.potential, what.train, what.e0s)
    batch, targets = collate(what.potential, data)
    loss: Any = what.loss
    likelihood = isinstance(loss, GaussianLikelihood)
    if members is None:
        models = [(what.potential.weights(), ())]
    else:
        each = range(len(members))
        models = [(members.expand(i), (members.noise_of(i),) if likelihood else ()) for i in each]
    found = [
        loss(what.potential.evaluate(w, batch, features=likelihood), batch, targets, *noise)
        for w, noise in models
    ]
    return float(torch.stack(found).mean())


def _stays_frozen(members: Members) -> None:
    """Weights that no coordinate moves are the foundation's to the bit, in every member."""
    touched = {name.partition("|")[0] for name in members.moved}
    for i in range(len(members)):
        full = members.expand(i)
        assert full.keys() == members.weights.keys()
        for name, value in members.weights.items():
            if name not in touched:
                assert torch.equal(full[name], value), name


def _is_exported(
    members: Members, what: Problem, out: Path, judges: list[Atoms], name: str
) -> None:
    paths = [out / "final.model"]
    if len(members) > 1:
        paths = [out / "members" / f"member-{i}.model" for i in range(len(members))]
        assert name.startswith(("member", "the mean"))
    for i, path in enumerate(paths):
        frame = Frame(judges[0].copy(), None, "judge")
        frame.atoms.calc = what.potential.native(path)
        batch = what.potential.batch([what.potential.graph(frame.atoms)])
        out_ = what.potential.evaluate(members.expand(i), batch)
        total = float(out_.energy[0]) + members.e0s.total(frame.atoms.numbers)
        assert frame.atoms.get_potential_energy() == pytest.approx(total, abs=1e-8)
        assert out_.forces is not None
        np.testing.assert_allclose(frame.atoms.get_forces(), out_.forces.numpy(), atol=1e-8)
