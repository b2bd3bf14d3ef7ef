"""Structures for contract tests, made from whatever elements a potential knows.

Everything is drawn from the generator that is passed in. Distances are near sums of covalent radii,
so that the atoms see each other and no pair is absurdly close.
"""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from tunesmith.potentials.potential import Potential

#: a sheared cell with no two equal angles, to be scaled
_TRICLINIC = np.array([[1.0, 0.0, 0.0], [0.3, 0.95, 0.0], [-0.2, 0.25, 1.1]])


def _bond(numbers: np.ndarray | int) -> np.ndarray:
    return np.maximum(covalent_radii[numbers], 0.5)


def species(potential: Potential, n: int, rng: np.random.Generator) -> np.ndarray:
    """n atomic numbers out of the potential's, as many different ones as fit, in random order."""
    known = rng.permutation(np.array(potential.elements))
    return rng.permutation(np.resize(known, n))


def boxed(potential: Potential, atoms: Atoms) -> Atoms:
    """A molecule as the potential takes it: in a wide periodic box if it needs a cell."""
    atoms = atoms.copy()
    if potential.capabilities.needs_cell:
        atoms.set_cell(np.eye(3) * (np.ptp(atoms.positions, axis=0).max() + 3 * potential.cutoff))
        atoms.pbc = True
    return atoms


def molecule(potential: Potential, n: int, rng: np.random.Generator) -> Atoms:
    """n atoms, each bonded to an earlier one in a random direction, none too close to another."""
    numbers = species(potential, n, rng)
    radii = _bond(numbers)
    placed = [np.zeros(3)]
    while len(placed) < n:
        i, j = len(placed), rng.integers(len(placed))
        step = rng.normal(size=3)
        length = rng.uniform(0.95, 1.15) * (radii[i] + radii[j])
        trial = placed[j] + step * (length / np.linalg.norm(step))
        gaps = np.linalg.norm(np.array(placed) - trial, axis=1)
        if np.all(gaps > 0.9 * (radii[:i] + radii[i])):
            placed.append(trial)
    return boxed(potential, Atoms(numbers, positions=placed))


def row(potential: Potential, n: int, rng: np.random.Generator) -> Atoms:
    """n triangles of atoms one behind the other: each sees itself and the next ones, none beyond.

    Distances are 0.29 cutoffs within a triangle, 0.55 to 0.65 to the next, 1.1 and more to others.
    """
    turn = rng.uniform(0, 2 * np.pi, size=(n, 1)) + 2 * np.pi / 3 * np.arange(3)
    along = np.broadcast_to(0.55 * np.arange(n)[:, None], turn.shape)
    places = np.stack([along, 0.17 * np.cos(turn), 0.17 * np.sin(turn)], axis=-1)
    numbers = species(potential, 3 * n, rng)
    return boxed(potential, Atoms(numbers, positions=potential.cutoff * places.reshape(-1, 3)))


def crystal(
    potential: Potential, rng: np.random.Generator, *, n: int = 2, triclinic: bool = False
) -> Atoms:
    """A rattled lattice of n³ sites; n = 1 is an atom whose neighbours are its own images.

    The orthorhombic cell has three different lengths, the triclinic one no right angle.
    """
    numbers = species(potential, n**3, rng)
    # of large atoms, still close enough to see each other
    spacing = min(2.3 * float(_bond(numbers).max()), 0.7 * potential.cutoff)
    shape = _TRICLINIC if triclinic else np.diag([1.0, 1.08, 1.17])
    sites = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3) / n
    atoms = Atoms(numbers, cell=n * spacing * shape, pbc=True, scaled_positions=sites)
    atoms.positions += rng.normal(scale=0.05 * spacing, size=(len(atoms), 3))
    return atoms


def samples(potential: Potential, rng: np.random.Generator) -> list[Atoms]:
    """A molecule, an orthorhombic and a triclinic crystal."""
    return [
        molecule(potential, 5, rng),
        crystal(potential, rng),
        crystal(potential, rng, triclinic=True),
    ]
