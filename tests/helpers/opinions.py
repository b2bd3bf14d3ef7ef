"""Three opinions about argon: Morse potentials in closed form, quick, with stress and images."""

import numpy as np
from ase import Atoms

from tunesmith.core import Quantities

#: depth eV, steepness 1/Å, distance Å
OPINIONS = ((0.012, 1.45, 3.80), (0.011, 1.60, 3.84), (0.014, 1.50, 3.76))
_IMAGES = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)


def models(frames: list[Atoms]) -> list[Quantities]:
    """`Models`: every pair once, in a crystal with two cells' images either way."""
    return [_said(atoms) for atoms in frames]


def _said(atoms: Atoms) -> Quantities:
    periodic = bool(atoms.pbc.all())
    shifts = _IMAGES @ atoms.cell.array if periodic else np.zeros((1, 3))
    apart = atoms.positions[:, None, None] - atoms.positions[None, :, None] + shifts
    r = np.linalg.norm(apart, axis=-1)
    there = r > 1e-9
    r = np.where(there, r, 1e3)
    found = []
    for depth, steep, rest in OPINIONS:
        e = np.exp(-steep * (r - rest))
        pull = np.where(there, 2 * depth * steep * (1 - e) * e / r, 0.0)[..., None] * apart
        stress = np.einsum("ijsx,ijsy->xy", pull, apart) / 2 / atoms.get_volume() if periodic else 0
        found.append((0.5 * (there * depth * ((1 - e) ** 2 - 1)).sum(), -pull.sum((1, 2)), stress))
    energy, forces, stresses = (np.array(part) for part in zip(*found, strict=True))
    return Quantities(energy, forces, stresses if periodic else None)
