"""Units and charges that a file declares under any name: used and said, or refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from ase.io import write

from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.stream import Stream
from tunesmith.errors import DataError

# CODATA 2014, as ASE's default: written out, not taken from it
HARTREE, BOHR, KCAL = 27.211386024, 0.52917721067, 0.0433641043
FORCES = np.array([[0.0, 0.1, 0.5], [0.0, -0.1, -0.5]])


def frame(**info):
    """Two atoms; info as it would stand in the comment."""
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])
    atoms.info |= {"energy": -2.0, **info}
    atoms.arrays["forces"] = FORCES.copy()
    return atoms


def saved(tmp_path, *frames, name="a.xyz"):
    write(tmp_path / name, list(frames), format="extxyz")
    return tmp_path / name


@pytest.mark.parametrize(
    ("info", "energy", "forces"),
    [
        ({"energy_unit": "hartree", "forces_unit": "eV/Å"}, HARTREE, 1),
        ({"energy-unit": "Ha", "force-unit": "eV/angstrom"}, HARTREE, 1),
        ({"energy_units": "Eh", "force_units": "Hartree/Bohr"}, HARTREE, HARTREE / BOHR),
        ({"energy.unit": "a.u.", "forces.unit": "au"}, HARTREE, HARTREE / BOHR),
        ({"energy_unit": "kcal/mol", "forces_unit": "kcal/mol/A"}, KCAL, KCAL),
        ({"unit_of_energy": "meV", "units_of_forces": "meV/Ang"}, 1e-3, 1e-3),
        ({"energy_unit": "Ry", "gradient_unit": "Ry/bohr"}, HARTREE / 2, HARTREE / 2 / BOHR),
        ({"energy_unit": "eV/atom", "forces_unit": "eV/Å"}, 2, 1),
        ({"energy_unit": "eV"}, 1, 1),
        ({"units": "metal"}, 1, 1),
        ({"unit_cell": "conventional", "time_unit": "fs", "charge_unit": "e"}, 1, 1),
    ],
)
def test_a_declared_unit_is_converted_and_said(tmp_path, info, energy, forces):
    (one,), keys = read_frames(saved(tmp_path, frame(**info)))
    assert one.label.energy == pytest.approx(-2.0 * energy, rel=1e-6)
    np.testing.assert_allclose(one.label.forces, FORCES * forces, rtol=1e-6)
    assert ("energy converted from" in str(keys)) == (energy != 1)
    assert ("forces converted from" in str(keys)) == (forces != 1)
    write_frames(
        tmp_path / "again.xyz", [one]
    )  # the declaration is not written beside other numbers
    (again,), _ = read_frames(tmp_path / "again.xyz")
    assert again.label.energy == one.label.energy


def test_positions_cell_and_stress_too(tmp_path):
    atoms = frame(positions_unit="bohr", stress_unit="GPa", energy_unit="eV", forces_unit="eV/Å")
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True
    atoms.info["stress"] = np.eye(3).ravel()
    path = saved(tmp_path, atoms)
    (one,), keys = read_frames(path)
    np.testing.assert_allclose(one.atoms.positions[1, 2], BOHR)
    np.testing.assert_allclose(one.atoms.cell.lengths(), 9 * BOHR)
    np.testing.assert_allclose(one.label.stress, np.eye(3) * 0.0062415091, rtol=1e-6)
    assert {"positions converted from bohr", "stress converted from GPa"} <= set(keys.notes)
    stream = Stream([path])
    (bare,) = stream
    np.testing.assert_array_equal(bare.atoms.positions, one.atoms.positions)
    assert stream.notes["a.xyz"] == ("positions converted from bohr",)


@pytest.mark.parametrize(
    ("frames", "says", "cured"),
    [
        (
            [frame(energy_unit="Ha")],
            "no unit of its forces; add forces_unit, as forces_unit=eV/Å",
            [frame(energy_unit="Ha", forces_unit="eV/Å")],
        ),
        (
            [frame(energy_unit="Ha", energy_units="eV", forces_unit="eV/Å")],
            "in 'Ha' and in 'eV'; keep the right one",
            [frame(energy_unit="Ha", forces_unit="eV/Å")],
        ),
        (
            [frame(energy_unit="Ha", forces_unit="eV/Å"), frame()],
            r"a.xyz#1: the unit of its energy is eV, of those before it Ha; declare",
            [frame(energy_unit="Ha", forces_unit="eV/Å")] * 2,
        ),
        (
            [frame(energy_unit="furlong", forces_unit="eV/Å")],
            "'furlong' as the unit of its energy, which is not known here; convert to eV",
            [frame(forces_unit="eV/Å")],
        ),
        (
            [frame(units="atomic")],
            "does not say whose units these are; write energy_unit, forces_unit and positions_unit",
            [frame(energy_unit="Ha", forces_unit="Ha/bohr", positions_unit="bohr")],
        ),
    ],
)
def test_units_that_do_not_go_together(tmp_path, frames, says, cured):
    with pytest.raises(DataError, match=says):
        read_frames(saved(tmp_path, *frames))
    read_frames(saved(tmp_path, *cured))


def test_units_of_a_key_the_user_names(tmp_path):
    info = {"dft_energy": -3.0, "dft_energy_unit": "Ha", "forces_unit": "eV/Å", "REF_energy": 1.0}
    path = saved(tmp_path, frame(**info))
    (one,), _ = read_frames(path, energy_key="dft_energy", forces_key="forces")
    assert one.label.energy == pytest.approx(-3.0 * HARTREE)


def test_units_in_the_metadata_of_a_database(tmp_path):
    """As SchNetPack declares them."""
    with connect(tmp_path / "a.db") as db:
        db.metadata = {
            "_property_unit_dict": {"energy": "Ha", "forces": "Ha/Bohr"},
            "_distance_unit": "Bohr",
        }
        db.write(Atoms("OH", [[0, 0, 0], [0, 0, 1.0]]), data={"energy": -2.0, "forces": FORCES})
    (one,), keys = read_frames(tmp_path / "a.db")
    assert one.label.energy == pytest.approx(-2.0 * HARTREE)
    np.testing.assert_allclose(one.label.forces, FORCES * HARTREE / BOHR)
    assert one.atoms.positions[1, 2] == pytest.approx(BOHR)
    assert "energy converted from Ha" in keys.notes


# ------------------------------------------------------------------------ charge and spin


def ammonium(**info):
    atoms = Atoms("NH4", [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    atoms.info |= info
    return atoms


@pytest.mark.parametrize("format", ["xyz", "traj", "db"])
@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"charge": 1, "multiplicity": 1}, ()),
        ({"charge": 1, "multiplicity": 1, "spin": 0, "total_charge": 1.0}, ()),
        (
            {"total_charge": 1, "total_spin": 1},
            ("charge from total_charge", "multiplicity from total_spin"),
        ),
        (
            {"system_charge": 1, "spin_multiplicity": 1},
            ("charge from system_charge", "multiplicity from spin_multiplicity"),
        ),
        (
            {"Charge": 1, "Multiplicity": 1},
            ("charge from Charge", "multiplicity from Multiplicity"),
        ),
        ({"net_charge": 1.0, "mult": 1}, ("charge from net_charge", "multiplicity from mult")),
    ],
)
def test_a_charge_is_heard_under_every_name_of_public_sets(tmp_path, info, said, format):
    path = tmp_path / f"a.{format}"
    if format == "db":
        with connect(path) as db:
            if "charge" in info or "spin" in info:  # ASE takes some names for itself
                db.write(ammonium(), data=info)
            else:
                db.write(ammonium(), **info)
    else:
        write(path, ammonium(**info))
    (one,), keys = read_frames(path)
    kept = {k: v for k, v in one.atoms.info.items() if k != "spin"}
    assert kept == {"charge": 1, "multiplicity": 1}
    assert all(type(v) is int for v in kept.values())
    assert keys.notes == said
    stream = Stream([path])
    assert next(iter(stream)).atoms.info == one.atoms.info


@pytest.mark.parametrize(
    ("info", "says", "cured"),
    [
        ({"charge": 1, "total_charge": 0}, "charge=1, total_charge=0 say different things", None),
        ({"total_charge": 1, "total_spin": 2}, "no 2S\\+1 of 10 electrons", {"multiplicity": 1}),
        ({"qm_charge": 1}, "'qm_charge' looks like a charge", {"charge": 1}),
        ({"molCharge": 1}, "'molCharge' looks like a charge", {"charge": 1}),
        ({"spin": 1}, "'spin' does not say whether it is S, 2S or 2S", {"multiplicity": 1}),
        ({"uhf": 0}, "'uhf' does not say", {"multiplicity": 1}),
        ({"unpaired_electrons": 2}, "'unpaired_electrons' does not say", {"multiplicity": 3}),
        ({"total_charge": 0.5}, "total_charge = 0.5 is not possible", {"charge": 1}),
        ({"mult": 0}, "mult = 0 is not possible; it is 2S\\+1", {"mult": 1}),
    ],
)
def test_what_could_be_charge_or_spin_is_not_passed_over(tmp_path, info, says, cured):
    with pytest.raises(DataError, match=says):
        read_frames(saved(tmp_path, ammonium(**info)))
    read_frames(saved(tmp_path, ammonium(**(cured or {"charge": 1}))))


def test_names_that_only_sound_like_it_are_left_alone(tmp_path):
    info = {"charger": 3, "spinach": 2, "discharge_rate": 0.25, "spin_polarized": True}
    (one,), keys = read_frames(saved(tmp_path, ammonium(**info)))
    assert not keys.notes
    assert "charge" not in one.atoms.info
