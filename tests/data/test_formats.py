"""Files are written here by ASE or by hand, never by our own writer, when reading is tested."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.db import connect
from ase.io import read, write

from tunesmith.core import Frame, Label
from tunesmith.data.formats import KeysUsed, read_frames, write_frames
from tunesmith.errors import DataError, RunFolderError

WATER = """3
Properties=species:S:1:pos:R:3:{forces}:R:3 {energy}=-2081.25 {info}
O 0.0 0.0 0.1 0.5 -0.25 1.0
H 0.0 0.8 -0.5 0.1 0.2 0.3
H 0.0 -0.8 -0.5 -0.6 0.05 -1.3
"""
FORCES = np.array([[0.5, -0.25, 1.0], [0.1, 0.2, 0.3], [-0.6, 0.05, -1.3]])


def water(energy="energy", forces="forces", info=""):
    return WATER.format(energy=energy, forces=forces, info=info)


def saved(tmp_path, text, name="some.xyz"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def strained_copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.set_cell(atoms.cell.array @ [[1.02, 0.01, 0], [0, 0.99, 0.03], [0, 0, 1]], True)
    return atoms


@pytest.mark.parametrize(
    ("energy", "forces"),
    [("REF_energy", "REF_forces"), ("energy", "forces"), ("free_energy", "forces")],
)
def test_keys_are_found_and_named(tmp_path, energy, forces):
    frames, keys = read_frames(saved(tmp_path, water(energy, forces)))
    assert keys == KeysUsed(energy, forces, None)
    assert frames[0].label.energy == -2081.25
    np.testing.assert_array_equal(frames[0].label.forces, FORCES)
    assert frames[0].label.stress is None
    assert frames[0].origin == "some.xyz#0"
    assert frames[0].atoms.calc is None
    assert not frames[0].atoms.info
    assert set(frames[0].atoms.arrays) == {"numbers", "positions"}


def test_named_keys(tmp_path):
    path = saved(tmp_path, water("dft_e", "dft_f", "REF_energy=1.0"))
    frames, keys = read_frames(path, energy_key="dft_e", forces_key="dft_f")
    assert (keys.energy, keys.forces, keys.ignored) == ("dft_e", "dft_f", ("REF_energy",))
    assert frames[0].label.energy == -2081.25
    assert not frames[0].atoms.info
    with pytest.raises(DataError, match=r"'dft_g'.*forces_key"):
        read_frames(path, forces_key="dft_g")


def test_ref_comes_first_and_the_rest_is_named(tmp_path):
    text = water("REF_energy", "REF_forces", 'energy=-7.0 stress="1 0 0 0 1 0 0 0 1"')
    frames, keys = read_frames(saved(tmp_path, text))
    assert frames[0].label.energy == -2081.25
    assert keys.ignored == ("energy", "stress")
    assert str(keys) == (
        "energy from REF_energy, forces from REF_forces, stress from nothing; "
        "ignored: energy, stress"
    )


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (("REF_energy", "REF_forces"), ("energy", "REF_forces"), "some.xyz#1.*'energy'"),
        (("energy", "forces"), ("REF_energy", "REF_forces"), "some.xyz#0.*'energy'"),
        (("REF_energy", "forces"), ("REF_energy", "forces"), "some.xyz#0.*'forces'"),
        (("free_energy", "forces"), ("energy", "forces"), "some.xyz#1.*'energy'"),
    ],
)
def test_mixed_keys_are_refused(tmp_path, first, second, says):
    path = saved(tmp_path, water(*first) + water(*second))
    with pytest.raises(DataError, match=says):
        read_frames(path)


def test_free_energy_is_the_label_and_energy_is_kept(tmp_path):
    path = saved(tmp_path, water("free_energy", info="energy=-2081.0"))
    frames, keys = read_frames(path)
    assert (frames[0].label.energy, frames[0].label.energy_zero) == (-2081.25, -2081.0)
    assert keys == KeysUsed("free_energy", "forces", None)
    frames, keys = read_frames(path, energy_key="energy")
    assert (frames[0].label.energy, frames[0].label.energy_zero) == (-2081.0, None)
    assert keys.ignored == ("free_energy",)


@pytest.mark.parametrize("suffix", ["traj", "db", "extxyz", "json"])
def test_formats_of_ase_agree_with_the_calculator(tmp_path, suffix):
    atoms = strained_copper()
    atoms.calc = EMT()
    expected = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    atoms.set_constraint([FixAtoms([0]), FixCartesian(1, (True, False, False))])
    write(tmp_path / f"cu.{suffix}", atoms)
    path = tmp_path / f"cu@2.{suffix}"  # ASE would take "@2" for a frame number
    (tmp_path / f"cu.{suffix}").rename(path)
    (frame,), _ = read_frames(path)
    tolerance = {"rtol": 0, "atol": 1e-7 if suffix == "extxyz" else 1e-12}
    assert frame.label.energy == pytest.approx(expected[0], abs=1e-12)
    np.testing.assert_allclose(frame.label.forces, expected[1], **tolerance)
    np.testing.assert_allclose(frame.label.stress, expected[2], **tolerance)
    assert np.abs(expected[1][0]).min() > 1e-3  # the fixed atom's force is a real one
    assert not frame.atoms.constraints


@pytest.mark.parametrize(
    "text",
    ["1 6 5 6 2 4 5 4 3", "1 2 3 4 5 6"],
)
def test_stress_orders(tmp_path, text):
    head = f'REF_stress="{text}" Lattice="9 0 0 0 9 0 0 0 9"'
    (frame,), keys = read_frames(saved(tmp_path, water("REF_energy", "REF_forces", head)))
    assert keys.stress == "REF_stress"
    xx, yy, zz, yz, xz, xy = 1, 2, 3, 4, 5, 6
    np.testing.assert_array_equal(frame.label.stress, [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def test_stress_that_cannot_be_used_is_said(tmp_path):
    bad = water("REF_energy", "REF_forces", 'REF_stress="1 2 3" Lattice="9 0 0 0 9 0 0 0 9"')
    with pytest.raises(DataError, match=r"some.xyz#0.*3 numbers"):
        read_frames(saved(tmp_path, bad))
    open_cell = water("REF_energy", "REF_forces", 'REF_stress="1 2 3 0 0 0"')
    (frame,), keys = read_frames(saved(tmp_path, open_cell))
    assert frame.label.stress is None
    assert "three periodic directions" in str(keys)


@pytest.mark.parametrize("key", ["virial", "virials", "REF_virials"])
def test_virials_are_not_passed_over_in_silence(tmp_path, key):
    _, keys = read_frames(saved(tmp_path, water(info=f'{key}="1 0 0 0 1 0 0 0 1"')))
    assert keys.stress is None
    assert f"{key} (give stress = −virial/volume instead)" in str(keys)


def test_frame_settings(tmp_path):
    info = "config_type=bulk config_weight=2.5 charge=-1 multiplicity=2 spin=1 note=hello"
    (frame,), _ = read_frames(saved(tmp_path, water(info=info)))
    assert (frame.config_type, frame.weight) == ("bulk", 2.5)
    assert frame.atoms.info["charge"] == -1
    assert type(frame.atoms.info["multiplicity"]) is int
    assert frame.atoms.info["note"] == "hello"
    (frame,), _ = read_frames(saved(tmp_path, water(info="weight=0.5")))
    assert (frame.config_type, frame.weight) == ("Default", 0.5)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ("spin=1", "multiplicity"),
        ("charge=0.5", "charge"),
        ("multiplicity=0", "multiplicity"),
        ("config_weight=-1", "weight"),
        ("config_weight", "weight.*not a number"),
        ("config_weight=heavy", "weight.*not a number"),
    ],
)
def test_impossible_frame_settings(tmp_path, info, says):
    with pytest.raises(DataError, match=f"some.xyz#0: .*{says}"):
        read_frames(saved(tmp_path, water(info=info)))


def test_energy_must_be_a_number(tmp_path):
    text = water().replace("energy=-2081.25", "energy")  # ASE reads a bare word as True
    with pytest.raises(DataError, match=r"some.xyz#0: 'energy' is"):
        read_frames(saved(tmp_path, text))


def test_unlabelled_frames_and_atoms_alone(tmp_path):
    plain = "3\nwater\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"
    atom = "1\nProperties=species:S:1:pos:R:3 energy=-13.5 config_type=IsolatedAtom\nH 0 0 0\n"
    frames, keys = read_frames(saved(tmp_path, plain + water() + atom))
    assert [f.label is None for f in frames] == [True, False, False]
    np.testing.assert_array_equal(frames[2].label.forces, np.zeros((1, 3)))
    assert frames[2].config_type == "IsolatedAtom"
    frames, keys = read_frames(saved(tmp_path, atom))
    assert (keys.energy, keys.forces) == ("energy", None)


def test_index_keeps_the_numbers_of_the_file(tmp_path):
    path = saved(tmp_path, water() * 5)
    assert [f.origin for f in read_frames(path, index="1:5:2")[0]] == ["some.xyz#1", "some.xyz#3"]
    assert [f.origin for f in read_frames(path, index=-1)[0]] == ["some.xyz#4"]
    for wrong in (5, "a:b"):
        with pytest.raises(DataError, match="frames 0 to 4"):
            read_frames(path, index=wrong)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (water() + water()[:60], "frame 1 is cut off"),
        (water() + "\n".join(water().split("\n")[:4]), "frame 1 is cut off"),
        (water() + "\n" + water(), "line 6.*blank"),
        (water() + "three\n", "frame 1 should start"),
        (water().replace("0.3", "0.3x"), "frame 0: '0.3x' in line 4 is no number"),
        (
            water() + water().replace("H 0.0 0.8 -0.5 0.1 0.2 0.3", "H 0.0 0.8"),
            "frame 1: line 9 has 3 columns where Properties names 7",
        ),
        (water().replace("O ", "Oo "), "frame 0: 'Oo' in line 3 is no element's symbol"),
    ],
)
def test_damaged_extxyz(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as error:
        read_frames(saved(tmp_path, text))
    assert "some.xyz" in str(error.value)
    assert "\n" not in str(error.value)


def test_last_number_cut_off(tmp_path):
    write(tmp_path / "a.xyz", [strained_copper()] * 2)
    text = (tmp_path / "a.xyz").read_text()
    read_frames(saved(tmp_path, text.rstrip("\n")))
    with pytest.raises(DataError, match="last number of frame 1"):
        read_frames(saved(tmp_path, text[:-3]))


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_frames(tmp_path / "missing.xyz")
    with pytest.raises(DataError, match="is a folder; name the file"):
        read_frames(tmp_path)
    with pytest.raises(DataError, match="format is not one ASE knows"):
        read_frames(saved(tmp_path, "hello\n", "notes.abc"))
    for name in ("a.db", "a.traj", "a.xyz", "vasprun.xml", "OUTCAR"):
        with pytest.raises(DataError, match=name):
            read_frames(saved(tmp_path, "garbage\n" * 300, name))


def test_truncated_trajectory(tmp_path):
    write(tmp_path / "a.traj", [strained_copper()] * 3)
    raw = (tmp_path / "a.traj").read_bytes()
    (tmp_path / "a.traj").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"a.traj"):
        read_frames(tmp_path / "a.traj")


def test_database_with_keys_of_the_user(tmp_path):
    with connect(tmp_path / "a.db") as db:
        db.write(molecule("H2O"), REF_energy=-5.25, config_type="x", data={"REF_forces": FORCES})
    (frame,), keys = read_frames(tmp_path / "a.db")
    assert keys == KeysUsed("REF_energy", "REF_forces", None)
    assert (frame.label.energy, frame.config_type) == (-5.25, "x")
    np.testing.assert_array_equal(frame.label.forces, FORCES)


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <kpoints>
  <varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1.0</v></varray>
 </kpoints>
 <atominfo>
  <array name="atoms"><set><rc><c>H </c><c>1</c></rc><rc><c>H </c><c>1</c></rc></set></array>
 </atominfo>
 <structure name="initialpos">
  <crystal><varray name="basis"><v>8 0 0</v><v>0 8 0</v><v>0 0 8</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0 0 0.1</v></varray>
  <varray name="selective"><v type="logical">F F F</v><v type="logical">T T T</v></varray>
 </structure>
 <calculation>
  <scstep><energy><i name="e_fr_energy">-6.5</i><i name="e_wo_entrp">-6.3</i>
   <i name="e_0_energy">-6.4</i></energy></scstep>
  <structure>
   <crystal><varray name="basis"><v>8 0 0</v><v>0 8 0</v><v>0 0 8</v></varray></crystal>
   <varray name="positions"><v>0 0 0</v><v>0 0 0.1</v></varray>
  </structure>
  <varray name="forces"><v>0 0 1.5</v><v>0 0 -1.5</v></varray>
  <varray name="stress"><v>10 0 0</v><v>0 10 0</v><v>0 0 20</v></varray>
  <energy><i name="e_fr_energy">-6.5</i><i name="e_wo_entrp">-6.3</i>
   <i name="e_0_energy">-6.4</i></energy>
 </calculation>
</modeling>
"""


def test_vasprun(tmp_path):
    (frame,), keys = read_frames(saved(tmp_path, VASPRUN, "vasprun.xml"))
    assert keys == KeysUsed("free_energy", "forces", "stress")
    assert (frame.label.energy, frame.label.energy_zero) == (-6.5, -6.4)
    np.testing.assert_array_equal(frame.label.forces, [[0, 0, 1.5], [0, 0, -1.5]])
    # VASP: kbar, positive under compression; 1 eV/Å³ is 1602.1766 kbar
    np.testing.assert_allclose(np.diag(frame.label.stress) * 1602.1766, [-10, -10, -20], 1e-6)


# ------------------------------------------------------------------------- writing


def awkward_frames():
    rng = np.random.default_rng(5)
    atoms = strained_copper()
    atoms.positions += rng.normal(size=(4, 3)) * 1e-3
    atoms.set_initial_magnetic_moments(rng.normal(size=4))
    atoms.info |= {"smiles": r"C/C=C\C", "title": 'a "quoted" = thing\nand more', "charge": 1}
    atoms.info |= {"vector": rng.normal(size=3), "list": [1, {"a": 2.5}], "none": None}
    label = Label(
        -4209.465784306481 - 1e-9 / 3, rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), -4209.1
    )
    alone = Frame(Atoms("H"), Label(-13.6, np.zeros((1, 3))), "b", config_type="IsolatedAtom")
    return [
        Frame(atoms, label, "a", weight=1 / 3, config_type="odd one"),
        alone,
        Frame(molecule("CH4"), None, "c"),
    ]


def test_round_trip_is_exact(tmp_path):
    frames = awkward_frames()
    write_frames(tmp_path / "a.xyz", frames)
    back, keys = read_frames(tmp_path / "a.xyz")
    assert keys == KeysUsed("REF_energy", "REF_forces", "REF_stress")
    for old, new in zip(frames, back, strict=True):
        assert (new.weight, new.config_type) == (old.weight, old.config_type)
        for name in ("positions", "numbers", "pbc"):
            np.testing.assert_array_equal(getattr(new.atoms, name), getattr(old.atoms, name))
        np.testing.assert_array_equal(new.atoms.cell.array, old.atoms.cell.array)
        assert (old.label is None) == (new.label is None)
    old, new = frames[0], back[0]
    assert (new.label.energy, new.label.energy_zero) == (old.label.energy, old.label.energy_zero)
    np.testing.assert_array_equal(new.label.forces, old.label.forces)
    np.testing.assert_array_equal(new.label.stress, old.label.stress)
    np.testing.assert_array_equal(
        new.atoms.get_initial_magnetic_moments(), old.atoms.get_initial_magnetic_moments()
    )
    info = new.atoms.info
    assert (info["smiles"], info["charge"]) == (r"C/C=C\C", 1)
    assert info["title"] == 'a "quoted" = thing and more'
    np.testing.assert_array_equal(info["vector"], old.atoms.info["vector"])


def test_ase_reads_what_we_write(tmp_path):
    write_frames(tmp_path / "a.xyz", awkward_frames())
    images = read(tmp_path / "a.xyz", index=":")
    assert len(images) == 3
    assert images[0].info["REF_energy"] == awkward_frames()[0].label.energy
    np.testing.assert_array_equal(images[0].arrays["REF_forces"], awkward_frames()[0].label.forces)


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "a.xyz"
    write_frames(path, awkward_frames())
    before = path.read_bytes()
    bad = Frame(molecule("H2"), None, "bad")
    bad.atoms.set_array("names", np.array(["a b", "c"]))
    with pytest.raises(DataError, match="names"):
        write_frames(path, [*awkward_frames(), bad])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.xyz"]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(RunFolderError, match=r"cannot write .*exists"):
            write_frames(folder / "a.xyz", awkward_frames())


def test_plain_results_of_a_model_do_not_reach_the_frame(tmp_path):
    """A file ASE wrote with both a model's results and REF labels keeps only the latter."""
    atoms = molecule("H2O")
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -1.0, FORCES
    atoms.calc = SinglePointCalculator(atoms, energy=7.0, forces=FORCES * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path / "a.xyz", atoms)
    (frame,), keys = read_frames(tmp_path / "a.xyz")
    assert frame.label.energy == -1.0
    np.testing.assert_allclose(frame.label.forces, FORCES)
    assert keys.ignored == ("energy", "forces")
