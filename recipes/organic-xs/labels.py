"""GFN2-xTB labels and the checks that decide whether a frame is kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.data import covalent_radii
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from tblite.ase import TBLite

MIN_DISTANCE = 0.45  # shortest distance, in sums of covalent radii
MAX_FORCE = 30.0  # eV/Å
MAX_ENERGY = 1.0  # eV per atom above the relaxed molecule(s)
MAX_ENERGY_SMALL = 3.0  # eV; what small molecules may have in all, or no bond could be stretched


def calculator(accuracy: float = 1.0, multiplicity: int = 1) -> TBLite:
    """GFN2-xTB for a neutral molecule; a lower `accuracy` number means a tighter SCF."""
    return TBLite(
        method="GFN2-xTB", charge=0, multiplicity=multiplicity, accuracy=accuracy, verbosity=0
    )


def evaluate(atoms: Atoms) -> tuple[float, np.ndarray] | None:
    """Energy (eV) and forces (eV/Å), or None when the SCF does not converge.

    Each frame gets a calculator of its own: restarting from the wave function of the frame before
    is faster, but makes the label depend on the history where there is more than one solution.
    """
    single = atoms.copy()
    single.calc = calculator(accuracy=0.1)
    try:
        return single.get_potential_energy(), single.get_forces()
    except CalculationFailed:
        return None


def relative_distances(atoms: Atoms) -> np.ndarray:
    """Distance matrix in sums of covalent radii, with infinity on the diagonal."""
    radii = covalent_radii[atoms.numbers]
    ratio = cdist(atoms.positions, atoms.positions) / (radii[:, None] + radii[None, :])
    np.fill_diagonal(ratio, np.inf)
    return ratio


def bond_matrix(atoms: Atoms, scale: float = 1.3) -> np.ndarray:
    """Boolean adjacency: pairs closer than `scale` sums of covalent radii."""
    return relative_distances(atoms) < scale


def fragment_count(atoms: Atoms, scale: float = 1.75) -> int:
    """How many pieces the atoms fall into; the loose default lets hot bonds vibrate."""
    return connected_components(bond_matrix(atoms, scale), directed=False)[0]


def label(frames: list[Atoms], floor: float, rejected: Counter) -> list[Atoms]:
    """Label the frames and keep the sane ones; count the others in `rejected` by reason.

    `floor` is the energy (eV) of the relaxed molecule(s); a frame with another composition says
    its own in `info["floor"]`.
    """
    kept = []
    for atoms in frames:
        lowest = atoms.info.pop("floor", floor)
        if not np.isfinite(atoms.positions).all():
            rejected["nan"] += 1
        elif relative_distances(atoms).min() < MIN_DISTANCE:
            rejected["too_close"] += 1
        elif (result := evaluate(atoms)) is None:
            rejected["scf_failed"] += 1
        elif reason := reason_to_reject(atoms, *result, lowest):
            rejected[reason] += 1
        else:
            kept.append(labelled(atoms, *result))
    return kept


def reason_to_reject(atoms: Atoms, energy: float, forces: np.ndarray, floor: float) -> str | None:
    """Why a labelled frame should not be kept, or None; energies in eV, forces in eV/Å."""
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        return "nan"
    if np.linalg.norm(forces, axis=1).max() > MAX_FORCE:
        return "force"
    if energy - floor > max(MAX_ENERGY * len(atoms), MAX_ENERGY_SMALL):
        return "energy"
    return None


def labelled(atoms: Atoms, energy: float, forces: np.ndarray) -> Atoms:
    """A bare copy of the frame that carries REF_energy (eV) and REF_forces (eV/Å)."""
    frame = Atoms(atoms.numbers, atoms.positions, info=dict(atoms.info))
    frame.info["REF_energy"] = float(energy)
    frame.arrays["REF_forces"] = np.array(forces)
    return frame


def isolated_atoms() -> list[Atoms]:
    """H, C, N and O alone, each with the spin of its ground state."""
    frames = []
    for symbol, multiplicity in (("H", 2), ("C", 3), ("N", 4), ("O", 3)):
        atoms = Atoms(symbol, [[0.0, 0.0, 0.0]])
        atoms.calc = calculator(accuracy=0.1, multiplicity=multiplicity)
        energy = atoms.get_potential_energy()
        atoms.info.update(config_type="IsolatedAtom", molecule=symbol)
        frames.append(labelled(atoms, energy, np.zeros((1, 3))))
    return frames
