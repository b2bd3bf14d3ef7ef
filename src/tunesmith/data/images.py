"""Any file ASE reads → its structures, with all the file says in info, arrays and results."""

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.io import iread
from ase.io.formats import UnknownFileTypeError

from tunesmith.data import database, extxyz
from tunesmith.data.rows import canonical
from tunesmith.errors import DataError, RunFolderError


def read_images(path: Path) -> list[Atoms]:
    """All structures of a file. Raises `DataError`, with the frame's number where it is known."""
    check_file(path)
    return list(iter_images(path))


def check_file(path: Path) -> int | None:
    """How many structures a file holds, where that can be told before they are read.

    Raises `DataError` where there is no file, an empty one or a damaged extxyz file.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; write it again.")
    return extxyz.scan(path) if _is_extxyz(path) else None


def iter_images(path: Path, only: Collection[int] | None = None) -> Iterator[Atoms]:
    """The structures of a file that `check_file` has passed, one in memory at a time.

    only: numbers of those to give, from 0 and in ascending order whatever theirs; None for all.
    Raises `DataError`, with the frame's number where it is known, where one cannot be read.
    """
    n = 0
    try:
        if only is not None and _is_extxyz(path):
            images = extxyz.read_some(path, only)
        elif path.suffix == ".db":
            images = _database_images(path)
        else:
            images = iread(str(path), index=":", do_not_split_by_at_sign=True)
        for n, atoms in enumerate(images, 1):  # one by one: a failure then has a frame number
            if only is None or _is_extxyz(path) or n - 1 in only:
                yield atoms
    except UnknownFileTypeError as error:
        raise DataError(
            f"{path}: the format is not one ASE knows; convert the file to extxyz."
        ) from error
    except (DataError, RunFolderError):
        raise
    except Exception as error:  # ASE's readers raise whatever the parser stumbles over
        raise DataError(
            f"{path}: frame {n} cannot be read ({type(error).__name__}: {error}); the "
            "file is damaged or cut off: write it again."
        ) from error
    if not n:
        raise DataError(f"{path}: the file holds no structure; check that it is the right one.")


def _is_extxyz(path: Path) -> bool:
    return path.suffix in (".xyz", ".extxyz")


def _database_images(path: Path) -> Iterator[Atoms]:
    """Rows of an ASE database; of our own label store (`store.py`) the labelled ones."""
    references = set()
    try:
        with connect(str(path), type="db", use_lock_file=False) as db:
            database.check(db)
            rows = database.rows(db, path)
        for row in rows:
            atoms, pairs, data = row.toatoms(), row.key_value_pairs, dict(row.data)
            if "tunesmith" in data:
                if pairs["status"] != "label":
                    continue
                references.add(canonical(data["reference"]))
                pairs, data = data["info"], {k: data[k] for k in ("config_type", "weight")}
            for name, value in data.items():
                per_atom = isinstance(value, np.ndarray) and value.shape[:1] == (len(atoms),)
                (atoms.arrays if per_atom and value.ndim == 2 else atoms.info)[name] = value
            atoms.info.update(pairs)
            yield atoms
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"{path}: not a readable ASE database ({error}); check the file, or convert it."
        ) from error
    if len(references) > 1:
        raise DataError(
            f"{path}: holds labels of {len(references)} references, whose energies do not compare; "
            "write those of one to a file (LabelStore.labels(reference), write_frames)."
        )
