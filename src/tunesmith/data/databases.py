"""ASE databases → structures; nothing is ever written to them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.db.row import AtomsRow
from ase.db.sqlite import SQLite3Database

from tunesmith.data import store_file
from tunesmith.data.label_row import canonical, check_row, is_ours
from tunesmith.errors import DataError

#: where SchNetPack's databases declare the units of what they hold
_UNITS, _LENGTH = "_property_unit_dict", "_distance_unit"


class _ReadOnly(SQLite3Database):
    """ASE opens a database to write: it makes its tables in whatever file it is given."""

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(self.filename))}?mode=ro", uri=True, timeout=20)


def images(path: Path) -> Iterator[Atoms]:
    """Rows of an ASE database; of our own label store (`store.py`) the labelled ones.

    What rows keep beside the structure goes to info and arrays. Raises `DataError`.
    """
    references = set()
    try:
        database = _opened(path)
        for row in _rows(database, path):
            atoms, pairs, data = row.toatoms(), row.key_value_pairs, dict(row.data)
            if is_ours(row):
                if pairs["status"] != "label":
                    continue
                references.add(canonical(data["reference"]))
                pairs, data = data["info"], {k: data[k] for k in ("config_type", "weight")}
            for name, value in data.items():
                if isinstance(value, np.ndarray) and value.size == 1 and len(atoms) > 1:
                    value = value.item()  # SchNetPack's numbers
                per_atom = isinstance(value, np.ndarray) and value.shape[:1] == (len(atoms),)
                (atoms.arrays if per_atom and value.ndim == 2 else atoms.info)[name] = value
            atoms.info.update({**_declared(database), **pairs})
            yield atoms
    except sqlite3.Error as error:
        raise DataError(
            f"{path}: not a readable ASE database ({error}); check the file, or convert it."
        ) from error
    if len(references) > 1:
        raise DataError(
            f"{path}: holds labels of {len(references)} references, whose energies do not compare; "
            "write those of one to a file (LabelStore.labels(reference), write_frames)."
        )


def not_labelled(path: Path) -> list[Atoms]:
    """Structures whose reference call failed, of a label store; none of any other file.

    Without those that were labelled later. Raises `DataError` for a store that is damaged.
    """
    failed: dict[str, Atoms] = {}
    labelled = set()
    try:
        for row in filter(is_ours, _rows(_opened(path), path)):
            key = row.key_value_pairs["label_key"]
            if row.key_value_pairs["status"] == "label":
                labelled.add(key)
            else:
                failed[key] = row.toatoms()
                failed[key].info.update(row.data["info"])
    except sqlite3.Error as error:
        if "not a database" in str(error):
            return []
        raise DataError(
            f"{path}: not a readable label store ({error}); restore a copy, or move it away."
        ) from error
    return [atoms for key, atoms in failed.items() if key not in labelled]


def _rows(database: Any, path: Path) -> Iterator[AtomsRow]:
    """One by one; those of a label store as they were written."""
    if path.suffix != ".aselmdb":
        store_file.check(database)
    for row in database.select():
        try:
            if is_ours(row):
                check_row(row)
        except Exception as error:
            raise DataError(
                f"{path}: row {row.id} is not as it was written ({str(error)[:60]}); restore a "
                "copy of the file."
            ) from error
        yield row


def _opened(path: Path) -> Any:
    if path.suffix != ".aselmdb":
        return _ReadOnly(str(path), create_indices=False, use_lock_file=False)
    try:
        return connect(str(path), type="aselmdb", readonly=True)
    except ImportError:
        raise DataError(
            f"{path}: LMDB databases are read by the package ase-db-backends; install it "
            "(pip install ase-db-backends), or convert the file to extxyz."
        ) from None


def _declared(database: Any) -> dict[str, str]:
    metadata = database.metadata
    units = {f"{name}_unit": unit for name, unit in metadata.get(_UNITS, {}).items() if unit}
    if length := metadata.get(_LENGTH):
        units["positions_unit"] = length
    return units
