"""What no engine may be asked, and what none may answer.

Raises `CallFailed`, which `Engine.label` turns into a `Failure`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from ase.stress import voigt_6_to_full_3x3_stress

from tunesmith.core import Label
from tunesmith.references.worker import CallFailed


def check_structure(atoms: Atoms, min_distance: float) -> None:
    """Refuse what has no atoms, no numbers, no cell, or atoms on top of each other.

    min_distance: fraction of the sum of two covalent radii (Cordero 2008, as in ASE). Two atoms
    0.001 Å apart get an energy from some engines, and no error.
    """
    if len(atoms) == 0:
        raise CallFailed("refused", "the structure has no atoms.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise CallFailed("refused", "a position or the cell is not a finite number.")
    if (atoms.pbc & (atoms.cell.lengths() == 0)).any() or (atoms.pbc.all() and atoms.cell.rank < 3):
        raise CallFailed("refused", "the structure is periodic along a cell vector that is zero.")
    radii = covalent_radii[atoms.numbers]
    first, second, distance = neighbor_list("ijd", atoms, min_distance * radii)
    if len(distance):
        k = int(np.argmin(distance))
        i, j, symbols = first[k], second[k], atoms.get_chemical_symbols()
        raise CallFailed(
            "unphysical",
            f"atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) are {distance[k]:.3g} Å apart, less "
            f"than min_distance = {min_distance:g} of their covalent radii "
            f"({radii[i] + radii[j]:.2f} Å).",
        )


def whole(value: Any, name: str) -> int:
    """An integer that may have been read as 1.0 or "1"."""
    try:
        if float(value) == int(float(value)):
            return int(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    raise CallFailed("refused", f"{name} is {value!r}, which is no whole number.")


@dataclass(frozen=True)
class ElectronicState:
    """charge in e; multiplicity 2S+1; stated: whether anybody asked for that multiplicity."""

    charge: int
    multiplicity: int
    stated: bool = False


def electronic_state(atoms: Atoms, charge: int, multiplicity: int | None) -> ElectronicState:
    """Charge and multiplicity: the structure's where it states them, else the settings'.

    A multiplicity nobody states is the lowest the number of electrons allows, 1 or 2.
    """
    if "spin" in atoms.info and "multiplicity" not in atoms.info:
        raise CallFailed(
            "refused",
            "atoms.info['spin'] may mean 2S or 2S+1; give atoms.info['multiplicity'] = 2S+1.",
        )
    charge = whole(atoms.info.get("charge", charge), "the charge")
    stated = atoms.info.get("multiplicity", multiplicity)
    electrons = int(atoms.numbers.sum()) - charge
    lowest = 1 + electrons % 2
    chosen = lowest if stated is None else whole(stated, "the multiplicity")
    if electrons < 0 or chosen < 1 or (chosen - lowest) % 2 or chosen - 1 > electrons:
        raise CallFailed(
            "refused",
            f"{electrons} electrons (charge {charge:+d}) cannot have multiplicity {chosen}; give "
            f"atoms.info['multiplicity'] = 2S+1, here {lowest} or {lowest + 2}, …",
        )
    return ElectronicState(charge, chosen, stated is not None)


def check_guesses(atoms: Atoms, charge: int) -> None:
    """Refuse ASE's per-atom guesses where they would say more than the label's key does."""
    if np.abs(atoms.get_initial_magnetic_moments()).max() > 1e-8:
        raise CallFailed(
            "refused",
            "initial magnetic moments are no part of a label's identity; remove them and give "
            "atoms.info['multiplicity'], or put them into the engine's settings.",
        )
    guess = atoms.get_initial_charges().sum()
    if abs(guess - charge) > 0.5 and abs(guess) > 0.5:
        raise CallFailed(
            "refused",
            f"the initial charges sum to {guess:+.1f} but the charge is {charge:+d}; give "
            "atoms.info['charge'].",
        )


def to_label(raw: dict[str, Any], n_atoms: int, max_force: float) -> Label:
    """The engine's answer as a label, or why it cannot be one. max_force: eV/Å, on the norm."""
    forces = np.array(raw["forces"], float)
    stress = None if raw.get("stress") is None else np.array(raw["stress"], float)
    if stress is not None and stress.shape == (6,):
        stress = voigt_6_to_full_3x3_stress(stress)
    numbers = [np.asarray(raw["energy"], float), forces, *([] if stress is None else [stress])]
    if not all(np.isfinite(x).all() for x in numbers):
        raise CallFailed("nan", "the engine answered with numbers that are not finite.")
    if forces.shape != (n_atoms, 3) or (stress is not None and stress.shape != (3, 3)):
        raise CallFailed("crashed", f"forces of shape {forces.shape} for {n_atoms} atoms.")
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > max_force:
        raise CallFailed(
            "unphysical",
            f"a force of {largest:.4g} eV/Å is over max_force = {max_force:g} eV/Å.",
        )
    zero = raw.get("energy_zero")
    return Label(float(raw["energy"]), forces, stress, None if zero is None else float(zero))
