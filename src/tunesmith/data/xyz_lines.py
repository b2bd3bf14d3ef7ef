"""Extended XYZ text → structures, a frame of lines at a time, packed or not.

ASE's own reader stops without a word at a blank line, drops columns that no header names, and says
of what it cannot read only what its parser stumbled over.
"""

import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import key_val_str_to_dict, read_xyz

from tunesmith.data.text import opened
from tunesmith.errors import DataError

#: frames of one file beyond which nobody means it: a bomb, or a file for another tool
MOST_FRAMES = 10_000_000
#: ASE takes these as nine numbers or not at all; under another name they come as they are
_AS_THEY_ARE = re.compile(r'"(?:\\.|[^"\\])*"|(?<!\S)(stress|virial)(?=\s*=)')
_PREFIX = "as_it_is_"
_PLAIN = "species:S:1:pos:R:3"
#: what every line must say, and how its columns are called
_NEEDED = {
    "positions": ("pos", "positions"),
    "elements": ("species", "Z", "symbols", "numbers"),
}
#: a double of Fortran, whose exponent Python does not know
_FORTRAN = re.compile(r"(?<![\w.])([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)(?![\w.])")
_FORTRAN_POINT = re.compile(r"(?<![\w.])([+-]?(?:\d+\.\d*|\.\d+))[dD]([+-]?\d+)(?![\w.])")
#: how a key is written that means something only so
_SPELT = {
    **{"lattice": "Lattice", "cell": "Lattice", "box": "Lattice"},
    **{"pbc": "pbc", "properties": "Properties"},
}


def scan(path: Path) -> int:
    """Number of frames. Raise `DataError`, with the frame's number, for a file that is cut off or
    ends too early.

    Frames count from 0. A file cut exactly between two frames looks complete: nothing can tell.
    One pass, a frame in memory at a time.
    """
    count, last = 0, [""]
    for _, lines in chunks(path):
        count, last = count + 1, lines
    n = int(last[0] or 0)
    if n > 1 and not last[-1].endswith("\n") and len(last[-1]) < len(last[-2].rstrip("\n")):
        raise DataError(
            f"{path}: the last number of frame {count - 1} may be cut off, as the file does not "
            "end with a newline; add one if the file is complete."
        )
    return count


def images(path: Path, only: Collection[int] | None = None) -> Iterator[Atoms]:
    """The structures, one in memory at a time.

    only: numbers of those to give, ascending whatever theirs; the others are passed over, not
    understood. None for all. Raises `DataError` saying what stands in the line that cannot be read.
    """
    wanted = None if only is None else set(only)
    for frame, (start, lines) in enumerate(chunks(path)):
        if wanted is None or frame in wanted:
            yield _understood(lines, f"{path}: frame {frame}", start)


def chunks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of its first line (from 1) and the lines of each frame.

    Raises as `scan`, but for a number cut off at the very end.
    """
    with opened(path) as file:
        lines = _Lines(file)
        frame = 0
        while lines.here.strip():
            if frame == MOST_FRAMES:
                raise DataError(
                    f"{path}: holds more than {MOST_FRAMES:,} frames; give a part of it, or every "
                    "hundredth."
                )
            yield lines.at, _chunk(lines, path, frame)
            frame += 1
        blank = lines.at
        if lines.here and any(line.strip() for line in file):
            before = f", after frame {frame - 1}," if frame else ""
            raise DataError(
                f"{path}: line {blank}{before} is blank and more follows, which ASE would not "
                "read; remove the blank line."
            )


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


# --------------------------------------------------------------------------- one frame


def _understood(lines: list[str], where: str, start: int) -> Atoms:
    """A frame as ASE reads it, where ASE reads all of it.

    where: file and frame, for messages; start: number of the first line.
    """
    n = int(lines[0])
    comment = _FORTRAN_POINT.sub(r"\1E\2", lines[1])  # 1d66 may be a name
    comment = _AS_THEY_ARE.sub(lambda m: _PREFIX + m[1] if m[1] else m[0], comment)
    try:
        info = key_val_str_to_dict(comment) if comment.strip() else {}
    except ValueError as error:
        lattice = re.search(r'(?:^|\s)Lattice\s*=\s*"([^"]*)"', comment)
        if lattice is None or len(re.findall(r"\S+", lattice[1])) == 9:
            raise DataError(
                f"{where}: line {start + 1} cannot be read ({str(error)[:80]}); correct it, or "
                "take out what is not needed."
            ) from None
        raise DataError(
            f"{where}: Lattice in line {start + 1} is not nine numbers (three vectors, one after "
            "the other); correct it."
        ) from None
    rows, vectors = lines[2 : 2 + n], lines[2 + n :]
    if vectors:  # ASE then takes the comment for one
        info = {}
    _check_spelling(info, where, start + 1)
    columns = _columns(info.get("Properties", _PLAIN), where, start + 1)
    _check_widths(rows, columns, where, start + 2)
    try:
        atoms = _read([*lines[:2], *rows, *vectors], info)
    except Exception:  # the parser raises whatever it stumbles over
        rows = [_FORTRAN.sub(r"\1E\2", row) for row in rows]
        _check_rows(rows, columns, where, start + 2)
        try:
            atoms = _read([*lines[:2], *rows, *vectors], info)
        except Exception as error:
            raise DataError(
                f"{where}, from line {start} on, cannot be read ({type(error).__name__}: {error}); "
                "correct these lines."
            ) from error
    for key in [key for key in atoms.info if key.startswith(_PREFIX)]:
        atoms.info[key.removeprefix(_PREFIX)] = atoms.info.pop(key)
    return atoms


def _read(lines: list[str], info: dict[str, Any]) -> Atoms:
    atoms = next(read_xyz(io.StringIO("".join(lines)), 0, lambda _: dict(info)))
    assert isinstance(atoms, Atoms)
    return atoms


def _check_spelling(info: dict[str, Any], where: str, line: int) -> None:
    """Keys that would be passed over for a letter: `lattice=` is no cell to ASE."""
    for key in info:
        proper = _SPELT.get(key.lower(), key)
        cells = proper == "Lattice"
        if (
            key != proper
            and proper not in info
            and not (cells and np.size(info[key]) not in (3, 9))
        ):
            raise DataError(f"{where}: line {line} has {key!r}; write it {proper}.")


def _columns(properties: Any, where: str, line: int) -> list[tuple[str, str]]:
    """Name and type (R, I, S or L) of every column."""
    parts = str(properties).split(":")
    try:
        counts = [int(n) for n in parts[2::3]]
        named = list(zip(parts[::3], parts[1::3], counts, strict=True))
    except ValueError:
        named = []
    if not named or any(kind not in ("R", "I", "S", "L") for _, kind, _ in named):
        raise DataError(
            f"{where}: Properties in line {line} is {properties!r}; write NAME:TYPE:COLUMNS for "
            f"each (TYPE one of R, I, S, L), as {_PLAIN}."
        )
    columns = [(name, kind) for name, kind, n in named for _ in range(n)]
    names = [name for name, _ in columns]
    for what, known in _NEEDED.items():
        if not any(name in names for name in known):
            raise DataError(
                f"{where}: Properties in line {line} names no {what}; call their columns "
                f"{' or '.join(known[:2])}."
            )
    return columns


def _check_widths(rows: list[str], columns: list[tuple[str, str]], where: str, first: int) -> None:
    """ASE drops what stands behind the columns that are named."""
    for i, row in enumerate(rows):
        if (n := len(row.split())) != len(columns):
            raise DataError(
                f"{where}: line {first + i} has {n} columns where Properties names {len(columns)}"
                f" ({_PLAIN} where there is none); "
                + ("name all of them." if n > len(columns) else "complete the line.")
            )


def _check_rows(rows: list[str], columns: list[tuple[str, str]], where: str, first: int) -> None:
    """What stands in a line that cannot be read, and what would."""
    readers = {"R": float, "I": int, "S": str, "L": str}
    for line, row in enumerate(rows, first):
        for (name, kind), value in zip(columns, row.split(), strict=True):
            if name in ("species", "symbols"):
                _check_symbol(value, where, line)
                continue
            try:
                readers[kind](value)
            except ValueError:
                raise DataError(
                    f"{where}: {value!r} in line {line} is no number, as column {name} wants; "
                    "correct it."
                ) from None


def _check_symbol(value: str, where: str, line: int) -> None:
    if value.capitalize() in atomic_numbers:
        return
    if value in ("D", "T"):
        cure = "write H: a potential knows no isotopes"
    elif value.isdigit():
        cure = (
            "write symbols, or, if these are atomic numbers, name the column Z:I:1 instead of "
            "species:S:1 in Properties"
        )
    else:
        element = re.match(r"[A-Za-z]+", value)
        symbol = element[0].capitalize() if element else ""
        cure = f"write {symbol}" if symbol in atomic_numbers else "write the element's symbol"
    raise DataError(f"{where}: {value!r} in line {line} is no element's symbol; {cure}.")
