"""Extxyz as people write it: packed, in any encoding, with mistakes; every cure is tried."""

import bz2
import codecs
import gzip
import lzma
import warnings

import numpy as np
import pytest
from ase.io import read

from tunesmith.data import formats, xyz_lines
from tunesmith.data.checks import check_structures
from tunesmith.data.formats import read_frames
from tunesmith.data.stream import Stream
from tunesmith.errors import DataError

PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
WATER = """3
Properties=species:S:1:pos:R:3:forces:R:3 energy=-2081.25 note="Muenchen"
O 0.0 0.0 0.1 0.5 -0.25 1.0
H 0.0 0.8 -0.5 0.1 0.2 0.3
H 0.0 -0.8 -0.5 -0.6 0.05 -1.3
"""


def saved(tmp_path, text, name="some.xyz", encoding="utf-8"):
    """A file, packed as its name says."""
    path = tmp_path / name
    raw = text if isinstance(text, bytes) else text.encode(encoding)
    path.write_bytes(PACK.get(path.suffix, bytes)(raw))
    return path


def refusal(path):
    with pytest.raises(DataError) as error:
        read_frames(path)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(str(path))


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.atoms.numbers, b.atoms.numbers)
        np.testing.assert_array_equal(a.atoms.positions, b.atoms.positions)
        assert a.label.energy == b.label.energy
        np.testing.assert_array_equal(a.label.forces, b.label.forces)


#: what is wrong with a file of three frames → what is said of it, and the cure it names, done
WRONG = {
    "blank line": (
        WATER + " \n" + WATER * 2,
        "line 6, after frame 0, is blank",
        lambda text: text.replace("\n \n", "\n"),
    ),
    "cut off": (
        WATER * 3 + "3\n\nO 0 0 0\n",
        "frame 3 is cut off",
        lambda text: text.removesuffix("3\n\nO 0 0 0\n"),
    ),
    "columns without a name": (
        WATER * 2 + WATER.replace("Properties=species:S:1:pos:R:3:forces:R:3 ", ""),
        "frame 2: line 13 has 7 columns where Properties names 4",
        lambda text: text.replace("\nenergy", "\nProperties=species:S:1:pos:R:3:forces:R:3 energy"),
    ),
    "labels": (
        WATER * 2 + WATER.replace("O ", "O1 ").replace("H ", "H2 "),
        "frame 2: 'O1' in line 13 is no element's symbol; write O.",
        lambda text: text.replace("O1 ", "O ").replace("H2 ", "H "),
    ),
    "deuterium": (
        WATER * 2 + WATER.replace("H ", "D "),
        "frame 2: 'D' in line 14 is no element's symbol; write H",
        lambda text: text.replace("D ", "H "),
    ),
    "atomic numbers": (
        WATER * 2 + WATER.replace("O ", "8 ").replace("H ", "1 "),
        "frame 2: '8' in line 13 is no element's symbol; write symbols, or, if these are atomic "
        "numbers, name the column Z:I:1",
        lambda text: (
            text[: text.rindex("species")]
            + text[text.rindex("species") :].replace("species:S:1", "Z:I:1")
        ),
    ),
    "a cell in small letters": (
        WATER * 2 + WATER.replace("note", 'lattice="9 0 0 0 9 0 0 0 9" note'),
        "frame 2: line 12 has 'lattice'; write it Lattice.",
        lambda text: text.replace("lattice", "Lattice"),
    ),
    "no positions": (
        WATER * 2 + WATER.replace("pos:", "xyz:"),
        "frame 2: Properties in line 12 names no positions; call their columns pos or positions",
        lambda text: text.replace("xyz:", "pos:"),
    ),
    "no number": (
        WATER * 2 + WATER.replace("0.05", "0.0.5"),
        "frame 2: '0.0.5' in line 15 is no number, as column forces wants",
        lambda text: text.replace("0.0.5", "0.05"),
    ),
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("wrong", WRONG)
def test_one_answer_however_it_is_packed_and_a_cure_that_works(tmp_path, wrong, packing):
    text, says, cure = WRONG[wrong]
    path = saved(tmp_path, text, f"some.xyz{packing}")
    assert says in refusal(path)
    with pytest.raises(DataError, match=r"some\.xyz"):  # the way of large files too
        list(Stream([path]))
    good = saved(tmp_path, WATER * 3, "good.xyz")
    same(read_frames(saved(tmp_path, cure(text), f"some.xyz{packing}"))[0], read_frames(good)[0])


UNUSUAL = {
    "byte-order mark": codecs.BOM_UTF8 + WATER.encode(),
    "latin-1": WATER.replace("ue", "ü").encode("latin-1"),
    "utf-16": WATER.replace("ue", "ü").encode("utf-16"),
    "line ends of Windows": WATER.replace("\n", "\r\n").encode(),
    "exponents of Fortran": WATER.replace("0.5 -0.25", "5.0D-01 -2.5d-1")
    .replace("-2081.25", "-2.08125D+03")
    .encode(),
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("what", UNUSUAL)
def test_what_is_unusual_and_means_one_thing_is_read(tmp_path, what, packing):
    frames, _ = read_frames(saved(tmp_path, UNUSUAL[what], f"a.xyz{packing}"))
    same(frames, read_frames(saved(tmp_path, WATER, "good.xyz"))[0])
    assert frames[0].atoms.info["note"] in ("Muenchen", "München")


@pytest.mark.parametrize("packing", [p for p in PACK if p])
def test_a_packed_file_that_is_cut_off_is_damaged(tmp_path, packing):
    path = saved(tmp_path, WATER * 300, f"a.xyz{packing}")
    path.write_bytes(path.read_bytes()[:-20])
    assert "damaged or cut off" in refusal(path)
    hidden = saved(tmp_path, PACK[packing](WATER.encode()), "b.txt")
    assert f"rename it to b.txt{packing}" in refusal(hidden)
    hidden.rename(tmp_path / f"b.txt{packing}")
    assert len(read_frames(tmp_path / f"b.txt{packing}")[0]) == 1


@pytest.mark.parametrize("name", ["a.exyz", "a.xyz.txt", "a.dat", "a.out", "train"])
def test_plain_extxyz_is_known_by_its_content(tmp_path, name):
    frames, _ = read_frames(saved(tmp_path, WATER * 2, name))
    same(frames, read_frames(saved(tmp_path, WATER * 2))[0])


def test_ase_reads_the_same_numbers(tmp_path):
    """Another route: ASE's own reader, on what it reads."""
    path = saved(tmp_path, WATER * 3)
    for frame, atoms in zip(read_frames(path)[0], read(path, index=":"), strict=True):
        np.testing.assert_array_equal(frame.atoms.positions, atoms.positions)
        np.testing.assert_array_equal(frame.label.forces, atoms.get_forces())
        assert frame.label.energy == atoms.get_potential_energy()


def test_limits_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(xyz_lines, "MOST_FRAMES", 4)
    assert len(read_frames(saved(tmp_path, WATER * 4))[0]) == 4
    assert "more than 4 frames" in refusal(saved(tmp_path, WATER * 5, "a.xyz.gz"))
    monkeypatch.setattr(formats, "MOST_HELD", 3)
    assert "holds 4 frames, more than the 3 that are held" in refusal(saved(tmp_path, WATER * 4))
    assert len(list(Stream([tmp_path / "some.xyz"]))) == 4
    for far in (WATER.replace("0.8", "0.8e200"), WATER.replace("note", 'Lattice="%s" note')):
        text = far.replace("%s", "1e300 0 0 0 1e300 0 0 0 1e300")
        frames, _ = read_frames(saved(tmp_path, text))
        with pytest.raises(DataError, match=r"some.xyz#0: positions or cell reach .*e\+"):
            check_structures(frames)


def test_no_warning_of_ase_reaches_the_screen(tmp_path):
    """They become notes, without the path of any machine."""
    text = "data_x\n_cell_length_a 3\n_cell_length_b 3\n_cell_length_c 3\n_cell_angle_alpha 90\n"
    text += "_cell_angle_beta 90\n_cell_angle_gamma 90\n_symmetry_cell_setting foo\nloop_\n"
    text += "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    text += "_atom_site_fract_z\nC1 C 0 0 0\n"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, keys = read_frames(saved(tmp_path, text, "a.cif"))
    assert not caught
    assert any("ASE says" in note and "foo" in note for note in keys.notes)
    assert str(tmp_path) not in str(keys)
