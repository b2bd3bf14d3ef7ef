"""Files of other codes: what they say that ASE passes over, and what ASE makes up."""

import contextlib
import gzip
import hashlib
import sqlite3
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from ase.units import Bohr, Hartree, kcal, mol

from printed import dump, orca, outcar
from tunesmith.data import program_outputs
from tunesmith.data.formats import read_contents, read_frames
from tunesmith.data.stream import Stream
from tunesmith.errors import DataError

YES, NO = "because EDIFF is reached", "EDIFF was not reached (unconverged)"


def saved(tmp_path, text, name):
    path = tmp_path / name
    path.write_text(text)
    return path


def refusal(path, **how):
    with pytest.raises(DataError) as error:
        read_frames(path, **how)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


# ------------------------------------------------------------------------ elements


def types(columns="id type x y z", cells=("0 0 0.1", "0 0.8 -0.5", "0 -0.8 -0.5"), **more):
    rows = [f"{i} {t} {c}" for i, (t, c) in enumerate(zip((1, 2, 2), cells, strict=True), 1)]
    return dump(columns, rows, **more)


DATA = """LAMMPS data file via write_data, units = metal

3 atoms
2 atom types

0 9 xlo xhi
0 9 ylo yhi
0 9 zlo zhi

Masses

1 15.999
2 1.008

Atoms # atomic

1 1 0 0 0.1
2 2 0 0.8 -0.5
3 2 0 -0.8 -0.5
"""
LABELS = "Atom Type Labels\n\n1 O\n2 H\n\nMasses"


@pytest.mark.parametrize(
    ("name", "text", "cured"),
    [
        ("a.lammpstrj", types(), types("id element x y z").replace(" 1 0", " O 0")),
        ("a.data", DATA, DATA.replace("Masses", LABELS)),
    ],
)
def test_types_are_no_elements(tmp_path, name, text, cured):
    how = {"format": "lammps-data"} if name == "a.data" else {}
    path = saved(tmp_path, text, name)
    said = refusal(path, **how)
    assert "types, not elements" in said
    assert "--species 'O H'" in said
    frames, _ = read_frames(path, species=["O", "H"], **how)
    assert {str(f.atoms.symbols) for f in frames} == {"OH2"}
    cured = cured.replace("\n2 2 ", "\n2 H ").replace("\n3 2 ", "\n3 H ")
    if name == "a.data":
        cured = DATA.replace("Masses", LABELS)
    frames, _ = read_frames(saved(tmp_path, cured, f"b{name}"), **how)
    assert {str(f.atoms.symbols) for f in frames} == {"OH2"}


def test_species_that_cannot_be_are_refused(tmp_path):
    path = saved(tmp_path, types(), "a.lammpstrj")
    with pytest.raises(DataError, match="no element 'Lead'"):
        read_frames(path, species=["Lead"])
    write(tmp_path / "a.xyz", molecule("H2O"))
    assert "leave species out" in refusal(tmp_path / "a.xyz", species=["O"])
    with_element = types("id element x y z").replace(" 1 0", " O 0")
    with_element = with_element.replace("\n2 2 ", "\n2 H ").replace("\n3 2 ", "\n3 H ")
    other = saved(tmp_path, with_element, "b.lammpstrj")
    assert "leave species out" in refusal(other, species=["O", "H"])
    for name, text, how in (
        ("c.lammpstrj", types(), {}),
        ("c.data", DATA, {"format": "lammps-data"}),
    ):
        said = refusal(saved(tmp_path, text, name), species=["O"], **how)
        assert "has more types than species name" in said


def test_masses_are_no_elements_where_species_are_given(tmp_path):
    """A united atom of 15 u is no nitrogen."""
    heavy = types("id type mass x y z", ("15.035 0 0 0.1", "1.008 0 0.8 -0.5", "1.008 0 -0.8 -0.5"))
    path = saved(tmp_path, heavy, "a.lammpstrj")
    assert "types, not elements" in refusal(path)
    frames, _ = read_frames(path, species=["C", "H"])
    assert {str(f.atoms.symbols) for f in frames} == {"CH2"}
    data = DATA.replace("15.999", "15.035")
    path = saved(
        tmp_path, data.replace("Masses", "Atom Type Labels\n\n1 C\n2 H\n\nMasses"), "b.data"
    )
    (frame,), _ = read_frames(path, format="lammps-data")
    assert str(frame.atoms.symbols) == "CH2"


def test_a_dump_has_no_energy_and_forces_only_in_units_it_says(tmp_path):
    """ASE gives every frame of it an energy of zero."""
    columns = "id type x y z fx fy fz"
    cells = ("0 0 0.1 1 0 0", "0 0.8 -0.5 0 2 0", "0 -0.8 -0.5 -1 -2 0")
    path = saved(tmp_path, types(columns, cells), "a.lammpstrj")
    found = read_contents(path, species=["O", "H"], partial=True)
    assert [f.label for f in found.frames] == [None, None]
    assert any("does not say its units" in note for note in found.keys.notes)
    path = saved(tmp_path, types(columns, cells, units="real"), "b.lammpstrj")
    frames = read_contents(path, species=["O", "H"], partial=True).frames
    np.testing.assert_allclose(frames[1].label.forces[1], [0, 2 * kcal / mol, 0])
    assert np.isnan(frames[1].label.energy)
    assert [f.label for f in read_frames(path, species=["O", "H"])[0]] == [None, None]
    assert "units are 'lj'" in refusal(saved(tmp_path, types(units="lj"), "c.lammpstrj"))


def test_a_dump_that_is_cut_off_is_no_smaller_molecule(tmp_path):
    text = types().rsplit("\n", 2)[0] + "\n"
    assert "frame 1 is cut off" in refusal(saved(tmp_path, text, "a.lammpstrj"), species=["O", "H"])


@pytest.mark.parametrize("name", ["a.gro", "a.g96"])
def test_names_of_atoms_are_no_elements(tmp_path, name):
    atoms = molecule("H2O", vacuum=3)
    write(tmp_path / name, atoms)
    assert "names of atoms, not elements" in refusal(tmp_path / name)


def test_a_pdb_without_elements(tmp_path):
    write(tmp_path / "a.pdb", molecule("CH4"))
    assert read_frames(tmp_path / "a.pdb")[0][0].atoms.get_chemical_formula() == "CH4"
    lines = (tmp_path / "a.pdb").read_text().splitlines()
    cut = [line[:66] if line.startswith("ATOM") else line for line in lines]
    said = refusal(saved(tmp_path, "\n".join(cut).replace(" C  ", " CA ") + "\n", "b.pdb"))
    assert "without its element" in said


def test_sites_that_are_occupied_in_part(tmp_path):
    write(tmp_path / "a.cif", bulk("Cu"))
    assert len(read_frames(tmp_path / "a.cif")[0]) == 1
    text = (tmp_path / "a.cif").read_text().replace("1.0000", "0.5000")
    with pytest.raises(DataError, match="occupied in part"):
        read_frames(saved(tmp_path, text, "b.cif"))


# ------------------------------------------------------------------------ VASP and others


def test_two_outcars_in_one_file(tmp_path):
    first, second = outcar("Cu", 4, [YES] * 2), outcar("Pd", 8, [YES] * 3, seed=1)
    said = refusal(saved(tmp_path, first + second, "OUTCAR_both"))
    assert "2 calculations" in said
    assert "split it" in said
    line = int(said.split("line ")[1].split(")")[0])
    assert abs(line - first.count("\n")) < 10
    for text, formula in ((first, "Cu4"), (second, "Pd8")):
        frames, _ = read_frames(saved(tmp_path, text, "OUTCAR"))
        assert {f.atoms.get_chemical_formula() for f in frames} == {formula}


@pytest.mark.parametrize(
    ("ends", "loops", "left_out"),
    [
        ([YES, YES, YES], 1, set()),
        ([YES, NO, YES], 1, {1}),
        ([YES, "", YES], 1, {1}),  # VASP 5 says nothing of it
        ([YES, "because hard stop was set", YES], 1, {1}),
        (["", "", ""], 1, set()),  # and nothing says that these did not
        ([YES, "", YES], 3, {1}),
    ],
)
def test_steps_whose_electrons_did_not_converge(tmp_path, ends, loops, left_out):
    """They are left out and named; numbers stay those of the file, at once and in turn."""
    path = saved(tmp_path, outcar("Cu", 4, ends, loops=loops), "OUTCAR")
    frames, keys = read_frames(path)
    kept = [i for i in range(3) if i not in left_out]
    assert [f.origin for f in frames] == [f"OUTCAR#{i}" for i in kept]
    assert [f.label.energy for f in frames] == [-17.0 - i for i in kept]
    said = "left out 1 whose electrons did not converge: #1"
    assert (said in keys.notes) == bool(left_out)
    stream = Stream([path])
    assert [f.origin for f in stream] == [f.origin for f in frames]
    assert (said in stream.notes["OUTCAR"]) == bool(left_out)
    for k, frame in enumerate(stream.read(range(len(kept)))):
        np.testing.assert_array_equal(frame.atoms.positions, frames[k].atoms.positions)
        assert frame.label.energy == frames[k].label.energy


def test_steps_that_all_took_as_many_iterations_as_they_may(tmp_path):
    path = saved(tmp_path, outcar("Cu", 4, ["", YES], loops=3), "OUTCAR")
    assert [f.origin for f in read_frames(path)[0]] == ["OUTCAR#1"]


def test_a_last_step_that_is_not_finished_is_said(tmp_path):
    text = outcar("Cu", 4, [YES] * 3)
    cut = text[: text.rindex("FREE ENERGIE")]
    frames, keys = read_frames(saved(tmp_path, cut, "OUTCAR"))
    assert len(frames) == 2
    assert "the last step is not finished and left out" in keys.notes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("TOTAL-FORCE (eV/Angst)", "TOTAL-FORCE (eV/Angst), FORCE-w/o vdW"), "dispersion"),
        (("  FREE ENERGIE", "  ML FREE ENERGIE"), "machine-learnt"),
        (("TOTAL-FORCE", "x"), "NWRITE=0"),
    ],
)
def test_outcars_that_ase_does_not_know_are_not_damaged(tmp_path, change, says):
    path = saved(tmp_path, outcar("Cu", 4, [YES] * 2).replace(*change), "OUTCAR")
    said = refusal(path)
    assert says in said
    assert "vasprun.xml" in said
    assert "damaged" not in said


VASPRUN_STEP = """ <calculation>
{scsteps}
  <structure>
   <crystal><varray name="basis"><v>8 0 0</v><v>0 8 0</v><v>0 0 8</v></varray></crystal>
   <varray name="positions"><v>0 0 0</v><v>0 0 0.1</v></varray>
  </structure>
  <varray name="forces"><v>0 0 1.5</v><v>0 0 -1.5</v></varray>
  <energy><i name="e_fr_energy">-6.5</i><i name="e_wo_entrp">-6.3</i>
   <i name="e_0_energy">-6.4</i></energy>
 </calculation>
"""
SCSTEP = """  <scstep><energy><i name="e_fr_energy">-6.5</i><i name="e_wo_entrp">-6.3</i>
   <i name="e_0_energy">-6.4</i></energy></scstep>"""


def vasprun(iterations):
    head = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <incar><i type="int" name="NELM">    4</i></incar>
 <kpoints>
  <varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1.0</v></varray>
 </kpoints>
 <atominfo>
  <array name="atoms"><set><rc><c>H </c><c>1</c></rc><rc><c>H </c><c>1</c></rc></set></array>
 </atominfo>
 <structure name="initialpos">
  <crystal><varray name="basis"><v>8 0 0</v><v>0 8 0</v><v>0 0 8</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0 0 0.1</v></varray>
 </structure>
"""
    steps = (VASPRUN_STEP.format(scsteps="\n".join([SCSTEP] * n)) for n in iterations)
    return head + "".join(steps) + "</modeling>\n"


def test_vasprun_says_convergence_by_its_count_of_iterations(tmp_path):
    frames, keys = read_frames(saved(tmp_path, vasprun([2, 4, 3]), "vasprun.xml"))
    assert [f.origin for f in frames] == ["vasprun.xml#0", "vasprun.xml#2"]
    assert "left out 1 whose electrons did not converge: #1" in keys.notes


def test_two_vaspruns_in_one_file_and_one_that_is_cut(tmp_path):
    """ASE gives the first one's steps and not a word."""
    both = vasprun([2]) + vasprun([2, 2])
    assert "2 calculations" in refusal(saved(tmp_path, both, "vasprun.xml"))
    text = vasprun([2, 2])
    cut = text[: text.rindex('<varray name="forces">')]
    frames, keys = read_frames(saved(tmp_path, cut, "vasprun.xml"))
    assert len(frames) == 1
    assert "the last step is not finished and left out" in keys.notes


def test_orca_without_populations_is_read_and_its_charge_is_heard(tmp_path):
    (plain,), _ = read_frames(saved(tmp_path, orca(1, 2, populations=True), "a.out"))
    (bare,), _ = read_frames(saved(tmp_path, orca(1, 2, populations=False), "b.out"))
    for frame in (plain, bare):
        assert frame.atoms.info == {"charge": 1, "multiplicity": 2}
        assert frame.label.energy == pytest.approx(-76.25 * Hartree)
        np.testing.assert_allclose(
            frame.label.forces[1], -np.array([0, 0.08, -0.05]) * Hartree / Bohr
        )
    failed = orca(0, 1, True).replace("FINAL", "  SCF NOT CONVERGED AFTER 125 CYCLES\nFINAL")
    assert "did not converge" in refusal(saved(tmp_path, failed, "c.out"))
    several = orca(0, 1, True) + orca(1, 2, True)
    assert "split it" in refusal(saved(tmp_path, several, "d.out"))


@pytest.mark.parametrize("charge", [0, 1, -2])
def test_charges_of_inputs_are_heard(tmp_path, charge):
    write(tmp_path / "a.com", molecule("H2O"), charge=charge, mult=3)
    (frame,), _ = read_frames(tmp_path / "a.com")
    assert frame.atoms.info == {"charge": charge, "multiplicity": 3}
    text = "OH\n\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n"
    for symbol, z in (("O", 0.0), ("H", 1.0)):
        text += f"    0.0000    0.0000{z:10.4f} {symbol:3} 0  0  0  0  0  0  0  0  0  0  0  0\n"
    text += "  1  2  1  0\nM  END\n"
    assert str(read_frames(saved(tmp_path, text, "a.sdf"))[0][0].atoms.symbols) == "OH"
    ion = text.replace("M  END", f"M  CHG  1   1  {charge:2d}\nM  END")
    assert "charges of atoms" in refusal(saved(tmp_path, ion, "b.sdf"))


# ------------------------------------------------------------------------ formats


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("cp2k.out", " CP2K| version string: CP2K version 2024.1\n", "PROJECT-pos-1.xyz"),
        ("job.out", "\n Psi4: my calculation\n total energy = -76.1 Ha\n", "Psi4"),
        ("job.out", "\n some words\n", "its name is that of espresso-out, its content is not"),
        ("job.log", "\n some words\n", "its name is that of gaussian-out, its content is not"),
        ("notes.abc", "hello\n", "the format is not one ASE knows; name it"),
    ],
)
def test_a_format_is_never_guessed(tmp_path, name, text, says):
    assert says in refusal(saved(tmp_path, text, name))


def test_a_format_that_is_named(tmp_path):
    write(tmp_path / "a.xyz", molecule("H2O"))
    (tmp_path / "a.xyz").rename(tmp_path / "a.abc")
    write(tmp_path / "b.abc", bulk("Cu"), format="vasp")
    assert len(read_frames(tmp_path / "a.abc", format="xyz")[0]) == 1
    assert len(read_frames(tmp_path / "b.abc", format="vasp")[0]) == 1
    with pytest.raises(DataError, match=r"ASE reads no 'vaps'; did you mean 'vasp'\?"):
        read_frames(tmp_path / "b.abc", format="vaps")
    assert "ASE's reader of orca-output" in refusal(tmp_path / "a.abc", format="orca-output")


def labelled():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    return atoms


FORMATS = [
    *("a.xyz", "a.extxyz", "a.exyz", "a.traj", "a.db", "a.json", "a.cif", "a.pdb", "POSCAR"),
    *("XDATCAR", "a.xsf", "a.gen", "a.vasp", "a.cfg", "a.cube", "coord", "a.com"),
    *("a.xyz.gz", "a.json.gz", "POSCAR.gz"),
]


@pytest.mark.parametrize("broken", [None, 1, 100])
@pytest.mark.parametrize("name", FORMATS)
def test_reading_leaves_a_file_as_it_is(tmp_path, name, broken):
    """To the byte, whether it can be read or not; and nothing appears beside it."""
    path = tmp_path / name
    kind = "extxyz" if "xyz" in name else None
    write(tmp_path / name.removesuffix(".gz"), labelled(), format=kind)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress((tmp_path / name.removesuffix(".gz")).read_bytes()))
        (tmp_path / name.removesuffix(".gz")).unlink()
    if broken is not None:
        path.write_bytes(path.read_bytes()[:broken])
    before = hashlib.sha256(path.read_bytes()).digest()
    if broken is None:
        frames, _ = read_frames(path)
        assert {f.atoms.get_chemical_formula() for f in frames} <= {"Cu4", "Cu"}
    else:
        with contextlib.suppress(DataError):  # nothing else is raised
            read_frames(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("text", ["x", "", "hello " * 1000])
def test_a_database_that_is_none_stays_as_it_is(tmp_path, text):
    path = saved(tmp_path, text, "text.db")
    with pytest.raises(DataError):
        read_frames(path)
    assert path.read_text() == text


def test_a_database_of_someone_else_gets_no_tables(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE mine (a)")
    before = (tmp_path / "other.db").read_bytes()
    assert "not a readable ASE database" in refusal(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_lmdb_without_its_package_is_not_damaged(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ase_db_backends", None)
    monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
    said = refusal(saved(tmp_path, "x", "data.aselmdb"))
    assert "pip install ase-db-backends" in said


@pytest.mark.parametrize("name", ["a.traj", "a.json", "POSCAR", "a.cif", "vasprun.xml"])
def test_damage_is_claimed_of_binary_files_only(tmp_path, name):
    if name == "vasprun.xml":
        saved(tmp_path, vasprun([2])[:300], name)
    else:
        write(tmp_path / name, labelled())
        raw = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(raw[: len(raw) // 3])
    assert ("damaged" in refusal(tmp_path / name)) == (name == "a.traj")


# ------------------------------------------------------------------------ stress


def test_six_numbers_mean_the_same_under_every_key_in_every_format(tmp_path):
    atoms, six = labelled(), np.arange(1.0, 7)
    matrix = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((4, 3)), stress=six)
    write(tmp_path / "ase.traj", atoms)
    atoms.calc = None
    forces = np.random.default_rng(0).normal(size=(4, 3))
    files = {"ase.traj": {}}
    for key in ("stress", "REF_stress", "my_stress"):
        for shape in ("six", "nine"):
            ref = "REF_" if key.startswith("REF") else ""
            text = " ".join(map(str, six if shape == "six" else np.ravel(matrix)))
            bare = atoms.copy()
            bare.info = {ref + "energy": -1.0}
            bare.arrays[ref + "forces"] = forces
            write(tmp_path / "t.xyz", bare, format="extxyz")
            line = (tmp_path / "t.xyz").read_text().replace("Lattice", f'{key}="{text}" Lattice', 1)
            files[f"{key}-{shape}.xyz"] = {"stress_key": key} if key == "my_stress" else {}
            (tmp_path / f"{key}-{shape}.xyz").write_text(line)
    with connect(tmp_path / "a.db") as db:
        data = {"REF_forces": forces, "REF_stress": six}
        db.write(Atoms(atoms), REF_energy=-1.0, data=data)
    files["a.db"] = {}
    for name, keys in files.items():
        (frame,), used = read_frames(tmp_path / name, **keys)
        np.testing.assert_array_equal(frame.label.stress, matrix, err_msg=name)
        said = "stress of six numbers read as xx yy zz yz xz xy" in used.notes
        assert said == ("six" in name or name == "a.db"), name
    text = (tmp_path / "stress-six.xyz").read_text()
    path = saved(tmp_path, text.replace("5.0 6.0", "5.0"), "five.xyz")
    with pytest.raises(
        DataError, match=r"5 numbers; give six in the order xx yy zz yz xz xy \(ASE; VASP"
    ):
        read_frames(path)


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("gaussian-out", " Charge =  0 Multiplicity = 1\n", {"charge": 0, "multiplicity": 1}),
        ("gaussian-out", " Charge = -1 Multiplicity = 2\n" * 3, {"charge": -1, "multiplicity": 2}),
        (
            "nwchem-out",
            "          Charge           :     1\n          Spin multiplicity:     2\n",
            {"charge": 1, "multiplicity": 2},
        ),
        ("nwchem-in", "geometry\nend\ncharge -2\n", {"charge": -2}),
        ("espresso-in", "&SYSTEM\n  tot_charge = 1\n/\n", {"charge": 1}),
        ("vasp-out", "charge 1\n", {}),
    ],
)
def test_lines_that_say_charge(tmp_path, kind, text, found):
    """As the codes print them."""
    assert program_outputs.looked_through(saved(tmp_path, text, "x"), kind) == found


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("espresso-out", "     convergence NOT achieved after 100 iterations: stopping\n"),
        ("gaussian-out", " Convergence failure -- run terminated.\n"),
        ("nwchem-out", "      Calculation failed to converge\n"),
    ],
)
def test_lines_that_say_no_convergence(tmp_path, kind, text):
    with pytest.raises(DataError, match=r"did not converge \(line 2\)"):
        program_outputs.looked_through(saved(tmp_path, "\n" + text, "x"), kind)
