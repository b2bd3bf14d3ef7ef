"""Files in turn: the same structures as read at once, and a few of them with their labels."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.db import connect
from ase.io import write

from tunesmith.data.formats import read_frames
from tunesmith.data.stream import Stream
from tunesmith.errors import DataError


def labelled(n, seed, name="H2O", prefix="REF_"):
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = molecule(name)
        atoms.rattle(0.1, rng=rng)
        if i % 3:
            atoms.info[prefix + "energy"] = float(rng.normal())
            atoms.arrays[prefix + "forces"] = rng.normal(size=(len(atoms), 3))
        atoms.info["config_type"] = f"type{i}"
        frames.append(atoms)
    return frames


@pytest.fixture
def files(tmp_path):
    """extxyz with REF_ keys, extxyz with plain ones, a trajectory and a database."""
    write(tmp_path / "a.xyz", labelled(5, 0))
    write(tmp_path / "b.extxyz", labelled(4, 1, "CH4", ""), format="extxyz")
    write(tmp_path / "c.traj", [Atoms("He", [[0.1 * i, 0, 0]]) for i in range(3)])
    with connect(tmp_path / "d.db") as db:
        for atoms in labelled(2, 2, "NH3"):
            db.write(Atoms(atoms.symbols, atoms.positions))
    return [tmp_path / name for name in ("a.xyz", "b.extxyz", "c.traj", "d.db")]


def test_one_after_the_other_as_all_at_once(files):
    stream = Stream(files)
    at_once = [frame for path in files for frame in read_frames(path)[0]]
    got = list(stream)
    assert [f.origin for f in got] == [f.origin for f in at_once]
    for one, other in zip(got, at_once, strict=True):
        assert one.label is None
        assert one.atoms.calc is None
        assert one.config_type == other.config_type
        assert set(one.atoms.arrays) == {"numbers", "positions"}
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)


def test_a_few_come_back_with_their_labels_in_the_order_asked(files):
    stream = Stream(files)
    at_once = [frame for path in files for frame in read_frames(path)[0]]
    assert len(list(stream)) == len(at_once) == 14
    numbers = [13, 6, 1, 0, 11, 8]
    for i, frame in zip(numbers, stream.read(numbers), strict=True):
        want = at_once[i]
        assert (frame.origin, frame.config_type) == (want.origin, want.config_type)
        np.testing.assert_array_equal(frame.atoms.positions, want.atoms.positions)
        assert (frame.label is None) == (want.label is None)
        if want.label is not None:
            assert frame.label.energy == want.label.energy
            np.testing.assert_array_equal(frame.label.forces, want.label.forces)
    assert [f.label is not None for f in stream.read(numbers)] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]


def test_how_many_there_are_is_known_of_extxyz(files):
    assert Stream(files[:2]).total == 9
    assert Stream(files).total is None


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.xyz", molecule("H2O"))
    got = list(Stream([tmp_path / "one" / "a.xyz", tmp_path / "two" / "a.xyz"]))
    assert [f.origin for f in got] == [f"{tmp_path}/one/a.xyz#0", f"{tmp_path}/two/a.xyz#0"]
    with pytest.raises(DataError, match="named twice"):
        Stream([tmp_path / "one" / "a.xyz"] * 2)


def test_labels_under_two_names_are_refused_where_they_meet(tmp_path):
    frames = [*labelled(3, 0), *labelled(3, 1, prefix="")]
    write(tmp_path / "a.xyz", frames)
    with pytest.raises(DataError, match=r"a.xyz#4: has 'energy' but not 'REF_energy'"):
        list(Stream([tmp_path / "a.xyz"]))


def test_damage_is_seen_before_the_first_structure(tmp_path):
    write(tmp_path / "a.xyz", labelled(3, 0))
    text = (tmp_path / "a.xyz").read_text()
    (tmp_path / "a.xyz").write_text(text[: -len(text) // 4])
    with pytest.raises(DataError, match="frame 2 is cut off"):
        Stream([tmp_path / "a.xyz"])
