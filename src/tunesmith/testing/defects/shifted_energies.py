"""Zeros of energy that do not belong together: isolated atoms, and atomisation energies."""

from dataclasses import replace

import numpy as np
from ase import units as u

from tunesmith.core import Frame
from tunesmith.testing.defects.defect import (
    Broken,
    Defect,
    atom_energies,
    broken,
    changed,
    comparable,
    compositions,
    label_of,
    relabelled,
    shared,
    some,
    total,
)

#: typical energies of H, C, N and O alone, eV: of all electrons (PBE), and of valence ones (xTB)
ALL_ELECTRONS = {1: -13.6, 6: -1028.5, 7: -1482.4, 8: -2039.8}
VALENCE = {1: -10.7, 6: -48.8, 7: -71.0, 8: -102.4}


def _complete(learn: list[Frame], atoms: list[Frame]) -> bool:
    known = atom_energies(atoms).keys()
    return all(int(z) in known for f in learn for z in f.atoms.numbers)


def atoms_in_hartree(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Isolated atoms in Hartree, frames in eV."""
    learn, atoms = shared(frames)
    if not _complete(learn, atoms):
        return None
    made = [relabelled(f, energy=label_of(f).energy / u.Ha) for f in atoms]
    return broken("isolated atoms in Hartree", "e0-inconsistent", [*learn, *made])


def atoms_of_another_level(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Isolated atoms of all electrons with frames of valence electrons, or the reverse."""
    learn, atoms = shared(frames)
    own = atom_energies(atoms)
    if not _complete(learn, atoms) or not own.keys() <= ALL_ELECTRONS.keys():
        return None
    heavy = max(own, key=lambda z: abs(own[z]))
    if heavy == 1:
        return None  # hydrogen alone: the two hardly differ
    valence = abs(own[heavy]) < 0.3 * abs(ALL_ELECTRONS[heavy])
    other = ALL_ELECTRONS if valence else VALENCE
    made = [relabelled(f, energy=other[int(f.atoms.numbers[0])]) for f in atoms]
    return broken("isolated atoms of another code", "e0-inconsistent", [*learn, *made])


def atoms_of_zero(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Isolated atoms with energy zero beside total energies."""
    learn, atoms = shared(frames)
    if not _complete(learn, atoms):
        return None
    made = [relabelled(f, energy=0.0) for f in atoms]
    return broken("isolated atoms of energy zero", "e0-inconsistent", [*learn, *made])


def wrong_spin(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """One isolated atom in an excited spin state, several eV too high.

    Seen only where that shifts energies of atomisation by more than levels of theory differ.
    """
    learn, atoms = shared(frames)
    if not _complete(learn, atoms):
        return None
    numbers = np.concatenate([f.atoms.numbers for f in learn])
    kinds, counts = np.unique(numbers, return_counts=True)
    most = int(kinds[counts.argmax()])
    error = float(rng.uniform(4, 7))
    if error * counts.max() / counts.sum() < 2.5:
        return None
    where = [i for i, f in enumerate(atoms) if int(f.atoms.numbers[0]) == most]
    made = changed(atoms, where, lambda f: relabelled(f, energy=label_of(f).energy + error))
    text = f"one isolated atom {error:.1f} eV too high, as of another spin"
    return broken(text, "e0-inconsistent", [*learn, *made], spoils=False)


def two_values(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """An isolated atom twice, in two spin states."""
    learn, atoms = shared(frames)
    if not atoms:
        return None
    one = atoms[int(rng.integers(len(atoms)))]
    again = relabelled(one, energy=label_of(one).energy + rng.uniform(1, 5))
    text = "an isolated atom with two energies"
    return broken(text, "e0-inconsistent", [*learn, *atoms, again], spoils=False)


def atomisation_in_some(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Part of the frames with energies of atomisation, the others with total ones."""
    learn, atoms = shared(frames)
    sizes = [len(group) for group in compositions(learn).values()]
    if not _complete(learn, atoms) or not comparable(learn) or np.median(sizes) < 6:
        return None
    where = some(learn, rng, 0.2, 0.5)
    zero = atom_energies(atoms)

    def binding(f: Frame) -> Frame:
        return relabelled(f, energy=label_of(f).energy - total(f.atoms, zero))

    made = changed(learn, where, binding)
    text = f"energies of atomisation in {len(where)} of {len(learn)} frames"
    return broken(text, "e0-mixed mixed-levels", [*made, *atoms])


def atomisation_with_totals(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Energies of atomisation in all frames, isolated atoms with total energies."""
    learn, atoms = shared(frames)
    if not _complete(learn, atoms):
        return None
    zero = atom_energies(atoms)
    made = [relabelled(f, energy=label_of(f).energy - total(f.atoms, zero)) for f in learn]
    text = "energies of atomisation, and isolated atoms with total energies"
    return broken(text, "e0-inconsistent e0-mixed", [*made, *atoms])


def atoms_unmarked(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Isolated atoms that no config_type marks."""
    learn, atoms = shared(frames)
    if not atoms:
        return None
    made = [replace(f, config_type="Default") for f in atoms]
    return broken("isolated atoms unmarked", "isolated-unmarked", [*learn, *made], spoils=False)


DEFECTS: dict[str, Defect] = {
    "isolated atoms in Hartree": atoms_in_hartree,
    "isolated atoms of another code": atoms_of_another_level,
    "isolated atoms of zero": atoms_of_zero,
    "isolated atom of wrong spin": wrong_spin,
    "isolated atom twice": two_values,
    "atomisation energies in some": atomisation_in_some,
    "atomisation energies, total atoms": atomisation_with_totals,
    "isolated atoms unmarked": atoms_unmarked,
}
