"""A structure as a vector of scaled coordinates and, if its cell moves, six strains.

With x₀ and h₀ the start's positions and cell, both row by row,

    x = (x₀ + u) F,   h = h₀ F,   F = 1 + Σ_k c_k B_k/ℓ

B_k is an orthonormal basis of the symmetric matrices, so that the cell never turns. u, in Å, are
the scaled coordinates (x h⁻¹) times the start cell, less their start. ℓ = √N (V/N)^(1/3): a strain
moves all N atoms against neighbours some (V/N)^(1/3) away, and c, in Å too, is then as stiff as a
u.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane

from tunesmith.core import Point
from tunesmith.errors import DataError

_SQRT = np.sqrt(0.5)
#: orthonormal: tr(B_j B_k) = δ_jk
BASIS = np.zeros((6, 3, 3))
for _k, (_i, _j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    BASIS[_k, _i, _j] = BASIS[_k, _j, _i] = 1.0 if _i == _j else _SQRT


@dataclass(frozen=True)
class Scaled:
    """The space of structures reached from one.

    start: the structure. free: (n, 3, 3), the projector on the directions each atom may move in.
    cell: whether the cell moves.
    """

    start: Atoms
    free: np.ndarray
    cell: bool

    @classmethod
    def of(cls, atoms: Atoms, cell: bool | None) -> "Scaled":
        """cell: None moves it where there are three periodic directions and no constraints.

        Raises `DataError`, in a sentence without a subject, for what cannot be.
        """
        whole = bool(atoms.pbc.all())
        if atoms.cell.rank and not atoms.pbc.any():
            raise DataError("it has a cell but no periodic direction; set pbc, or remove the cell.")
        if cell and not whole:
            raise DataError(
                "its cell cannot move without three periodic directions; set pbc, or leave "
                "attack.cell out."
            )
        if cell and atoms.constraints:
            kind = type(atoms.constraints[0]).__name__
            raise DataError(
                f"it has the constraint {kind}, which a moving cell would break; set attack.cell "
                "to false, or remove the constraint."
            )
        free = projectors(atoms)
        if not free.any():
            raise DataError("all its atoms are fixed; free those that may move.")
        moves = whole and not atoms.constraints if cell is None else cell
        return cls(atoms.copy(), free, moves)

    def __len__(self) -> int:
        """Number of variables, those that cannot move included."""
        return 3 * len(self.start) + 6 * self.cell

    @cached_property
    def _length(self) -> float:
        n = len(self.start)
        return float(np.sqrt(n) * (self.start.cell.volume / n) ** (1 / 3))

    def _split(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u (n, 3) and F (3, 3)."""
        n = 3 * len(self.start)
        u = np.einsum("nxy,ny->nx", self.free, vector[:n].reshape(-1, 3))
        strain = np.tensordot(vector[n:], BASIS, axes=1) / self._length if self.cell else 0.0
        return u, np.eye(3) + strain

    def atoms(self, vector: np.ndarray) -> Atoms:
        """The structure at a vector in Å, without constraints."""
        u, deformation = self._split(vector)
        moved = self.start.copy()
        moved.set_constraint()
        moved.positions = self.start.positions + u
        if self.cell:
            moved.positions = moved.positions @ deformation
            moved.set_cell(self.start.cell.array @ deformation)
        return moved

    def gradient(self, vector: np.ndarray, point: Point) -> np.ndarray:
        """Of an objective by the vector, from that by positions and strain."""
        _, deformation = self._split(vector)
        by_u = np.einsum("nxy,ny->nx", self.free, point.positions @ deformation.T)
        if not self.cell:
            return by_u.ravel()
        by_deformation = np.linalg.solve(deformation.T, point.strain)  # dF is a strain F⁻¹ dF
        by_c = np.tensordot(BASIS, by_deformation, axes=2) / self._length
        return np.concatenate([by_u.ravel(), by_c])

    def displacement(self, vector: np.ndarray) -> np.ndarray:
        """How far each atom has moved beside the strain, (n,) Å of the start cell."""
        return np.linalg.norm(self._split(vector)[0], axis=1)

    def strain(self, vector: np.ndarray) -> float:
        """The largest principal strain."""
        return float(np.linalg.norm(self._split(vector)[1] - np.eye(3), 2))


def projectors(atoms: Atoms) -> np.ndarray:
    """The directions each atom may move in, as projectors (n, 3, 3).

    Raises `DataError`, in a sentence without a subject, naming a constraint that is not of single
    atoms and directions.
    """
    free = np.tile(np.eye(3), (len(atoms), 1, 1))
    for constraint in atoms.constraints:
        kind = type(constraint).__name__
        if isinstance(constraint, FixAtoms):
            own = np.zeros((3, 3))
        elif isinstance(constraint, FixCartesian):
            own = np.diag((~np.asarray(constraint.mask, bool)).astype(float))
        elif isinstance(constraint, FixedPlane | FixedLine):
            along = np.outer(constraint.dir, constraint.dir)
            own = along if isinstance(constraint, FixedLine) else np.eye(3) - along
        else:
            raise DataError(
                f"the constraint {kind} cannot be kept by an attack; use FixAtoms, FixCartesian, "
                "FixedPlane or FixedLine."
            )
        free[constraint.index] = free[constraint.index] @ own
    if not np.allclose(free, free.transpose(0, 2, 1)):
        raise DataError(
            "two of its constraints meet at an angle on one atom; give that atom one of them."
        )
    return free
