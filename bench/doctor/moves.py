"""Structures of the kinds that published files are made of: scans, relaxations, strained cells, ….

Each takes structures to begin with, a calculator for those that need one, and random numbers.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize import BFGS

from bench.shared.structures import Rng, bare, clusters_of, rattled
from bench.shared.structures import dynamics as course


def dynamics(start: Atoms, calculator: Any, kelvin: float, n: int, rng: Rng) -> list[Atoms]:
    """n frames, 15 fs apart."""
    return [bare(atoms) for atoms in course(start, calculator, kelvin, n, rng, hotter=2)]


def _scaled(start: Atoms, factor: float) -> Atoms:
    atoms = start.copy()
    atoms.set_cell(atoms.cell * factor, scale_atoms=True)
    return atoms


def dimer_scans(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Distances from 0.8 to 3.5 times the first one's, of up to three pairs of atoms."""
    found = []
    for start in starts[: int(rng.integers(1, 4))]:
        d = start.get_distance(0, 1)
        for factor in np.geomspace(rng.uniform(0.75, 0.95), rng.uniform(2.0, 3.5), 14):
            atoms = start.copy()
            atoms.set_distance(0, 1, d * factor, fix=0)
            found.append(atoms)
    return found


def relaxations(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Whole relaxations, or only their ends, of rattled structures."""
    whole, found = rng.random() < 0.5, list[Atoms]()
    for start in starts if not whole else starts[:3]:
        # displacements are drawn before the limit
        moved = rattled(start, rng, 0.08)
        path = _relaxation(moved, calculator, float(10 ** rng.uniform(-3.5, -1.7)))
        found += path if whole else path[-1:]
    return found


def relaxed_and_hot(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Ends of relaxations beside dynamics of one structure."""
    found = dynamics(starts[0], calculator, 500, 10, rng)
    return found + [_relaxation(rattled(a, rng, 0.08), calculator, 1e-3)[-1] for a in starts]


def _relaxation(atoms: Atoms, calculator: Any, fmax: float) -> list[Atoms]:
    """Every step of it."""
    path: list[Atoms] = []
    atoms.calc = calculator
    search = BFGS(atoms, logfile=None)
    search.attach(lambda: path.append(bare(atoms)))
    search.run(fmax=fmax, steps=60)
    return path


def equations_of_state(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Perfect crystals from 0.9 to 1.1 of their lattice constant; sometimes rattled ones too."""
    start = starts[0]
    found = [_scaled(start, x) for x in np.linspace(*rng.uniform([0.88, 1.03], [0.96, 1.12]), 11)]
    return found + [rattled(start, rng, 0.08) for _ in range(int(rng.integers(0, 2)) * 8)]


def compression(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Rattled at one lattice constant, or at several, from 0.78 to 0.95 of the usual one."""
    low, spread = rng.uniform(0.78, 0.9), rng.integers(0, 2) * rng.uniform(0.03, 0.12)
    start, size = starts[0], rng.uniform(0.02, 0.15)
    if rng.random() < 0.4:  # one direction, ever further: a frozen phonon
        step = rng.normal(scale=size, size=(len(start), 3))
        at = _scaled(start, low)
        return [_moved(at, x * step) for x in np.linspace(0.1, 1.0, 10)]
    return [
        rattled(_scaled(start, low + spread * rng.random()), rng, size * rng.uniform(0.5, 1.5))
        for _ in range(12)
    ]


def _moved(start: Atoms, step: np.ndarray) -> Atoms:
    atoms = start.copy()
    atoms.positions += step
    return atoms


def hot(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Dynamics at 1200 to 3000 K."""
    return dynamics(starts[0], calculator, rng.uniform(1200, 3000), 14, rng)


def in_a_box(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """A molecule in a periodic box of 2.5 to 10 Å of vacuum, and labelled so."""
    start = starts[0].copy()
    start.center(vacuum=rng.uniform(1.25, 5.0))
    start.pbc = True
    return [rattled(start, rng, 0.06) for _ in range(12)]


def bond_scans(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """One bond of each of some molecules from 0.85 to 2.5 of its length, the rest held."""
    found = []
    for start in starts[:3]:
        d = start.get_all_distances()[0] + 9 * (np.arange(len(start)) == 0)
        j = int(np.argmin(d))
        for factor in np.linspace(0.85, rng.uniform(1.5, 2.5), 10):
            atoms = start.copy()
            atoms.set_distance(0, j, d[j] * factor, fix=0)
            found.append(atoms)
    return found


def clusters(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """Random clusters of 5 to 10 of the first structure's atoms or molecules, warm."""
    one, n = starts[0], int(rng.integers(3, 7))
    gap = 2.6 + (np.ptp(one.positions, axis=0).max() if len(one) > 1 else 0.0)
    cluster = clusters_of(Atoms(one.numbers, one.positions), n, gap, rng)
    return dynamics(cluster, calculator, 250, 12, rng)


def surfaces(starts: list[Atoms], calculator: Any, rng: Rng) -> list[Atoms]:
    """A slab with an atom above it, approaching; and rattled."""
    start = starts[0]
    heights = np.linspace(1.4, 3.5, 8)
    found = []
    for h in heights:
        atoms = start.copy()
        atoms.positions[-1, 2] = atoms.positions[:-1, 2].max() + h
        found.append(atoms)
    return found + [rattled(start, rng, 0.05) for _ in range(8)]
