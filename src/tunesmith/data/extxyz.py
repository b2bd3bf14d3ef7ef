"""Extended XYZ files: a check before ASE reads one, and a writer that loses no digit.

ASE's reader stops without a word at a blank line, and its writer keeps eight decimals; neither
will do for labels.
"""

import io
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.extxyz import PROPERTY_NAME_MAP, key_val_dict_to_str

from tunesmith.errors import DataError, RunFolderError


def scan(path: Path) -> int:
    """Number of frames. Raise `DataError`, with the frame's number, for a file that is cut off or
    ends too early.

    Frames count from 0. A file cut exactly between two frames looks complete: nothing can tell.
    One pass, a frame in memory at a time.
    """
    count, last = 0, [""]
    for lines in _chunks(path):
        count, last = count + 1, lines
    n = int(last[0] or 0)
    if n > 1 and not last[-1].endswith("\n") and len(last[-1]) < len(last[-2].rstrip("\n")):
        raise DataError(
            f"{path}: the last number of frame {count - 1} may be cut off, as the file does not "
            "end with a newline; add one if the file is complete."
        )
    return count


def read_some(path: Path, numbers: Collection[int]) -> Iterator[Atoms]:
    """The frames of these numbers, ascending; the others are passed over, not understood."""
    wanted = set(numbers)
    for frame, lines in enumerate(_chunks(path)):
        if frame in wanted:
            atoms = read(io.StringIO("".join(lines)), index=0, format="extxyz")
            assert isinstance(atoms, Atoms)
            yield atoms


def _chunks(path: Path) -> Iterator[list[str]]:
    """The lines of each frame. Raises as `scan`, but for a number cut off at the very end."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = _Lines(file)
            frame = 0
            while lines.here.strip():
                yield _chunk(lines, path, frame)
                frame += 1
            blank = lines.at
            if lines.here and any(line.strip() for line in file):
                raise DataError(
                    f"{path}: line {blank}, after frame {frame - 1}, is blank and more follows, "
                    "which ASE would not read; remove the blank line."
                )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from error


class _Lines:
    """The line a file is at ("" behind the last), and its number from 1."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.here, self.at = file, file.readline(), 1

    def take(self) -> str:
        """This line; the next is then here."""
        taken, self.here, self.at = self.here, self.file.readline(), self.at + 1
        return taken


def _chunk(lines: _Lines, path: Path, frame: int) -> list[str]:
    """The lines of the frame that starts here, those of its lattice (VEC) included."""
    start = lines.at
    head = lines.take()
    try:
        n = int(head)
    except ValueError:
        n = -1
    if n < 0:
        raise DataError(
            f"{path}: frame {frame} should start with its number of atoms but line {start} is "
            f"{head.rstrip()[:40]!r}; repair the file or write it again."
        )
    comment = lines.take()
    rows: list[str] = []
    while len(rows) < n and lines.here.strip():
        rows.append(lines.take())
    if len(rows) < n:
        raise DataError(
            f"{path}: frame {frame} is cut off (it announces {n} atoms); remove that frame or "
            "write the file again."
        )
    while lines.here.lstrip().startswith("VEC"):
        rows.append(lines.take())
    return [head, comment, *rows]


def write(path: Path, images: Iterable[Atoms]) -> None:
    """Write structures with everything in their ``info`` and ``arrays``, every float64 exactly.

    The file appears whole or not at all (written beside its place, then renamed). Raises
    `RunFolderError` where the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = part.open("w", encoding="utf-8")
        try:
            with file:
                for atoms in images:
                    _write_one(file, atoms)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be written ({error.strerror}); choose a folder that exists, is yours "
            "and has room."
        ) from error


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
