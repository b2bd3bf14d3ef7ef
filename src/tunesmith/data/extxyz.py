"""Extended XYZ files written so that no digit is lost: ASE's writer keeps eight decimals."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.io.extxyz import PROPERTY_NAME_MAP, key_val_dict_to_str

from tunesmith import files
from tunesmith.errors import DataError


def write(path: Path, images: Iterable[Atoms]) -> None:
    """Write structures with everything in their ``info`` and ``arrays``, every float64 exactly.

    The file appears whole or not at all (written beside its place, then renamed). Raises
    `RunFolderError` where the folder cannot be written.
    """
    with files.replacing(path, folders=False) as part, part.open("w", encoding="utf-8") as file:
        for atoms in images:
            _write_one(file, atoms)


def _write_one(file: TextIO, atoms: Atoms) -> None:
    columns = [("species", np.array(atoms.get_chemical_symbols())), ("pos", atoms.positions)]
    columns += [
        (PROPERTY_NAME_MAP.get(name, name), array)
        for name, array in atoms.arrays.items()
        if name not in ("numbers", "positions")
    ]
    names: list[str] = []
    cells: list[list[str]] = []
    for name, array in columns:
        kind, text = _column_format(name, array)
        flat = array.reshape(len(atoms), -1)
        names.append(f"{name}:{kind}:{flat.shape[1]}")
        cells.extend([text(value) for value in column] for column in flat.T.tolist())
    head = ""
    if atoms.cell.any():
        head = f'Lattice="{_numbers(atoms.cell.array)}" '
    info = {**{k: _escaped(v) for k, v in atoms.info.items() if v is not None}, "pbc": atoms.pbc}
    file.write(f"{len(atoms)}\n{head}Properties={':'.join(names)} {key_val_dict_to_str(info)}\n")
    file.writelines(" ".join(row) + "\n" for row in zip(*cells, strict=True))


def _numbers(array: np.ndarray) -> str:
    return " ".join(repr(x) for x in array.ravel().tolist())


def _column_format(name: str, array: np.ndarray) -> tuple[str, Any]:
    """The letter of a column's type in the ``Properties`` entry, and how one value is written."""
    formats = {"f": ("R", repr), "i": ("I", str), "u": ("I", str), "b": ("L", "FT".__getitem__)}
    if array.dtype.kind in formats:
        return formats[array.dtype.kind]
    if array.dtype.kind == "U" and all(v and not any(map(str.isspace, v)) for v in array.flat):
        return "S", str
    raise DataError(
        f"the per-atom values {name!r} cannot be written to an extxyz file; remove them from "
        "atoms.arrays or make them numbers."
    )


def _escaped(value: Any) -> Any:
    """Text on one line and with its backslashes kept: ASE's reader drops one level of them."""
    if isinstance(value, str):
        return " ".join(value.splitlines()).replace("\\", "\\\\")
    return value
