"""Checks of what adversarial attacks ask: forces differentiated once more, lists with a skin."""

from dataclasses import replace

import numpy as np
import torch
from ase import Atoms

from tunesmith.core import Tensor
from tunesmith.potentials.potential import Batch, Evaluation, Potential
from tunesmith.testing.compute import (
    OFFSETS,
    array,
    close,
    move,
    predict,
    random_direction,
    slope,
    tolerance,
)
from tunesmith.testing.example_structures import samples


def check_place_gradients(potential: Potential, seed: int = 0) -> None:
    """Members' energies, forces and stresses differentiated in positions and cell."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential)
    bent = random_direction(potential, seed)
    own = potential.weights()
    members = [move(own, bent, 0.1 * i) for i in range(2)]
    stacked = {k: torch.stack([w[k] for w in members]) for k in bent}
    shared = {k: w for k, w in own.items() if k not in bent}
    stress = potential.capabilities.stress

    def values(batch: Batch, **options: bool) -> Evaluation:
        return potential.evaluate_members(shared, stacked, batch, stress=stress, **options)

    for atoms in samples(potential, rng):
        batch = potential.batch([potential.graph(atoms)])
        shift = torch.from_numpy(rng.normal(size=(len(atoms), 3))).to(batch.positions)
        # molecules have no cell that could matter
        size = 0.3 if atoms.pbc.all() else 0.0
        turn = torch.from_numpy(size * rng.normal(size=(3, 3))).to(batch.positions)
        first = values(batch)
        weights = [
            torch.from_numpy(rng.normal(size=tuple(p.shape))).to(p) for p in _parts(first, atoms)
        ]

        def moved(amount: Tensor, batch: Batch = batch, by: tuple = (shift, turn)) -> Batch:
            places = batch.positions + amount * (by[0] + batch.positions @ by[1])
            return replace(batch, positions=places, cell=batch.cell + amount * batch.cell @ by[1])

        def total(out: Evaluation, atoms: Atoms = atoms, weights: list = weights) -> Tensor:
            parts = zip(_parts(out, atoms), weights, strict=True)
            return torch.stack([(p * w).sum() for p, w in parts]).sum()

        amount = torch.zeros((), dtype=batch.positions.dtype, requires_grad=True)
        out = values(moved(amount), create_graph=True)
        (found,) = torch.autograd.grad(total(out), amount)
        steps = [moved(torch.tensor(o * allowed.step).to(amount)) for o in OFFSETS]
        expected = slope(np.array([array(total(values(b))) for b in steps]), allowed.step)
        scale = max(1.0, max(float(p.abs().max()) for p in _parts(first, atoms)))
        close(array(found) / scale, expected / scale, 10 * allowed.derivative, "second derivative")


def _parts(out: Evaluation, atoms: Atoms) -> list[Tensor]:
    parts = [out.energy, out.forces, out.stress if atoms.pbc.all() else None]
    return [p for p in parts if p is not None]


def check_skin(potential: Potential, seed: int = 0) -> None:
    """A list that reaches beyond the cutoff gives the same, here and for structures near by."""
    rng = np.random.default_rng(seed)
    allowed, skin = tolerance(potential).same, 0.8
    for atoms in samples(potential, rng):
        graph = potential.graph(atoms, skin)
        assert graph.reach >= potential.cutoff, "a list that does not even reach the cutoff"
        spare = (graph.reach - potential.cutoff) / 2
        step = rng.normal(size=(len(atoms), 3))
        step *= spare / np.linalg.norm(step, axis=1).max()
        for part in (0.0, 0.999):
            near = atoms.copy()
            near.positions += part * step
            places = torch.from_numpy(near.positions.copy())
            batch = potential.batch([replace(graph, positions=places)])
            out = potential.evaluate(potential.weights(), batch)
            assert out.forces is not None
            fresh = predict(potential, [near])
            close(array(out.energy), fresh.energy, allowed, "energy by a list with a skin")
            close(array(out.forces), fresh.forces, allowed, "forces by a list with a skin")
