"""What training, selection and attacks differentiate, by finite differences, on every backend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from backends import SMALL, cells, frames, load, structures
from tunesmith.attack.adversary import Adversary
from tunesmith.attack.differences import Differences
from tunesmith.attack.search import Attack, attack
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import E0s, Quantities, Tensor, Weights
from tunesmith.data.formats import write_frames
from tunesmith.features.compute_features import NTK, Activation, compute
from tunesmith.features.ntk import projection
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials.potential import Potential
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.adamw_fit import AdamWFit
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.lora import LoRA
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem
from tunesmith.tune.replay import Pseudolabel
from tunesmith.tune.subspace import All

LAW = GammaCalibration().update(0.1, 0.25)


def drawn(potential: Potential, seed: int) -> Weights:
    """A direction in all trainable weights, of each one's own size."""
    generator, own = torch.Generator().manual_seed(seed), potential.weights()
    found = {}
    for name in potential.names.trainable():
        noise = torch.randn(own[name].shape, generator=generator, dtype=torch.float64)
        found[name] = (own[name].square().mean().sqrt() + 1e-3) * noise
    return found


def moved(potential: Potential, way: Weights, amount: float) -> Weights:
    return {k: w + amount * way[k] if k in way else w for k, w in potential.weights().items()}


def slope(value: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """By central differences, error of fourth order."""
    near, far = (np.asarray(value(s)) - np.asarray(value(-s)) for s in (step, 2 * step))
    return (8 * near - far) / (12 * step)


def close(found: np.ndarray, expected: np.ndarray, relative: float = 2e-6) -> None:
    scale = np.abs(expected).max()
    assert scale > 1e-4, "nothing is checked"
    np.testing.assert_allclose(found / scale, expected / scale, atol=relative)


# -------------------------------------------------------------------------------- training


COORDINATES: dict[str, tuple[Any, bool]] = {
    "all": (All(), False),
    "lora": (LoRA(rank=2, init_std=0.1), False),
    "all-replay": (All(), True),
    "lora-replay": (LoRA(rank=2, init_std=0.1), True),
}


@cells(SMALL, tuple(COORDINATES))
def test_gradient_of_the_loss(backend: str, method: str, tmp_path: Path) -> None:
    """By the coordinates, away from where training starts."""
    potential, (subspace, replays) = load(backend, tmp_path), COORDINATES[method]
    learnt, anchor, replay = frames(3), NoAnchor(), None
    if replays:
        write_frames(tmp_path / "old.xyz", frames(2, seed=5))
        anchor = Pseudolabel(frames=(str(tmp_path / "old.xyz"),))
        replay = anchor.replay(potential, anchor.select(potential, learnt, 0), Huber())
    e0s = E0s(potential.e0s)
    posed = Problem(potential, subspace, anchor, Huber(), learnt, [], e0s, 0, replay)
    run = AdamWFit(AdamW(batch_size=3), posed, None)
    generator = torch.Generator().manual_seed(1)
    start, way = (torch.randn(len(run.theta), generator=generator).double() for _ in "ab")
    theta = (run.theta.detach() + 0.03 * start).requires_grad_()

    def value(at: Tensor) -> Tensor:
        found: Tensor = run.loss(at, run.train)
        return found

    (gradient,) = torch.autograd.grad(value(theta), theta)
    still = theta.detach()
    numeric = slope(lambda s: value(still + s * way).detach().numpy(), 1e-5)
    assert float(gradient @ way) == pytest.approx(float(numeric), rel=1e-5)


# ------------------------------------------------------------------------- representations


@cells(SMALL)
def test_activations_are_means_over_atoms(backend: str, tmp_path: Path) -> None:
    """Of each structure alone; and the same however it is turned and its atoms are listed."""
    potential, some = load(backend, tmp_path), structures(4)
    posterior = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    found = compute(Activation(), some, posterior)
    for atoms, row in zip(some, found, strict=True):
        batch = potential.batch([potential.graph(atoms)])
        atomic = potential.features(potential.weights(), batch).numpy()
        close(row, atomic.mean(0))
    turned = [a[::-1] for a in some]
    for atoms in turned:
        atoms.rotate(40, (1, 2, -1))
    close(compute(Activation(), turned, posterior), found)
    assert np.abs(found[0] - found[3]).max() > 1e-4, "two different waters"


@cells(SMALL)
def test_ntk_is_the_gradient_by_the_embedding(backend: str, tmp_path: Path) -> None:
    """Moved are the rows of all elements, by those weights that hold them; or it says it has none.

    Which weights those are is found by what the energy answers to: the gradient has as many
    columns as one weight of the embedding, or rows of it, have numbers.
    """
    potential, some = load(backend, tmp_path), structures(3)
    own = potential.weights()
    posterior = Ensemble(potential, [own], E0s(potential.e0s))
    found = compute(NTK(), some, posterior).astype(float)
    generator = torch.Generator().manual_seed(2)
    way = torch.randn(found.shape[1], generator=generator, dtype=torch.float64)
    rows = {n for n in potential.names.embedding if own[n].numel() == found.shape[1]}
    assert rows, "no weight has a number for every column"
    matches = 0
    for name in rows:

        def energies(step: float, name: str = name) -> np.ndarray:
            weights = {**own, name: own[name] + step * way.view(own[name].shape)}
            return Ensemble(potential, [weights], posterior.e0s).predict(some).mean.energy

        numeric = slope(energies, 1e-3)
        matches += bool(np.allclose(found @ way.numpy(), numeric, rtol=1e-5, atol=1e-6))
    assert matches == 1
    assert np.abs(found @ way.numpy()).min() > 1e-4


@cells(SMALL, ("readouts", "interactions.1"))
def test_ntk_of_named_weights(backend: str, method: str, tmp_path: Path) -> None:
    """Undone the projection, which is a matrix with as many rows as there are weights."""
    potential, some = load(backend, tmp_path), structures(3)
    parts = {
        "readouts": potential.names.readouts,
        "interactions.1": potential.names.interactions[1],
    }
    own, names = potential.weights(), parts[method]
    posterior = Ensemble(potential, [own], E0s(potential.e0s))
    kind = NTK(weights=method, columns=50, seed=3)
    found = compute(kind, some, posterior).astype(float)
    generator = torch.Generator().manual_seed(4)
    ordered = [n for n in (*potential.names.trainable(), *potential.names.scale) if n in names]
    length = sum(own[n].numel() for n in ordered)
    # a way whose image under the projection's transpose is known: P P^T w, with w random
    project = projection(length, 50, 3)
    matrix = project(torch.eye(length, dtype=torch.float64))
    image = torch.randn(50, generator=generator, dtype=torch.float64)
    way, start = {}, 0
    for name in ordered:
        n = own[name].numel()
        way[name] = (matrix[start : start + n] @ image).view(own[name].shape)
        start += n

    def energies(step: float) -> np.ndarray:
        weights = moved(potential, way, step)
        return Ensemble(potential, [weights], posterior.e0s).predict(some).mean.energy

    np.testing.assert_allclose(found @ image.numpy(), slope(energies, 1e-4), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------- attacks


def committee(potential: Potential, size: float) -> Ensemble:
    """Two members, some way off the model in all its weights."""
    members = [moved(potential, drawn(potential, seed), size) for seed in (1, 2)]
    return Ensemble(potential, members, E0s(potential.e0s))


def boxed(seed: int) -> Atoms:
    """Water in a sheared cell, where atoms see their own images."""
    atoms = structures(1, seed)[0]
    atoms.set_cell([[3.2, 0, 0], [0.6, 3.0, 0], [-0.4, 0.5, 3.4]])
    atoms.pbc = True
    return atoms


def said_by(posterior: Ensemble) -> Any:
    """Energies and forces of members, structure by structure."""

    def models(some: list[Atoms]) -> list[Quantities]:
        found = []
        for atoms in some:
            members = posterior.predict([atoms]).members
            assert members is not None
            energies = np.array([m.energy[0] for m in members])
            found.append(Quantities(energies, np.array([m.forces for m in members])))
        return found

    return models


@cells(SMALL)
def test_the_exact_gradient_of_an_attack(backend: str, tmp_path: Path) -> None:
    """Positions, and the nine strains of a cell."""
    posterior = committee(load(backend, tmp_path), 0.05)
    objective = Attack(target="0.4 eV/Å").objective(LAW)
    attacked = {0: structures(1)[0], 1: boxed(1)}
    found = Adversary(posterior, objective).evaluate(attacked)
    differences = Differences(said_by(posterior), objective, step=3e-5, central=True)
    expected = differences.evaluate(attacked)
    for i, atoms in attacked.items():
        assert found[i].value == pytest.approx(expected[i].value, rel=1e-9)
        close(found[i].positions, expected[i].positions, 1e-5)
        if atoms.pbc.all():
            close(found[i].strain, expected[i].strain, 1e-5)


@cells(SMALL)
def test_a_short_attack_ends_for_a_stated_reason(backend: str, tmp_path: Path) -> None:
    posterior, start = committee(load(backend, tmp_path), 0.05), structures(2)
    spread = []
    for atoms in start:
        std = posterior.predict([atoms]).std()
        assert std is not None
        spread.append(float(np.sqrt(np.mean((std.forces**2).sum(1)))))
    settings = Attack(target=f"{1.3 * max(spread)} eV/Å", evaluations=25)
    adversary = Adversary(posterior, settings.objective(None))
    found = attack(start, settings, adversary.evaluate)
    for atoms, one, before in zip(start, found, spread, strict=True):
        assert one.start_std == pytest.approx(before, rel=1e-6)
        first, last = (adversary.evaluate({9: a})[9].value for a in (atoms, one.atoms))
        assert last < first
        reached = abs(one.std / settings.error - 1) < settings.tolerance
        assert reached if one.reason == "on target" else one.reason != "not finite"
