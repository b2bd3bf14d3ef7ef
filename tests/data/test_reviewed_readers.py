"""What files say in unusual words, and words that are no charge, no unit and no number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from ase.units import Bohr, Hartree

from tunesmith.data.formats import read_frames
from tunesmith.data.program_outputs import looked_through
from tunesmith.errors import DataError


def water(**info: Any) -> Atoms:
    atoms = molecule("H2O")
    atoms.info |= {"REF_energy": -2.0, **info}
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    return atoms


def saved(tmp_path: Path, atoms: Atoms) -> Path:
    write(tmp_path / "a.xyz", atoms)
    return tmp_path / "a.xyz"


UNITS = ("energyUnit", "energyunit", "EnergyUnits", "energy_unit_name", "total_energy_units",
         "unit-of-energy", "energy(unit)")  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_heard_however_it_is_spelt(tmp_path: Path, name: str) -> None:
    atoms = water(forces_unit="hartree/bohr", **{name: "hartree"})
    [frame], keys = read_frames(saved(tmp_path, atoms))
    assert frame.label is not None
    assert frame.label.energy == pytest.approx(-2 * Hartree)
    assert "energy converted from hartree" in str(keys)


def test_a_unit_of_who_knows_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="may be the unit of the energy or of something else"):
        read_frames(saved(tmp_path, water(mean_energy_unit="hartree")))
    known = water(dispersion_energy=0.1, dispersion_energy_unit="hartree", mean_energy_unit="eV")
    [frame], _ = read_frames(saved(tmp_path, known))
    assert frame.label is not None
    assert frame.label.energy == -2.0


def test_a_cell_has_a_unit_of_its_own(tmp_path: Path) -> None:
    atoms = water(cell_unit="bohr", positions_unit="Å")
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True
    [frame], _ = read_frames(saved(tmp_path, atoms))
    assert frame.atoms.cell.lengths() == pytest.approx(9 * Bohr)
    assert frame.atoms.positions == pytest.approx(atoms.positions)
    del atoms.info["positions_unit"]
    with pytest.raises(DataError, match="no unit of its positions; add positions_unit"):
        read_frames(saved(tmp_path, atoms))
    atoms.info |= {"cell_unit": "Å", "Unit_Cell": "primitive"}
    [frame], _ = read_frames(saved(tmp_path, atoms))
    assert frame.atoms.cell.lengths() == pytest.approx(9)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("gaussian-in", "# pbe\n\ntitle\n\n+1 2\nO 0 0 0\n", {"charge": 1, "multiplicity": 2}),
        ("nwchem-in", "geometry\nend\ncharge +1\n", {"charge": 1}),
        ("espresso-in", "TOT_CHARGE = -.5\n", {"charge": -0.5}),
    ],
)
def test_a_charge_with_its_sign(
    tmp_path: Path, kind: str, text: str, said: dict[str, float]
) -> None:
    (tmp_path / "a").write_text(text)
    assert looked_through(tmp_path / "a", kind) == said


@pytest.mark.parametrize(("line", "charge"), [("TOT_CHARGE=1", 1), ("tot_charge = +1.0", 1),
                                              ("tot_charge=0.5", None)])  # fmt: skip
def test_a_charge_of_espresso(tmp_path: Path, line: str, charge: int | None) -> None:
    text = f"""&CONTROL
/
&SYSTEM
 ibrav=0, nat=1, ntyp=1, ecutwfc=30, {line}
/
&ELECTRONS
/
ATOMIC_SPECIES
 H 1.0 H.upf
CELL_PARAMETERS angstrom
 5 0 0
 0 5 0
 0 0 5
ATOMIC_POSITIONS angstrom
 H 0 0 0
K_POINTS gamma
"""
    (tmp_path / "a.pwi").write_text(text)
    if charge is None:
        with pytest.raises(DataError, match=r"charge = 0.5 is not possible"):
            read_frames(tmp_path / "a.pwi")
        return
    [frame], _ = read_frames(tmp_path / "a.pwi")
    assert frame.atoms.info["charge"] == charge


def test_what_holds_no_numbers_is_no_traceback(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.info |= {"bonds": [[0, 1], [1]], "occupancy": {"a": 0.5}, 3: "three"}
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((3, 3)))
    write(tmp_path / "a.traj", atoms)
    with pytest.raises(DataError, match="occupied in part"):
        read_frames(tmp_path / "a.traj")
    del atoms.info["occupancy"]
    write(tmp_path / "a.traj", atoms)
    assert len(read_frames(tmp_path / "a.traj")[0]) == 1
    (tmp_path / "b.xyz").write_text(
        "1\nProperties=species:S:1:pos:R:3:occupancy:S:1 REF_energy=1\nH 0 0 0 full\n"
    )
    assert len(read_frames(tmp_path / "b.xyz")[0]) == 1


def test_words_of_a_comment_stay_words(tmp_path: Path) -> None:
    words = 'pdb=1d66 config_type=2d10 smiles="1D2" REF_energy=-1.5D+1'
    (tmp_path / "a.xyz").write_text(f"1\nProperties=species:S:1:pos:R:3 {words}\nH 0 0 0\n")
    [frame], _ = read_frames(tmp_path / "a.xyz")
    assert frame.config_type == "2d10"
    assert (frame.atoms.info["pdb"], frame.atoms.info["smiles"]) == ("1d66", "1D2")
    assert frame.label is not None
    assert frame.label.energy == -15.0
    (tmp_path / "b.xyz").write_text('1\nbonds="_JSON [[0, 1], [1]]" REF_energy=1\nH 0 0 0\n')
    with pytest.raises(DataError) as error:
        read_frames(tmp_path / "b.xyz")
    assert "Lattice" not in str(error.value)


@pytest.mark.parametrize("name", ["spin_polarized", "spin_channels", "charge_density_cutoff"])
def test_words_about_the_method_are_no_electrons(tmp_path: Path, name: str) -> None:
    [frame], _ = read_frames(saved(tmp_path, water(**{name: 2})))
    assert not {"charge", "multiplicity"} & set(frame.atoms.info)


def test_two_charges_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="charge=0 and qm_charge=1 say different things"):
        read_frames(saved(tmp_path, water(charge=0, qm_charge=1)))
    assert len(read_frames(saved(tmp_path, water(charge=1, qm_charge=1)))[0]) == 1


def test_numbers_of_a_database_may_be_arrays_of_one(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    with connect(tmp_path / "a.db") as database:
        database.write(atoms, data={"energy": np.array([-2.0]), "forces": np.ones((3, 3))})
    [frame], _ = read_frames(tmp_path / "a.db")
    assert frame.label is not None
    assert frame.label.energy == -2.0


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 9
0 9
0 9
ITEM: ATOMS id element x y z
1 {} 0 0 0
2 H 0 0 1
{}"""


def test_dumps_end_with_blank_lines_and_have_names_that_are_no_elements(tmp_path: Path) -> None:
    (tmp_path / "a.dump").write_text(DUMP.format("O", "\n"))
    assert len(read_frames(tmp_path / "a.dump", format="lammps-dump-text")[0]) == 1
    (tmp_path / "a.dump").write_text(DUMP.format("OW", ""))
    with pytest.raises(DataError, match="'OW' is no element's symbol; write symbols"):
        read_frames(tmp_path / "a.dump", format="lammps-dump-text")
