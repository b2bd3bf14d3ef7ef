import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, get_ident

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.db import connect

import crowd as crowd_module
from crowd import EMTReference, copper
from tunesmith.core import Failure, Frame, Label
from tunesmith.data import claims
from tunesmith.data.formats import read_frames
from tunesmith.data.label_row import label_key
from tunesmith.data.store import LabelStore
from tunesmith.errors import DataError, RunFolderError

CROWD = Path(crowd_module.__file__)
IDENTITY = EMTReference().identity()


def same(a, b):
    assert (a.energy, a.energy_zero) == (b.energy, b.energy_zero)
    np.testing.assert_array_equal(a.forces, b.forces)
    np.testing.assert_array_equal(a.stress, b.stress)


def test_a_label_is_computed_once(tmp_path):
    reference = EMTReference()
    store = LabelStore(tmp_path / "labels.db")
    first = store.label(copper(0), reference, origin="a")
    again = store.label(copper(0), reference, origin="b")
    assert (reference.calls, len(store)) == (1, 1)
    same(first, again)
    reopened = LabelStore(tmp_path / "labels.db")
    same(first, reopened.label(copper(0), reference))
    same(first, reopened.find(label_key(copper(0), IDENTITY)))
    assert reference.calls == 1
    assert reopened.find("k0") is None


def test_what_changes_the_key():
    base = copper(0)
    keys = {label_key(base, IDENTITY), label_key(base, {"kind": "emt", "version": "2"})}

    def changed(change):
        atoms = base.copy()
        change(atoms)
        keys.add(label_key(atoms, IDENTITY))

    changed(lambda a: a.positions.__setitem__((0, 0), np.nextafter(a.positions[0, 0], 9)))
    changed(lambda a: a.cell.__setitem__((0, 0), np.nextafter(a.cell[0, 0], 9)))
    changed(lambda a: a.set_pbc([True, True, False]))
    changed(lambda a: a.numbers.__setitem__(0, 47))
    changed(lambda a: a.info.update(charge=1))
    changed(lambda a: a.info.update(multiplicity=1))
    changed(lambda a: a.set_initial_magnetic_moments([1.0, 0, 0, 0]))
    changed(lambda a: a.set_initial_charges([1.0, 0, 0, 0]))
    assert len(keys) == 10


def test_what_does_not_change_the_key():
    base = copper(0)
    other = base.copy()
    other.info["note"] = "x"
    other.set_constraint(FixAtoms([0]))
    other.set_initial_magnetic_moments([0.0] * 4)
    other.set_tags([3] * 4)
    assert label_key(other, {"version": "1", "kind": "emt"}) == label_key(base, IDENTITY)
    one, two = copper(0), copper(0)
    one.info["charge"], two.info["charge"] = 1, np.int64(1)
    assert label_key(one, IDENTITY) == label_key(two, IDENTITY)
    two.positions = two.positions * [0, 1, 1]
    one.positions = one.positions * [-0.0, 1, 1]
    assert label_key(one, IDENTITY) == label_key(two, IDENTITY)


def test_everything_about_a_label_is_kept(tmp_path):
    store = LabelStore(tmp_path / "labels.db")
    atoms = copper(3)
    atoms.set_constraint(FixAtoms([0]))
    atoms.info |= {"charge": 0, "thing": object(), "vector": np.arange(3), ("a", 1): 2, "n": "7"}
    extra = {"prediction": {"energy": np.float64(1.5)}, "std": np.ones(2), "reason": "12", "f": len}
    label = store.label(
        atoms, EMTReference(), origin="run/7", extra=extra, config_type="bulk", weight=0.5
    )
    (entry,) = store.entries()
    frame = entry.frame
    assert (frame.origin, frame.config_type, frame.weight) == ("run/7", "bulk", 0.5)
    assert frame.atoms.info == {"charge": 0, "vector": [0, 1, 2], "n": "7", "('a', 1)": 2}
    assert not frame.atoms.constraints
    np.testing.assert_array_equal(frame.atoms.positions, atoms.positions)
    np.testing.assert_array_equal(frame.atoms.cell.array, atoms.cell.array)
    assert entry.extra == {"prediction": {"energy": 1.5}, "std": [1.0, 1.0], "reason": "12"}
    assert entry.identity == IDENTITY
    assert entry.seconds > 0
    same(entry.outcome, label)
    row = connect(tmp_path / "labels.db").get(1)
    assert row.data.not_stored == ["thing", "f"]
    assert (row.free_energy, row.energy) == (label.energy, label.energy_zero)  # ASE's words
    np.testing.assert_array_equal(row.forces, label.forces)


def test_exact_arrays_survive(tmp_path):
    rng = np.random.default_rng(0)
    label = Label(-4209.1 / 3, rng.normal(size=(4, 3)), rng.normal(size=(3, 3)))
    store = LabelStore(tmp_path / "labels.db")
    store.add(Frame(copper(0), label, "a"), "mine")
    (frame,) = store.labels()
    same(frame.label, label)  # stress not made symmetric either


def test_failures_are_recorded_and_tried_again(tmp_path):
    store = LabelStore(tmp_path / "labels.db")
    bad = EMTReference(fails=True)
    for _ in range(2):
        assert store.label(copper(0), bad, origin="a") == Failure(
            "not-converged", "told to", "/scratch/1"
        )
    assert bad.calls == 2
    assert (len(store), len(store.failures()), store.labels()) == (0, 2, [])
    patient = LabelStore(tmp_path / "labels.db", retry_failed=False)
    assert isinstance(patient.label(copper(0), bad), Failure)
    assert bad.calls == 2
    assert isinstance(store.label(copper(0), EMTReference()), Label)
    assert isinstance(patient.label(copper(0), bad), Label)
    assert (len(store), len(store.failures())) == (1, 2)


def test_references_are_kept_apart(tmp_path):
    store = LabelStore(tmp_path / "labels.db")
    one, two = EMTReference("1"), EMTReference("2")
    store.label(copper(0), one)
    read_frames(tmp_path / "labels.db")
    store.label(copper(0), two)
    assert (one.calls, two.calls, len(store)) == (1, 1, 2)
    assert len(store.labels(one)) == len(store.labels(two)) == 1
    with pytest.raises(DataError, match="2 references"):
        read_frames(tmp_path / "labels.db")


def test_imported_labels(tmp_path):
    store = LabelStore(tmp_path / "labels.db")
    frames = [Frame(copper(i), EMTReference().label(copper(i)), f"a#{i}") for i in range(5)]
    assert store.add_all(frames, "42") == 5
    assert store.add_all(frames, "42") == 0
    assert len(store) == 5
    other = replace(frames[3], label=replace(frames[3].label, energy=1.0))
    with pytest.raises(DataError, match=r"a#3.*another label"):
        store.add_all([Frame(copper(9), frames[0].label, "new"), other], "42")
    assert len(store) == 5  # none of them
    with pytest.raises(DataError, match="no label"):
        store.add(Frame(copper(8), None, "b"), "42")
    store.add(other, "another reference")


def crowd(path, first, last):
    return subprocess.Popen(
        [sys.executable, str(CROWD), str(path), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("after", [1, 7])
def test_killed_while_writing(tmp_path, after):
    path = tmp_path / "labels.db"
    process = crowd(path, 0, 100_000)
    said = [process.stdout.readline() for _ in range(after + 1)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    committed = dict(line.split() for line in said[1:] if line.endswith("\n"))
    assert len(committed) >= after
    store = LabelStore(path)
    frames = {f.origin: f.label for f in store.labels()}
    assert {n: repr(frames[n].energy) for n in committed} == committed
    assert len(store) <= len(committed) + 1
    same(frames["0"], EMTReference().label(copper(0)))
    reference = EMTReference()
    store.label(copper(0), reference)
    assert reference.calls == 0
    store.label(copper(10**6), reference)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_two_processes_at_once(tmp_path):
    path = tmp_path / "labels.db"
    both = [crowd(path, 0, 8), crowd(path, 0, 8)]  # the same structures, from an empty folder
    said = [p.communicate(timeout=120)[0].splitlines() for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert said[0] == said[1]
    assert [f.origin for f in LabelStore(path).labels()] == [str(i) for i in range(8)]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_that_finish_at_the_same_moment(tmp_path, monkeypatch):
    """On a file system without locks all have computed before any commits: one label must win,
    and all must get that one."""
    monkeypatch.setattr(claims, "_take", lambda store, key: -1)
    store = LabelStore(tmp_path / "labels.db")
    together = Barrier(4)

    class Slow(EMTReference):
        def label(self, atoms):
            label = super().label(atoms)
            together.wait(60)
            return replace(label, energy_zero=float(get_ident()))

    for number in range(5):
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(store.label, copper(number), Slow()) for _ in range(4)]
        assert len({job.result().energy_zero for job in jobs}) == 1
        assert len(store) == number + 1


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "text.db").write_text("hello\n" * 1000)
    with pytest.raises(RunFolderError, match=r"text.db: is damaged or no database.*restore"):
        LabelStore(tmp_path / "text.db")
    for path in (tmp_path / "missing" / "labels.db", tmp_path):
        with pytest.raises(RunFolderError, match=r"cannot be used.*choose a folder"):
            LabelStore(path)


def test_locked(tmp_path, monkeypatch):
    store = LabelStore(tmp_path / "labels.db")
    hurried = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda name, timeout: hurried(name, timeout=0.1))
    holder = hurried(tmp_path / "labels.db")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunFolderError, match="another process is writing"):
        store.label(copper(0), EMTReference())
    holder.rollback()
    assert isinstance(store.label(copper(0), EMTReference()), Label)
