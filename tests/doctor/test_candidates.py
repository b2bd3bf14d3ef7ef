"""Candidates beside what is labelled: found again whatever they look like, one at a time."""

import tracemalloc

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import write

from tunesmith.core import Frame
from tunesmith.data.stream import Stream
from tunesmith.doctor.candidates import LABELLED, look
from tunesmith.doctor.sets import SAME, Known, digest, fingerprint, matches


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def frames(n, rng, names=("H2O", "CH4", "C2H6")):
    out = []
    for i in range(n):
        atoms = molecule(names[i % len(names)])
        atoms.rattle(0.05, rng=rng)
        out.append(Frame(atoms, None, f"{i}"))
    return out


def disguised(frame, rng):
    """The same structure elsewhere, turned, its atoms in another order."""
    atoms = frame.atoms[rng.permutation(len(frame.atoms))]
    atoms.rotate(float(rng.uniform(10, 170)), rng.normal(size=3))
    atoms.translate(rng.normal(size=3))
    return Frame(atoms, None, "again")


def test_known_structures_are_those_that_match(rng):
    known = frames(12, rng)
    others = [*frames(10, rng), *(disguised(known[i], rng) for i in (3, 7, 8))]
    salt = bulk("NaCl", "rocksalt", 5.6)
    known.append(Frame(salt, None, "salt"))
    charged = known[0].atoms.copy()
    charged.info["charge"] = 1
    others += [Frame(salt * (1, 1, 1), None, "salt"), Frame(charged, None, "+")]
    expected = {i: j for i, j, _ in matches(others, known, SAME)}
    assert set(expected) == {10, 11, 12, 13}
    index = Known(known)
    found = [index.find(f.atoms, fingerprint(f.atoms)) for f in others]
    assert found == [expected.get(i) for i in range(len(others))]
    assert Known([]).find(salt, fingerprint(salt)) is None


def test_copies_share_their_digest_and_others_do_not(rng):
    some = frames(300, rng)
    marks = [digest(f.atoms, fingerprint(f.atoms)) for f in some]
    assert len(set(marks)) == 300
    assert all(0 <= m < 2**63 for m in marks)
    again = [digest(d.atoms, fingerprint(d.atoms)) for d in (disguised(f, rng) for f in some)]
    # a distance may stand just where it is rounded up or down
    assert sum(a == b for a, b in zip(marks, again, strict=True)) >= 299


def test_a_look_counts_and_leaves_out(tmp_path, rng):
    known, pool = frames(4, rng), frames(9, rng)
    write(tmp_path / "a.xyz", [f.atoms for f in (*pool[:5], disguised(known[1], rng))])
    write(tmp_path / "b.xyz", [f.atoms for f in (disguised(pool[0], rng), *pool[5:])])
    stream = Stream([tmp_path / "a.xyz", tmp_path / "b.xyz"])
    seen = []
    found = look(stream, known, seen=lambda: seen.append(1))
    assert (len(found), found.copies, found.left_out[LABELLED], len(seen)) == (10, 1, 1, 11)
    assert found.elements == {1, 6, 8}
    assert found.numbers.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [f.origin for f in found] == [f.origin for f in found], "again and again"
    assert [f.origin for f in found.read([9, 4, 5])] == ["b.xyz#4", "a.xyz#4", "b.xyz#0"]
    others = {"refused": [disguised(pool[3], rng), pool[8]], "more": [pool[3]]}
    fewer = look(stream, known, others=others)
    assert fewer.left_out == {LABELLED: 1, "refused": 2, "more": 0}
    assert fewer.numbers.tolist() == [0, 1, 2, 4, 6, 7, 8, 9]


def test_a_large_file_is_never_in_memory(tmp_path, rng):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    images = []
    for _ in range(400):
        images.append(atoms.copy())
        images[-1].rattle(0.01, rng=rng)
    write(tmp_path / "a.xyz", images)
    size = (tmp_path / "a.xyz").stat().st_size
    tracemalloc.start()
    found = look(Stream([tmp_path / "a.xyz"]), [])
    assert sum(1 for _ in found) == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 500_000
    assert peak < 0.6 * size
