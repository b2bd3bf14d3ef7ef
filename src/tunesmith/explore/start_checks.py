"""What a start structure must be for molecular dynamics to make sense."""

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian

from tunesmith.errors import DataError
from tunesmith.explore.explosion import Limits, what_is_wrong
from tunesmith.explore.integrators import ENSEMBLES, degrees_of_freedom

#: longest steps in fs: of any structure, and of one with hydrogen (its stretches take 9 fs);
#: between the two as the square root of the lightest mass
LONGEST_STEP, LONGEST_STEP_H = 5.0, 2.0


def check_start(atoms: Atoms, ensemble: str, timestep: float, limits: Limits) -> None:
    """Raise `DataError`, in a sentence without a subject, where the structure cannot be run.

    timestep: fs.
    """
    if len(atoms) < 2:
        raise DataError("it needs at least two atoms, for one does not move.")
    _check_constraints(atoms, ensemble)
    if degrees_of_freedom(atoms) < 1:
        raise DataError("all its atoms are fixed; free those that should move.")
    if (atoms.pbc & (atoms.cell.lengths() == 0)).any():
        raise DataError("it is periodic along a cell vector that is zero; give the cell.")
    if ENSEMBLES[ensemble].stress and not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise DataError(
            f"ensemble {ensemble!r} needs three periodic directions (a structure without them has "
            "no stress); use 'langevin', or give pbc and a cell."
        )
    if (wrong := what_is_wrong(atoms, limits, 0.0)) is not None:
        raise DataError(f"{wrong}; mend it, or change explore.min_distance or max_separation.")
    lightest = np.min(atoms.get_masses()[_movable(atoms)])
    longest = min(LONGEST_STEP, LONGEST_STEP_H * np.sqrt(lightest / 1.008))
    if timestep > longest * (1 + 1e-9):
        raise DataError(
            f"explore.timestep: {timestep:g} fs is too long for its lightest atom "
            f"({lightest:.3g} u), whose vibrations would gain energy; use at most "
            f"{longest:.2g} fs ({longest / 4:.1g} fs is safe)."
        )


def _check_constraints(atoms: Atoms, ensemble: str) -> None:
    """Refuse constraints that cannot be saved to the bit or that the ensemble does not know."""
    for constraint in atoms.constraints:
        kind = type(constraint).__name__
        if not isinstance(constraint, FixAtoms | FixCartesian):
            raise DataError(f"the constraint {kind} is not offered; use FixAtoms or FixCartesian.")
        if not ENSEMBLES[ensemble].constraints:
            raise DataError(
                f"it has the constraint {kind}, which ensemble {ensemble!r} cannot keep; use "
                "'langevin' or 'bussi', or remove the constraint."
            )


def _movable(atoms: Atoms) -> np.ndarray:
    """Which atoms are not fixed as a whole, (n,) bool."""
    movable = np.ones(len(atoms), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            movable[constraint.index] = False
    return movable
