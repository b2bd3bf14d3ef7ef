"""Right data of kinds that a foundation knows badly: no verdict from what says nothing.

Each kind beside its wrong relative, which must still be found.
"""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase import units as u
from ase.build import bulk, molecule

import wards
from tunesmith.core import Frame, Label
from tunesmith.data.formats import Beside
from tunesmith.doctor.examine import examine
from tunesmith.doctor.findings import Diagnosis
from tunesmith.references.tblite import TBLite

KCAL = u.mol / u.kcal


def diagnosed(frames: list[Frame]) -> Diagnosis:
    return examine(frames, wards.foundation())


def errors(frames: list[Frame]) -> set[str]:
    return {f.code for f in diagnosed(frames).errors}


def scaled(frames: list[Frame], energy: float = 1.0, forces: float = 1.0) -> list[Frame]:
    return [
        wards.relabelled(f, energy=energy * f.label.energy, forces=forces * f.label.forces)
        for f in frames
        if f.label
    ]


# ------------------------------------------------------------------------ relaxed structures


def relaxed(size: float = 1e-3) -> list[Frame]:
    """One structure of each of some molecules at its minimum by another level: forces of ``size``
    eV/Å in any direction."""
    rng = np.random.default_rng(0)
    frames = []
    for f in wards.molecules()[::8]:
        assert f.label is not None
        atoms = molecule({"CH4": "CH4", "H3N": "NH3", "C2H6": "C2H6", "CH4O": "CH3OH", "CHN": "HCN",
                          "CH2O": "H2CO"}[f.atoms.get_chemical_formula()])  # fmt: skip
        noise = rng.normal(0, size, atoms.positions.shape)
        energy = f.label.energy - 0.5
        frames.append(Frame(atoms, Label(energy, noise - noise.mean(0)), f"relaxed#{len(frames)}"))
    return frames


@pytest.mark.parametrize("digits", [2, 3, 8])
def test_forces_below_the_foundations_error_say_nothing(digits: int) -> None:
    frames = [wards.relabelled(f, forces=f.label.forces.round(digits)) for f in relaxed(4e-3)]  # type: ignore[union-attr]
    frames = [f for f in frames if f.label and f.label.forces.any()]
    assert errors(frames) == set()
    assert errors([*wards.molecules(), *frames]) == set()


def test_a_zero_beside_others_that_are_nearly_zero_is_no_placeholder() -> None:
    """Of a molecule at rest whose bonds the foundation has wrong by a little."""
    others = [wards.relabelled(f, forces=f.label.forces.round(4)) for f in relaxed(4e-4)]  # type: ignore[union-attr]
    atoms = molecule("CO2")
    atoms.positions *= 0.978
    zero = Frame(atoms, Label(-280.0, np.zeros((3, 3))), "rest")
    pull = wards.foundation().predict([atoms]).mean.forces
    assert 0.6 < np.sqrt((pull**2).sum(1).mean()) < 1.5
    assert "forces-zero" not in errors([*wards.molecules(), *others, zero])
    assert "forces-zero" in errors([*wards.molecules(), zero])


def test_that_relaxed_forces_are_not_judged_is_said() -> None:
    assert str(diagnosed(relaxed()).facts["forces"]).startswith("not judged")


def test_forces_that_are_as_long_as_right_ones_and_unlike_them_are_shuffled() -> None:
    rng = np.random.default_rng(11)  # another than that of the displacements
    wrong = [
        wards.relabelled(f, forces=rng.normal(0, 1, f.label.forces.shape))  # type: ignore[union-attr]
        for f in wards.molecules()
    ]
    assert "forces-shuffled" in errors(wrong)
    # of six compositions no energy tells whether it is the labels or the foundation that is wrong
    found = diagnosed(wrong[::8])
    assert "forces-shuffled" in found.codes
    assert found.errors == ()


# ------------------------------------------------------------------------ a foundation that is soft


def stiffer(frames: list[Frame], factor: float) -> list[Frame]:
    """Of a level of theory so many times as stiff: its own consistent labels."""
    zero: dict[str, float] = {}
    made = []
    for f in frames:
        assert f.label is not None
        first = zero.setdefault(f.atoms.get_chemical_formula(), f.label.energy)
        energy = first + factor * (f.label.energy - first)
        stress = None if f.label.stress is None else factor * f.label.stress
        made.append(
            wards.relabelled(f, energy=energy, forces=factor * f.label.forces, stress=stress)
        )
    return made


@pytest.mark.parametrize("factor", [0.3, 0.53, 2.0, 5.5, 10.0, 12.0])
@pytest.mark.parametrize("name", ["ethanol", "molecules", "dry ice"])
def test_a_foundation_that_is_soft_or_stiff_makes_no_unit(name: str, factor: float) -> None:
    """5.5 is between eV/nm and eV/Å, 10 and 12 are eV/nm and kcal/mol/Bohr: but energies agree."""
    healthy = {"ethanol": wards.ethanol, "molecules": wards.molecules, "dry ice": wards.dry_ice}
    frames = [f for f in healthy[name]() if len(f.atoms) > 1]
    assert not {c for c in errors(stiffer(frames, factor)) if "forces" in c or "energ" in c}


@pytest.mark.parametrize("name", ["ethanol", "molecules"])
def test_energies_and_forces_in_one_wrong_unit_are_still_found(name: str) -> None:
    frames = {"ethanol": wards.ethanol, "molecules": wards.molecules}[name]()
    frames = [f for f in frames if len(f.atoms) > 1]
    assert {"unit-forces", "unit-energy"} <= errors(scaled(frames, KCAL, KCAL))


# ------------------------------------------------------------------------ zeros by symmetry


def equation_of_state(stress: bool) -> list[Frame]:
    """Perfect diamond: E = ½ K V0 (v − 1)², no force, positions with four digits."""
    frames, start = [], bulk("C", cubic=True)
    volume, stiffness = start.get_volume(), 2.8
    for i, x in enumerate(np.linspace(0.95, 1.06, 12)):
        atoms = start.copy()
        atoms.set_cell(start.cell.array * x, scale_atoms=True)
        atoms.positions = atoms.positions.round(4)
        v = x**3
        tensor = stiffness * (v - 1) * np.eye(3) if stress else None
        energy = 0.5 * stiffness * volume * (v - 1) ** 2 - 8 * 155.0
        frames.append(Frame(atoms, Label(energy, np.zeros((8, 3)), tensor), f"eos#{i}"))
    return frames


@pytest.mark.parametrize("stress", [True, False])
def test_forces_that_symmetry_makes_zero_are_no_placeholders(stress: bool) -> None:
    assert errors(equation_of_state(stress)) == set()
    assert errors([*equation_of_state(stress), *wards.dry_ice()]) == set()


def test_zeros_that_no_symmetry_makes_are() -> None:
    rng = np.random.default_rng(2)
    rattled = [replace(f, atoms=f.atoms.copy()) for f in equation_of_state(True)]
    for f in rattled:
        f.atoms.positions += rng.normal(0, 0.02, (8, 3))
    assert "forces-zero" in errors(rattled)


@pytest.mark.parametrize(
    ("factor", "code"), [(1 / u.GPa, "unit-stress"), (-1.0, "stress-sign"), (1.0, None)]
)
def test_the_energies_of_strained_cells_judge_the_stress(factor: float, code: str | None) -> None:
    """Isotropic strain has no shear, by which a foundation could tell."""
    frames = [
        wards.relabelled(f, stress=factor * f.label.stress)  # type: ignore[union-attr, operator]
        for f in equation_of_state(True)
    ]
    assert errors(frames) == ({code} if code else set())


# ------------------------------------------------------------------------ scans of bonds


def dimers(first: float = 0.8, last: float = 4.0) -> list[Frame]:
    """Morse curves of three dimers, at distances of so many times the right one."""
    frames = []
    for pair, depth, rest in (("CO", 11.0, 1.13), ("N2", 9.8, 1.10), ("OH", 4.6, 0.97)):
        for x in np.linspace(first, last, 16):
            d, a = rest * x, 2.2
            decay = np.exp(-a * (d - rest))
            force = -2 * depth * a * (decay - decay**2)
            label = Label(
                depth * ((1 - decay) ** 2 - 1) - 500.0, np.array([[0, 0, -force], [0, 0, force]])
            )
            atoms = Atoms(pair, positions=[[0, 0, 0], [0, 0, d]])
            frames.append(Frame(atoms, label, f"{pair}#{len(frames)}"))
    return frames


def test_a_stretched_minority_is_no_unit() -> None:
    assert errors([*wards.ethanol(), *dimers()]) == set()


def test_a_set_of_scans_alone_is_no_unit_and_nothing_is_shuffled() -> None:
    assert errors(dimers()) == set()
    assert "unit-positions" not in errors(dimers(first=1.5))


@pytest.mark.parametrize("factor", [1 / u.Bohr, 0.1])
def test_all_bonds_of_a_set_tell_a_unit(factor: float) -> None:
    def change(f: Frame) -> Frame:
        atoms = f.atoms.copy()
        atoms.positions *= factor
        return replace(f, atoms=atoms)

    found = errors([change(f) for f in wards.molecules()])
    assert "unit-positions" in found or "overlap" in found


# ------------------------------------------------------------------------ boxes


def test_bonds_that_are_as_short_as_their_forces_say_are_no_unit() -> None:
    """Nitrogen at 0.86 to 0.93 Å, and the same lengths with the forces of a molecule at rest."""
    squeezed, resting = [], []
    for i in range(8):
        atoms = Atoms("N2", [[0, 0, 0], [0, 0, 0.86 + 0.01 * i]])
        label = TBLite(method="GFN1-xTB").label(atoms)
        assert isinstance(label, Label)
        squeezed.append(Frame(atoms, label, f"n2#{i}"))
        resting.append(wards.relabelled(squeezed[-1], forces=0.02 * label.forces))
    assert errors(squeezed) == set()
    assert errors(squeezed[::2]) == set(), "of few frames a foundation's ratio is any"
    assert "unit-positions" in errors(resting)


def test_a_molecule_alone_in_a_small_periodic_box_is_named_so() -> None:
    """Labels without images, a structure with them: no unit of energy."""
    boxed = []
    for f in wards.molecules()[24:32]:
        atoms = f.atoms.copy()
        atoms.center(vacuum=0.7)
        atoms.pbc = True
        boxed.append(replace(f, atoms=atoms))
    found = diagnosed(boxed)
    assert found.errors == ()  # of compressed crystals the same may be the foundation's doing
    assert "pbc-wrong" in found.codes
    assert str(found.facts["labels"]).startswith("not judged")
    wide = [replace(f, atoms=f.atoms.copy()) for f in boxed]
    for f in wide:
        f.atoms.center(vacuum=6.0)
    assert errors(wide) == set()


def test_right_labels_of_a_small_periodic_box_are_left_in_peace() -> None:
    boxed = []
    for i, f in enumerate(wards.molecules()[24:32]):
        atoms = f.atoms.copy()
        atoms.center(vacuum=1.4)
        atoms.pbc = True
        boxed.append(wards._labelled(atoms, i))
    assert errors(boxed) == set()


# ------------------------------------------------------------------------ words


def test_an_energy_that_is_nan_is_no_energy() -> None:
    frames = [replace(f, label=None) for f in wards.molecules()[:12]]
    beside = {f.origin: Beside(True, False, {"energy": float("nan")}, ()) for f in frames}
    found = examine(frames, wards.foundation(), beside=beside)
    assert {f.code for f in found.errors} == {"energy-missing", "forces-missing"}
