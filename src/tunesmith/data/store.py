"""The label store: an ASE database in which no label is ever lost or computed twice.

A label is committed, and on the disk, before anyone sees it. `ase db labels.db` shows the rows;
what ASE has no column for (exact stress, settings of the reference, why a frame was chosen) is in
each row's ``data``, and a digest of all of it. A store knows itself again: one that was removed,
emptied or replaced while in use is an error, and what is in memory is written beside it.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from uuid import uuid4

import numpy as np
from ase import Atoms
from ase.db import connect

from tunesmith.core import Failure, Frame, Label, Reference
from tunesmith.data import store_file
from tunesmith.data.claims import claim
from tunesmith.data.label_row import (
    Entry,
    canonical,
    decode,
    encode,
    is_ours,
    label_key,
    plain_label,
)
from tunesmith.errors import DataError, RunFolderError


class LabelStore:
    """Labels and failures in an ASE sqlite database; safe against kills and other processes.

    retry_failed: whether a structure whose reference call failed is tried again when asked for.
    Every operation opens the file for itself, so a store may be used from several threads and
    processes. Raises `RunFolderError` for a file that is locked, damaged, no longer the one that
    was opened, or cannot be written.
    """

    def __init__(self, path: str | Path, *, retry_failed: bool = True) -> None:
        self.path = Path(path)
        self.retry_failed = retry_failed
        self._token: str | None = None
        self._rows = 0  # how many rows were ever written, when last looked
        self._seen: dict[tuple[str, str], Entry] = {}  # all that was read and written, by key
        store_file.check_size(self.path)
        with self._session() as db:
            store_file.prepare(db)
            self._token, self._rows = store_file.token(db), store_file.rows_written(db)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Nothing is open between calls."""

    def __len__(self) -> int:
        """Number of labels."""
        with self._session() as db:
            return db.count(status="label")

    def label(
        self,
        atoms: Atoms,
        reference: Reference,
        *,
        origin: str = "",
        extra: Mapping[str, Any] | None = None,
        config_type: str = "Default",
        weight: float = 1.0,
        waiting: Callable[[], None] | None = None,
    ) -> Label | Failure:
        """The stored label of exactly this structure by this reference, else a new, committed one.

        extra: what else should stand in the row (prediction, std, why it was chosen). A failure
        is recorded and returned, never raised. What another process or thread is just computing is
        waited for; waiting: called before that.
        """
        identity = reference.identity()
        key = label_key(atoms, identity)
        before, known = self._answers(key)
        if isinstance(known, Label) or (known is not None and not self.retry_failed):
            return known
        with claim(self.path, key, waiting):
            rows, found = self._answers(key)
            if isinstance(found, Label) or (found is not None and rows > before):
                return found  # another process has asked meanwhile
            bare = atoms.copy()
            bare.set_constraint()
            start = time.perf_counter()
            outcome = reference.label(bare)
            seconds = time.perf_counter() - start
            if isinstance(outcome, Label):
                outcome = plain_label(outcome)  # a rerun, which reads it, then gets just the same
            frame = Frame(bare, None, origin, weight, config_type)
            return self._commit([Entry(frame, outcome, identity, seconds, extra)])[0]

    def find(self, key: str) -> Label | Failure | None:
        """What is stored under a `label_key`: its label, else its latest failure, else None."""
        return self._answers(key)[1]

    def take(self, path: str | Path) -> int:
        """Store what another store holds, as its own; returns how many labels were not yet there.

        Of what was rescued, where a store could not be written.
        """
        before = len(self)
        self._commit(LabelStore(path).entries())
        return len(self) - before

    def _answers(self, key: str) -> tuple[int, Label | Failure | None]:
        """How many rows there are under a `label_key`, and what they say together."""
        with self._session() as db:
            return self._found(db, key)

    def add(self, frame: Frame, reference_name: str) -> None:
        """Store one label made elsewhere; see `add_all`."""
        self.add_all([frame], reference_name)

    def add_all(self, frames: Sequence[Frame], reference_name: str) -> int:
        """Store labels made elsewhere, in one transaction; returns how many were not yet there.

        Raises `DataError`, and stores none, for a frame without label or with another label than
        the one stored for the same structure and ``reference_name``.
        """
        identity = {"kind": "imported", "name": reference_name}
        entries = []
        for frame in frames:
            if frame.label is None:
                raise DataError(f"{frame.origin}: has no label to store; label it first.")
            entries.append(Entry(frame, frame.label, identity))
        before = len(self)
        self._commit(entries, refuse_other=True)
        return len(self) - before

    def labels(self, reference: Reference | None = None) -> list[Frame]:
        """All labelled frames in the order of their labelling; of one reference if given."""
        wanted = None if reference is None else canonical(reference.identity())
        return [
            replace(entry.frame, label=entry.outcome)
            for entry in self._entries("label")
            if isinstance(entry.outcome, Label) and wanted in (None, canonical(entry.identity))
        ]

    def failures(self) -> list[tuple[Frame, Failure]]:
        """Every failed call on record, in order, with its structure."""
        return [
            (entry.frame, entry.outcome)
            for entry in self._entries("failed")
            if isinstance(entry.outcome, Failure)
        ]

    def entries(self) -> list[Entry]:
        """Every row with all that is known of it: identity, seconds, extra."""
        return self._entries("label") + self._entries("failed")

    def remark(self) -> str | None:
        """What is to be said of the rows that were read."""
        old = sum(not entry.checked for entry in self._seen.values())
        if not old:
            return None
        return (
            f"{self.path}: {old} of its labels were written before labels had digests; they are "
            "read as they are, and a flipped bit in them would not be seen."
        )

    def entry(self, key: str) -> Entry | None:
        """All that is known of the label under a `label_key`; None where there is none."""
        with self._session() as db:
            read = self._read(db, label_key=key)
        return next((entry for status, entry in read if status == "label"), None)

    def amend(self, key: str, extra: Mapping[str, Any], failure: Failure | None = None) -> None:
        """Add to what is known of a label; failure: what it has turned out to be instead.

        What was there is in the new row: a label that is none any more stands in its ``extra``.
        """
        with self._session() as db:
            db.connection.execute("BEGIN IMMEDIATE")
            for row in filter(is_ours, store_file.rows(db, self.path, label_key=key)):
                if row.key_value_pairs["status"] != "label":
                    continue
                entry = decode(row)
                more = {**(entry.extra or {}), **extra}
                outcome = entry.outcome
                if failure is not None and isinstance(outcome, Label):
                    more |= {"energy": outcome.energy, "forces": outcome.forces}
                new = replace(entry, outcome=failure or outcome, extra=more)
                atoms, pairs, data = encode(new, key)
                # in its place: ASE commits a deletion before anything else is written
                db.write(atoms, pairs, data, id=row.id)
                self._seen.pop((key, "label"), None)
                self._seen[key, pairs["status"]] = new

    def _entries(self, status: str) -> list[Entry]:
        with self._session() as db:
            read = self._read(db)
        return [entry for found, entry in read if found == status]

    def _read(self, db: Any, **only: str) -> list[tuple[str, Entry]]:
        """Rows that are ours, with their status, in order; remembered too.

        Not those of a status only: the table that ASE looks into has no digest.
        """
        read = []
        for row in filter(is_ours, store_file.rows(db, self.path, **only)):
            entry, pairs = decode(row), row.key_value_pairs
            self._seen[pairs["label_key"], pairs["status"]] = entry
            read.append((pairs["status"], entry))
        return read

    def _found(self, db: Any, key: str) -> tuple[int, Label | Failure | None]:
        outcomes = [entry.outcome for _, entry in self._read(db, label_key=key)]
        labels = [outcome for outcome in outcomes if isinstance(outcome, Label)]
        return len(outcomes), labels[0] if labels else outcomes[-1] if outcomes else None

    def _commit(
        self, entries: Sequence[Entry], refuse_other: bool = False
    ) -> list[Label | Failure]:
        """Write what is new in one transaction; a label already there stays and is returned."""
        outcomes: list[Label | Failure] = []
        with self._session(entries) as db:
            db.connection.execute("BEGIN IMMEDIATE")  # between look-up and write nobody else writes
            for entry in entries:
                key = label_key(entry.frame.atoms, entry.identity)
                _, known = self._found(db, key)
                if not isinstance(known, Label):
                    atoms, pairs, data = encode(entry, key)
                    db.write(atoms, pairs, data)
                    known = entry.outcome
                    self._seen[key, pairs["status"]] = entry
                elif refuse_other and not _same(known, entry.outcome):
                    raise DataError(
                        f"{entry.frame.origin}: {self.path} has another label for the same "
                        "structure and reference; give the reference another name or drop one."
                    )
                outcomes.append(known)
            rows = store_file.rows_written(db)
        self._rows = max(self._rows, rows)  # once they are committed: another thread may look
        return outcomes

    @contextmanager
    def _session(self, entries: Sequence[Entry] = ()) -> Iterator[Any]:
        """One connection: committed at the end, rolled back on an error, trouble in one sentence.

        ASE's lock file is not used: it outlives a killed process. SQLite's own locks do not.
        entries: what would be lost where the store is not the one that was opened.
        """
        if self._token is not None and not self.path.exists():
            self._rescue(entries, "is gone")
        try:
            with connect(str(self.path), type="db", use_lock_file=False) as db:
                if self._token is not None and store_file.token(db) != self._token:
                    self._rescue(entries, "is not the file it was when it was opened")
                if self._token is not None and store_file.rows_written(db) < self._rows:
                    self._rescue(entries, "is an older copy of what it was")
                yield db
        except sqlite3.Error as error:
            if store_file.is_damage(error):
                sound = [*store_file.salvaged(self.path), *entries]
                if sound or self._seen:
                    self._rescue(sound, "is damaged", "the {n} labels that are sound")
            elif entries:
                beside, n = self._beside(entries)
                take = f"from tunesmith.data.store import LabelStore as S; S({str(self.path)!r})"
                take = store_file.python(f"{take}.take({str(beside)!r})")
                raise RunFolderError(
                    f"{self.path}: {store_file.cure(error)} The {n} labels just made are in "
                    f"{beside}; {take} puts them where they belong."
                ) from error
            raise RunFolderError(f"{self.path}: {store_file.cure(error)}") from error

    def _rescue(
        self,
        entries: Sequence[Entry],
        what: str,
        which: str = "the {n} labels that this command has used or made",
    ) -> NoReturn:
        """Write beside the store what is in memory, and say how to go on with it."""
        known = [*self._seen.values(), *entries]
        if not known:
            raise RunFolderError(f"{self.path} {what}; put it back, or start again.")
        beside, n = self._beside(known)
        raise RunFolderError(
            f"{self.path} {what}; {which.format(n=n)} are in {beside}: move that to {self.path}, "
            "or restore a copy of the store, and run the same command again."
        )

    def _beside(self, entries: Sequence[Entry]) -> tuple[Path, int]:
        """A new store beside this one, or where there is room, that holds these; and how many
        labels it has."""
        name = f"{self.path.stem}.rescued-{uuid4().hex[:8]}.db"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_name(name)
            LabelStore(beside)._fill(entries)
        except (OSError, sqlite3.Error, RunFolderError):
            beside.unlink(missing_ok=True)
            beside = Path(tempfile.gettempdir()) / name
            LabelStore(beside)._fill(entries)
        return beside, len(LabelStore(beside))

    def _fill(self, entries: Sequence[Entry]) -> None:
        """Commit, and let trouble be what it is: nothing is rescued from a rescue."""
        with connect(str(self.path), type="db", use_lock_file=False) as db:
            for entry in entries:
                key = label_key(entry.frame.atoms, entry.identity)
                if not isinstance(self._found(db, key)[1], Label):
                    atoms, pairs, data = encode(entry, key)
                    db.write(atoms, pairs, data)


def _same(a: Label, b: Label | Failure) -> bool:
    return isinstance(b, Label) and a.energy == b.energy and np.array_equal(a.forces, b.forces)
