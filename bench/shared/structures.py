"""Structures that several benches make: rattled ones, dynamics, their labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from tunesmith.core import E0s, Label
from tunesmith.posterior.ensemble import Ensemble

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "data"
Rng = np.random.Generator


def bare(atoms: Atoms) -> Atoms:
    """Numbers, positions and cell alone."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def rattled(start: Atoms, rng: Rng, size: float) -> Atoms:
    """With Gaussian displacements of so many Å."""
    atoms: Atoms = start.copy()
    atoms.positions += rng.normal(scale=size, size=(len(atoms), 3))
    return atoms


def strained(start: Atoms, rng: Rng, size: float) -> Atoms:
    """With a symmetric Gaussian strain of the cell."""
    atoms, strain = start.copy(), rng.normal(scale=size, size=(3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    return atoms  # type: ignore[no-any-return]


def dynamics(
    start: Atoms,
    calculator: Any,
    kelvin: float,
    frames: int,
    rng: Rng,
    *,
    every: int = 30,
    before: int = 0,
    hotter: float = 1.0,
) -> Iterator[Atoms]:
    """Frames of Langevin dynamics in steps of 0.5 fs, ``every`` steps apart after ``before``; each
    is the moving structure itself, with its calculator.

    hotter: times the temperature that momenta begin with: 2 from a minimum, where half of the
    kinetic energy will become potential energy.
    """
    atoms = start.copy()
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=hotter * kelvin, rng=rng)
    how: dict[str, Any] = {"temperature_K": kelvin, "friction": 0.02 / units.fs, "fixcm": False}
    md: Any = Langevin(atoms, 0.5 * units.fs, rng=rng, **how)
    md.run(before)
    for _ in range(frames):
        md.run(every)
        yield atoms


def clusters_of(one: Atoms, n: int, gap: float, rng: Rng) -> Atoms:
    """n copies, turned at random, on a small grid."""
    every = Atoms()
    for i in range(n):
        copy = one.copy()
        copy.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COP")
        copy.translate(gap * np.array([i % 2, i // 2 % 2, i // 4]))
        every += copy
    return every


def told(atoms: Atoms, *, stress: bool) -> Label:
    """What a structure's calculator says, constraints not applied. Raises what it raises."""
    forces = atoms.get_forces(apply_constraint=False)
    tensor = atoms.get_stress(voigt=False) if stress and atoms.pbc.all() else None
    return Label(float(atoms.get_potential_energy()), np.array(forces), tensor)


def bent(potential: Any, members: int, size: float = 0.02) -> Ensemble:
    """A committee of random changes of a potential's weights, of so much of their size: what it
    costs does not ask how good it is."""
    generator, own = torch.Generator().manual_seed(1), potential.weights()

    def moved(weight: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        return weight + (
            size * weight.double().square().mean().sqrt() * noise.to(weight.device)
        ).to(weight)

    names = potential.names.trainable()
    every = [own | {name: moved(own[name]) for name in names} for _ in range(members)]
    return Ensemble(potential, every, E0s(potential.e0s))


def random_frames(explorer: Any, frames: int, seed: int | list[int]) -> set[int]:
    """Steps of a trajectory that are looked at, drawn at random."""
    total = explorer.total_steps
    drawn = np.random.default_rng(seed).choice(total, min(frames, total), replace=False)
    return set((1 + drawn).tolist())
