"""What can happen to a store's file, and what is then said: never another number."""

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from ase.db.sqlite import SQLite3Database

import crowd
from crowd import EMTReference, copper
from tunesmith.core import Failure, Label
from tunesmith.data import claims, databases
from tunesmith.data.formats import read_frames
from tunesmith.data.label_row import label_key
from tunesmith.data.store import LabelStore
from tunesmith.errors import DataError, RunFolderError

HELPERS = str(Path(crowd.__file__).parent)


def numbers(frames):
    """Every number and name that somebody could learn from."""
    said = []
    for f in frames:
        arrays = (f.atoms.numbers, f.atoms.positions, f.atoms.cell.array, f.label.forces)
        stress = None if f.label.stress is None else f.label.stress.tobytes()
        words = (f.label.energy, f.label.energy_zero, f.weight, f.config_type, f.atoms.info)
        said.append((f.atoms.pbc.tolist(), [a.tobytes() for a in arrays], stress, repr(words)))
    return said


def from_store(path):
    return numbers(LabelStore(path).labels())


def from_reader(path):
    return numbers(read_frames(path)[0])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "labels.db"
    store = LabelStore(path)
    for i in range(6):
        store.label(copper(i), EMTReference(), origin=f"a#{i}", weight=0.5, config_type="bulk")
    store.label(copper(9), EMTReference(fails=True))
    return path


@pytest.mark.parametrize("read", [from_store, from_reader])
def test_a_flipped_bit_never_gives_other_numbers(sound, read, tmp_path):
    right, content = read(sound), sound.read_bytes()
    rng = np.random.default_rng(0)
    refused, path = 0, tmp_path / "flipped.db"
    # as many in the rows themselves as anywhere else
    marks = [content.find(word) for word in (b"tunesmith", b"reference", b"label_key")]
    near = [int(m + rng.integers(-600, 600)) for m in rng.choice(marks, 150)]
    for place in [*rng.integers(0, len(content), 150).tolist(), *near]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(flipped))
        try:
            found = read(path)
        except (RunFolderError, DataError):
            refused += 1
        else:
            assert found == right, place
    assert refused > 60  # most of a file this small is free space, or says when and by whom


def follow(error):
    """Run the command that it says."""
    words = shlex.split("python -c " + str(error.value).partition("python -c ")[2])
    subprocess.run([sys.executable, *words[1:3]], check=True)


@pytest.mark.parametrize("read", [from_store, from_reader])
def test_a_store_cut_off_is_refused(sound, read, tmp_path):
    content, path = sound.read_bytes(), tmp_path / "cut.db"
    for length in [1, 99, 100, 511, 512, 4096, *range(5000, len(content), 4096 * 5 + 17)]:
        path.write_bytes(content[:length])
        with pytest.raises((RunFolderError, DataError), match="cut"):
            read(path)


def test_a_damaged_row_is_named_and_its_cure_works(sound, tmp_path):
    path = tmp_path / "labels.db"
    shutil.copy(sound, path)
    with sqlite3.connect(path) as db:
        data = bytes(db.execute("SELECT forces FROM systems WHERE id=3").fetchone()[0])
        db.execute("UPDATE systems SET forces=? WHERE id=3", (data[:-1] + b"\x00",))
    with pytest.raises(RunFolderError, match="row 3 is not as it was written") as error:
        LabelStore(path).labels()
    follow(error)
    store, reference = LabelStore(path), EMTReference()
    assert [f.origin for f in store.labels()] == ["a#0", "a#1", "a#3", "a#4", "a#5"]
    for i in range(6):
        store.label(copper(i), reference, origin=f"a#{i}", weight=0.5, config_type="bulk")
    assert reference.calls == 1
    assert sorted(from_store(path)) == sorted(from_store(sound))


@pytest.mark.parametrize("name", ["labels.sqlite", "it's", "plain"])
def test_a_store_may_be_called_anything(sound, name, tmp_path):
    path = tmp_path / name
    shutil.copy(sound, path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE systems SET energy=energy+1 WHERE id=2")
    with pytest.raises(RunFolderError, match="row 2 is not as it was written") as error:
        LabelStore(path).labels()
    follow(error)
    assert len(LabelStore(path)) == 5


def test_a_damaged_table_of_ases_own_is_a_sentence(sound, tmp_path):
    path = tmp_path / "labels.db"
    shutil.copy(sound, path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE information SET value='x' WHERE name='version'")
    with pytest.raises(RunFolderError, match="damaged"):
        len(LabelStore(path))
    with pytest.raises(DataError, match="not a readable"):
        databases.not_labelled(path)
    (tmp_path / "text.db").write_text("no database at all" * 100)
    assert databases.not_labelled(tmp_path / "text.db") == []


def test_what_was_just_made_is_kept_where_a_store_is_overwritten_or_full(tmp_path, monkeypatch):
    path = tmp_path / "labels.db"
    store = LabelStore(path)
    store.label(copper(0), EMTReference())

    class Unlucky(EMTReference):
        def label(self, atoms):
            path.write_bytes(b"garbage" * 1000)
            return super().label(atoms)

    with pytest.raises(RunFolderError, match="the 2 labels") as error:
        store.label(copper(1), Unlucky())
    assert len(LabelStore(moved(error))) == 2
    path.unlink()
    store = LabelStore(path)
    real = SQLite3Database.write

    def full(self, *arguments, **options):
        if Path(self.filename) == path:
            raise sqlite3.OperationalError("database or disk is full")
        return real(self, *arguments, **options)

    monkeypatch.setattr(SQLite3Database, "write", full)
    with pytest.raises(RunFolderError, match=r"disk is full.*has room. The 1 labels") as error:
        store.label(copper(2), EMTReference())
    monkeypatch.undo()
    follow(error)
    assert isinstance(LabelStore(path).label(copper(2), again := EMTReference()), Label)
    assert again.calls == 0


def test_a_label_that_is_amended_is_never_missing(tmp_path, monkeypatch):
    """By a store that has not read it, and where writing fails."""
    path, reference = tmp_path / "labels.db", EMTReference()
    first = LabelStore(path)
    for i in range(3):
        first.label(copper(i), reference)
    key = label_key(copper(1), reference.identity())
    LabelStore(path).amend(key, {"seen": "twice"})
    assert LabelStore(path).entry(key).extra["seen"] == "twice"
    before = path.read_bytes()
    real = SQLite3Database.write

    def fails(self, *arguments, **options):
        real(self, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(SQLite3Database, "write", fails)
    with pytest.raises(KeyboardInterrupt):
        LabelStore(path).amend(key, {}, Failure("not-reproducible", "told to"))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert len(LabelStore(path)) == 3
    LabelStore(path).amend(key, {}, Failure("not-reproducible", "told to"))
    assert [f.kind for _, f in LabelStore(path).failures()] == ["not-reproducible"]
    assert len(LabelStore(path)) == 2


def test_moments_that_are_vectors_are_read_as_they_were(tmp_path):
    atoms, store = copper(0), LabelStore(tmp_path / "labels.db")
    atoms.set_initial_magnetic_moments(np.arange(12.0).reshape(4, 3) / 7)
    for fails in (True, False):
        store.label(atoms, reference := EMTReference(fails=fails))
    assert reference.calls == 1
    [frame] = LabelStore(tmp_path / "labels.db").labels()
    np.testing.assert_array_equal(
        frame.atoms.get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments()
    )
    assert isinstance(store.label(frame.atoms, again := EMTReference()), Label)
    assert again.calls == 0
    assert len(read_frames(tmp_path / "labels.db")[0]) == 1


def test_what_is_sound_in_a_damaged_store_is_not_computed_again(sound, tmp_path):
    path = tmp_path / "labels.db"
    with sqlite3.connect(sound) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name='tunesmith_text_index'"
        page = db.execute(query).fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(sound.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    content[content.index(b"bulk")] ^= 1  # and a row
    path.write_bytes(bytes(content))
    with pytest.raises(RunFolderError, match=r"labels that are sound are in") as error:
        LabelStore(path)
    os.replace(moved(error), path)
    store, reference = LabelStore(path), EMTReference()
    assert len(store) == 5
    for i in range(6):
        store.label(copper(i), reference, origin=f"a#{i}", weight=0.5, config_type="bulk")
    assert reference.calls == 1
    assert sorted(from_store(path)) == sorted(from_store(sound))


def moved(error):
    """Which file it says to move."""
    return Path(str(error.value).partition(" are in ")[2].partition(": move")[0])


def test_rows_without_digest_are_read(sound, tmp_path, monkeypatch):
    """As stores of before November 2026 have them."""
    path = tmp_path / "labels.db"
    monkeypatch.setattr("tunesmith.data.label_row._stamped", lambda *row: row)
    store = LabelStore(path)
    for i in range(2):
        store.label(copper(i), EMTReference())
    old, new = LabelStore(path), LabelStore(sound)
    assert [entry.checked for entry in old.entries()] == [False, False]
    assert all(entry.checked for entry in new.entries())
    assert "2 of its labels" in old.remark()
    assert new.remark() is None


# --------------------------------------------------------------- gone while in use


def gone(path, other):
    path.unlink()


def emptied(path, other):
    path.write_bytes(b"")


def replaced(path, other):
    LabelStore(other).label(copper(7), EMTReference())
    os.replace(other, path)


def folder_gone(path, other):
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("happens", [gone, emptied, replaced, folder_gone])
def test_a_store_that_is_no_longer_there(tmp_path, happens):
    """Nothing that was in memory is lost, and the sentence leads to all of it."""
    path = tmp_path / "run" / "labels.db"
    path.parent.mkdir()
    store = LabelStore(path)
    for i in range(3):
        store.label(copper(i), EMTReference())

    class Unlucky(EMTReference):
        def label(self, atoms):
            happens(path, tmp_path / "other.db")
            return super().label(atoms)

    with pytest.raises(RunFolderError, match=r"labels.db is .*the 4 labels") as error:
        store.label(copper(3), Unlucky())
    with pytest.raises(RunFolderError, match="labels"):
        store.find("k0")
    os.replace(moved(error), path)
    again = LabelStore(path)
    for i in range(4):
        assert isinstance(again.label(copper(i), reference := EMTReference()), Label)
        assert reference.calls == 0


def test_an_older_copy_is_not_the_store(tmp_path):
    path = tmp_path / "labels.db"
    store = LabelStore(path)
    store.label(copper(0), EMTReference())
    shutil.copy(path, tmp_path / "old")
    store.label(copper(1), EMTReference())
    os.replace(tmp_path / "old", path)
    with pytest.raises(RunFolderError, match=r"an older copy.*the 2 labels"):
        store.find("k0")


def test_a_store_may_move_with_its_content(tmp_path):
    """Put back from a whole copy it is the same store, whatever the file system calls it."""
    path = tmp_path / "labels.db"
    store = LabelStore(path)
    store.label(copper(0), EMTReference())
    shutil.copy(path, tmp_path / "copy")
    path.unlink()
    shutil.copy(tmp_path / "copy", path)
    assert isinstance(store.label(copper(0), EMTReference()), Label)
    assert len(store) == 1


# ------------------------------------------------------------------- two at once

TWO = """
import sys, time
sys.path.insert(0, sys.argv[1])
from crowd import EMTReference, copper
from tunesmith.data.store import LabelStore
class Slow(EMTReference):
    def label(self, atoms):
        print("call", flush=True)
        time.sleep(0.05)
        return super().label(atoms)
store = LabelStore(sys.argv[2])
for i in range(12):
    store.label(copper(i), Slow(fails=i == 5))
"""


def test_two_processes_compute_each_label_once(tmp_path):
    args = [sys.executable, "-c", TWO, HELPERS, str(tmp_path / "labels.db")]
    both = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [p.communicate(timeout=120)[0].split() for p in both]
    assert [p.returncode for p in both] == [0, 0]
    # a failure is tried again by who comes later, as everywhere
    assert 12 <= len(said[0]) + len(said[1]) <= 13
    assert len(LabelStore(tmp_path / "labels.db")) == 11
    assert not (tmp_path / "labels.db.claims").exists()


def test_what_a_killed_process_claimed_is_free(tmp_path):
    code = TWO.replace("time.sleep(0.05)", "time.sleep(100)")
    path = tmp_path / "labels.db"
    args = [sys.executable, "-c", code, HELPERS, str(path)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "call\n"
        process.kill()
    assert list((tmp_path / "labels.db.claims").iterdir())
    assert isinstance(LabelStore(path).label(copper(0), EMTReference()), Label)
    assert not (tmp_path / "labels.db.claims").exists()


def test_an_old_failure_is_tried_again_after_waiting_for_one_who_gave_up(tmp_path):
    path, waits = tmp_path / "labels.db", Event()
    LabelStore(path).label(copper(0), EMTReference(fails=True))

    class Interrupted(EMTReference):
        def label(self, atoms):
            assert waits.wait(60)
            raise KeyboardInterrupt

    first, second = Interrupted(), EMTReference()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(LabelStore(path).label, copper(0), first)
        while not claims.claimed(path, label_key(copper(0), first.identity())):
            assert not job.done()
        answer = LabelStore(path).label(copper(0), second, waiting=waits.set)
        assert isinstance(job.exception(), KeyboardInterrupt)
    assert isinstance(answer, Label)
    assert second.calls == 1


def test_a_failure_that_another_just_met_is_not_met_again(tmp_path):
    path, waits = tmp_path / "labels.db", Event()

    class Slow(EMTReference):
        def label(self, atoms):
            assert waits.wait(60)
            return super().label(atoms)

    first, second = Slow(fails=True), EMTReference(fails=True)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(LabelStore(path).label, copper(0), first)
        while not claims.claimed(path, label_key(copper(0), first.identity())):
            assert not job.done()
        answer = LabelStore(path).label(copper(0), second, waiting=waits.set)
    assert answer == job.result()
    assert (first.calls, second.calls) == (1, 0)
    assert LabelStore(path).label(copper(0), second) == answer
    assert second.calls == 1  # asked for anew it is tried again
