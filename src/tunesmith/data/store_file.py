"""The file below a label store: an ASE database that is sound, and the one that was opened."""

import contextlib
import shlex
import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

from ase.db import connect
from ase.db.row import AtomsRow

from tunesmith.data.label_row import Entry, check_row, decode, is_ours
from tunesmith.errors import RunFolderError

_INDEX = "tunesmith_text_index"  # ASE indexes the names of key-value pairs, not their values
_TOKEN = "tunesmith_store"  # a table of one row that tells this store from any other
DAMAGED = "is damaged or no database"
_PAGE = 512  # bytes, the least that a database which is not empty can have


def check_size(path: Path) -> None:
    """Raise `RunFolderError` for a file that SQLite would take for an empty database."""
    if path.is_file() and 0 < path.stat().st_size < _PAGE:
        raise RunFolderError(f"{path}: {cure(sqlite3.DatabaseError('file is not a database'))}")


def check(db: Any) -> None:
    """Raise `sqlite3.DatabaseError` where tables and indices do not fit each other."""
    if db.connection is None:
        with db:
            return check(db)
    if (wrong := db.connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(f"malformed: {str(wrong)[:80]}")
    if not db.connection.execute("SELECT 1 FROM sqlite_master WHERE name='systems'").fetchone():
        return
    try:
        db.count()
    except sqlite3.Error:
        raise
    except Exception as error:  # ASE's own words about itself
        raise sqlite3.DatabaseError(f"malformed: {str(error)[:80]}") from error


def prepare(db: Any) -> None:
    """Tables, index and token of a label store, where it does not have them yet."""
    check(db)
    if token(db) is not None:
        return
    db.connection.execute("BEGIN IMMEDIATE")
    db.count()  # ASE makes its tables, and commits them
    db.connection.commit()
    db.connection.execute("BEGIN IMMEDIATE")
    db.connection.execute(f"CREATE INDEX IF NOT EXISTS {_INDEX} ON text_key_values(value, key)")
    db.connection.execute(f"CREATE TABLE IF NOT EXISTS {_TOKEN} (token TEXT)")
    if token(db) is None:  # nor has another process just made one
        db.connection.execute(f"INSERT INTO {_TOKEN} VALUES (?)", (uuid4().hex,))


def token(db: Any) -> str | None:
    """What tells a store from any other; None of a file that is none yet."""
    there = "SELECT 1 FROM sqlite_master WHERE name=?"
    if not db.connection.execute(there, (_TOKEN,)).fetchone():
        return None
    found = db.connection.execute(f"SELECT token FROM {_TOKEN}").fetchone()
    return found and str(found[0])


def rows_written(db: Any) -> int:
    """How many rows were ever written; those deleted since count too."""
    query = "SELECT seq FROM sqlite_sequence WHERE name='systems'"
    found = db.connection.execute(query).fetchone()
    return found[0] if found else 0


def rows(db: Any, path: Path, **only: str) -> list[AtomsRow]:
    """Rows of an ASE database in order, those of a label store as they were written.

    path: of the database, for messages. only: key-value pairs to look for. Raises `RunFolderError`
    for a row that is not as it was written.
    """
    try:
        found = list(db.select(sort="id", **only))
    except sqlite3.Error:
        raise
    except Exception:  # ASE stumbles over one of them: over which?
        query = "SELECT id FROM systems ORDER BY id"
        found = [_row(db, number, path) for (number,) in db.connection.execute(query).fetchall()]
        found = [r for r in found if all(r.key_value_pairs.get(k) == v for k, v in only.items())]
    for row in found:
        try:
            if is_ours(row):
                check_row(row)
        except Exception as error:
            raise _damaged(path, row.id, error) from error
    return found


def _row(db: Any, number: int, path: Path) -> AtomsRow:
    try:
        return db.get(id=number)
    except Exception as error:
        raise _damaged(path, number, error) from error


def _damaged(path: Path, number: int, why: Exception) -> RunFolderError:
    drop = f"from ase.db import connect; connect({str(path)!r}, type='db').delete([{number}])"
    return RunFolderError(
        f"{path}: row {number} is not as it was written ({str(why)[:60]}); restore a copy of the "
        f"file, or drop the row, which is labelled again: {python(drop)}"
    )


def python(code: str) -> str:
    """A line of Python as a command of a shell, in double quotes where they will do."""
    plain = not any(mark in code for mark in '"$`\\!')
    return "python -c " + (f'"{code}"' if plain else shlex.quote(code))


def salvaged(path: Path) -> list[Entry]:
    """Of a damaged store the rows that are, by their digest, as they were written."""
    found = []
    with (
        contextlib.suppress(sqlite3.Error),
        connect(str(path), type="db", use_lock_file=False) as db,
    ):
        for number in range(1, rows_written(db) + 1):
            try:
                entry = decode(db.get(id=number))
            except Exception:  # which is why it is salvaged
                continue
            found += [entry] if entry.checked else []
    return found


def is_damage(error: sqlite3.Error) -> bool:
    """Whether a file is no sound database, as against one that is locked or out of reach."""
    return "not a database" in str(error) or "malformed" in str(error)


def cure(error: sqlite3.Error) -> str:
    """What to say of an error of SQLite, and how to go on."""
    text = str(error)
    if "locked" in text:
        return "another process is writing and does not let go; wait for it or stop it."
    if is_damage(error):
        return (
            f"{DAMAGED} ({text}); restore a copy, or move it away and its labels "
            "will be computed again."
        )
    return f"cannot be used ({text}); choose a folder that exists, is yours and has room."
