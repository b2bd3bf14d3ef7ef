"""Argon: Lennard-Jones with a shifted cutoff, quick enough for statistics, and no memory."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones

from tunesmith.explore.state import Answer

EPSILON, SIGMA, CUTOFF = 0.0103, 3.4, 5.2


def solid(n: int = 2) -> Atoms:
    """4n³ atoms, periodic; the cutoff needs n ≥ 2."""
    return bulk("Ar", "fcc", a=5.3, cubic=True) * n


def cluster() -> Atoms:
    """7 atoms, a pentagonal bipyramid, periodic in no direction."""
    angle = 2 * np.pi * np.arange(5) / 5
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) * 3.25
    return Atoms("Ar7", np.concatenate([ring, [[0, 0, 1.95], [0, 0, -1.95]]]))


def answer(walker: int, atoms: Atoms) -> Answer:
    """Energy, forces and stress with the minimum image convention."""
    i, j = np.triu_indices(len(atoms), 1)
    d = atoms.positions[i] - atoms.positions[j]
    if atoms.pbc.all():
        scaled = d @ np.linalg.inv(atoms.cell.array)
        d = (scaled - np.round(scaled)) @ atoms.cell.array
    r2 = (d * d).sum(1)
    near = r2 < CUTOFF**2
    i, j, d, r2 = i[near], j[near], d[near], r2[near]
    s6 = (SIGMA**2 / r2) ** 3
    shift = (SIGMA / CUTOFF) ** 12 - (SIGMA / CUTOFF) ** 6
    energy = 4 * EPSILON * float(np.sum(s6 * s6 - s6 - shift))
    pair = (24 * EPSILON * (2 * s6 * s6 - s6) / r2)[:, None] * d
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pair)
    np.add.at(forces, j, -pair)
    stress = -(pair.T @ d) / atoms.cell.volume if atoms.pbc.all() else None
    return Answer(energy, forces, stress)


def check_against_ase() -> None:
    """The same numbers from ASE's Lennard-Jones."""
    atoms = solid()
    atoms.rattle(0.1, seed=1)
    atoms.calc = LennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF)
    ours = answer(0, atoms)
    assert ours.stress is not None
    np.testing.assert_allclose(ours.energy, atoms.get_potential_energy(), rtol=1e-12)
    np.testing.assert_allclose(ours.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(ours.stress, atoms.get_stress(voigt=False), atol=1e-14)
