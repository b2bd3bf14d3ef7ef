"""Wrong units and signs of energies, forces and positions."""

import numpy as np
from ase import units as u

from tunesmith.core import Frame
from tunesmith.testing.defects.defect import (
    Broken,
    Defect,
    broken,
    changed,
    comparable,
    compositions,
    label_of,
    rebuilt,
    relabelled,
    shared,
    some,
)

#: what 1 eV reads in other units
ENERGY = {
    "Hartree": 1 / u.Ha,
    "Rydberg": 1 / u.Ry,
    "kcal/mol": u.mol / u.kcal,
    "kJ/mol": u.mol / u.kJ,
    "meV": 1000.0,
}
#: what 1 eV/Å reads in other units
FORCES = {
    "Hartree/Bohr": u.Bohr / u.Ha,
    "Rydberg/Bohr": u.Bohr / u.Ry,
    "Hartree/Å": 1 / u.Ha,
    "eV/Bohr": u.Bohr,
    "kcal/mol/Å": u.mol / u.kcal,
    "kcal/mol/Bohr": u.Bohr * u.mol / u.kcal,
    "kJ/mol/nm": 10 * u.mol / u.kJ,
    "meV/Å": 1000.0,
}


def _scaled(frame: Frame, energy: float = 1.0, forces: float = 1.0) -> Frame:
    label = label_of(frame)
    return relabelled(frame, energy=label.energy * energy, forces=label.forces * forces)


def _energies_in(unit: str) -> Defect:
    def defect(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
        learn, atoms = shared(frames)
        if not comparable(learn):
            return None
        factor = ENERGY[unit]
        codes = "unit-energy energy-per-atom" if _like_per_atom(learn, atoms, factor) else ""
        made = [_scaled(f, factor) for f in [*learn, *atoms]]
        return broken(f"all energies in {unit}", codes or "unit-energy", made)

    return defect


def _like_per_atom(learn: list[Frame], atoms: list[Frame], factor: float) -> bool:
    """Whether structures of this size make the unit and energies per atom look the same.

    Isolated atoms tell them apart, and structures of different size.
    """
    sizes = np.array([len(f.atoms) for f in learn])
    close = abs(np.log(factor * np.median(sizes))) < np.log(1.5)
    return bool(close and not atoms and np.ptp(sizes) < 0.5 * sizes.max())


def _forces_in(unit: str) -> Defect:
    def defect(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
        made = [_scaled(f, forces=FORCES[unit]) for f in frames]
        return broken(f"all forces in {unit}", "unit-forces", made)

    return defect


def _both_in(energy: str, forces: str) -> Defect:
    def defect(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
        made = [_scaled(f, ENERGY[energy], FORCES[forces]) for f in frames]
        text = f"energies in {energy} and forces in {forces}"
        return broken(text, "unit-energy unit-forces", made)

    return defect


def everything_atomic(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Hartree, Hartree/Bohr and Bohr, as a code prints them."""
    made = [_scaled(_stretched(f, 1 / u.Bohr), 1 / u.Ha, u.Bohr / u.Ha) for f in frames]
    return broken("everything in atomic units", "unit-positions unit-energy unit-forces", made)


def some_frames_hartree(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Two converters, one of which forgot the energies."""
    learn, atoms = shared(frames)
    if not _several_each(learn):
        return None
    where = some(learn, rng, 0.2, 0.45)
    made = changed(learn, where, lambda f: _scaled(f, 1 / u.Ha))
    text = f"the energies of {len(where)} of {len(learn)} frames in Hartree"
    return broken(text, "unit-energy mixed-levels e0-mixed", [*made, *atoms])


def some_frames_forces_atomic(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Two converters, one of which forgot the forces."""
    learn, atoms = shared(frames)
    where = some(learn, rng, 0.2, 0.45)
    made = changed(learn, where, lambda f: _scaled(f, forces=u.Bohr / u.Ha))
    text = f"the forces of {len(where)} of {len(learn)} frames in Hartree/Bohr"
    return broken(text, "unit-forces outlier-forces", [*made, *atoms])


def gradients(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """A code's gradients, taken for forces."""
    made = [_scaled(f, forces=-1.0) for f in frames]
    return broken("gradients for forces", "forces-sign", made)


def atomic_gradients(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """A code's gradients as they are printed, while the energies were converted."""
    made = [_scaled(f, forces=-u.Bohr / u.Ha) for f in frames]
    return broken("gradients in Hartree/Bohr for forces", "forces-sign unit-forces", made)


def binding_energies(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Energies with their sign turned."""
    learn, atoms = shared(frames)
    if not comparable(learn):
        return None
    made = [_scaled(f, -1.0) for f in [*learn, *atoms]]
    return broken("all energies with the other sign", "energy-sign", made)


def energy_per_atom(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Every energy divided by the number of atoms."""
    learn, atoms = shared(frames)
    if not comparable(learn):
        return None
    sizes = np.array([len(f.atoms) for f in learn])
    codes = "energy-per-atom"
    if any(_like_per_atom(learn, atoms, ENERGY[unit]) for unit in ("Hartree", "Rydberg")):
        codes += " unit-energy"
    if np.median(sizes) < 4:
        return None  # a third of the energy could be another level's just as well
    made = [_scaled(f, 1 / len(f.atoms)) for f in [*learn, *atoms]]
    return broken("energies per atom", codes, made)


def energy_per_atom_in_some(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Part of the frames from a table of energies per atom."""
    learn, atoms = shared(frames)
    if not _several_each(learn):
        return None
    where = some(learn, rng, 0.2, 0.45)
    made = changed(learn, where, lambda f: _scaled(f, 1 / len(f.atoms)))
    text = f"the energies of {len(where)} of {len(learn)} frames per atom"
    return broken(text, "energy-per-atom mixed-levels e0-mixed", [*made, *atoms])


def positions_bohr(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Positions, and cells, in Bohr."""
    made = [_stretched(f, 1 / u.Bohr) for f in frames]
    return broken("positions and cells in Bohr", "unit-positions", made)


def positions_nanometre(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Positions, and cells, in nm."""
    made = [_stretched(f, 0.1) for f in frames]
    return broken("positions and cells in nm", "unit-positions overlap", made)


def _stretched(frame: Frame, factor: float) -> Frame:
    atoms = frame.atoms
    return rebuilt(frame, positions=atoms.positions * factor, cell=atoms.cell.array * factor)


def cell_bohr(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Cells in Bohr around positions in Å."""
    if not all(f.atoms.pbc.all() for f in shared(frames)[0]):
        return None
    made = [rebuilt(f, cell=f.atoms.cell.array / u.Bohr) for f in frames]
    return broken("cells in Bohr, positions in Å", "unit-cell", made)


def fractional(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Fractional coordinates read as Cartesian ones."""
    learn, atoms = shared(frames)
    if not all(f.atoms.pbc.all() for f in learn):
        return None
    made = [rebuilt(f, positions=f.atoms.get_scaled_positions()) for f in learn]
    text = "fractional coordinates as positions"
    return broken(text, "unit-positions overlap", [*made, *atoms])


def _several_each(learn: list[Frame]) -> bool:
    """Whether most compositions have enough frames for some to differ from the others."""
    sizes = [len(group) for group in compositions(learn).values()]
    return comparable(learn) and float(np.median(sizes)) >= 6


DEFECTS: dict[str, Defect] = {
    **{f"energy in {unit}": _energies_in(unit) for unit in ENERGY},
    **{f"forces in {unit}": _forces_in(unit) for unit in FORCES},
    "both in Hartree, Hartree/Bohr": _both_in("Hartree", "Hartree/Bohr"),
    "both in Rydberg, Rydberg/Bohr": _both_in("Rydberg", "Rydberg/Bohr"),
    "both in kcal/mol": _both_in("kcal/mol", "kcal/mol/Å"),
    "both in Hartree, eV/Bohr": _both_in("Hartree", "eV/Bohr"),
    "everything atomic": everything_atomic,
    "some energies in Hartree": some_frames_hartree,
    "some forces in Hartree/Bohr": some_frames_forces_atomic,
    "gradients": gradients,
    "gradients in Hartree/Bohr": atomic_gradients,
    "binding energies": binding_energies,
    "energy per atom": energy_per_atom,
    "energy per atom in some": energy_per_atom_in_some,
    "positions in Bohr": positions_bohr,
    "positions in nm": positions_nanometre,
    "cell in Bohr": cell_bohr,
    "fractional positions": fractional,
}
