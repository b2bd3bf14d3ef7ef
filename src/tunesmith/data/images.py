"""Any file ASE reads → its structures, with all the file says in info, arrays and results."""

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io.formats import ioformats

from tunesmith.data import databases, lammps, program_outputs, xyz_lines
from tunesmith.data.kinds import How, kind_of
from tunesmith.data.naming import require_file
from tunesmith.data.text import is_packed
from tunesmith.errors import DataError

_BINARY = ("traj", "bundletrajectory", "netcdftrajectory", "gpw", "cp2k-dcd")


def read_images(path: Path, how: How | None = None) -> list[Atoms]:
    """All structures of a file. Raises `DataError`, with the frame's number where it is known."""
    check_file(path, how)
    return [atoms for _, atoms in iter_images(path, how=how)]


def check_file(path: Path, how: How | None = None) -> int | None:
    """How many structures a file holds, where that can be told before they are read.

    Raises `DataError` where there is no file, an empty one, one of unknown format or a damaged
    extxyz file.
    """
    require_file(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; write it again.")
    return xyz_lines.scan(path) if kind_of(path, how or How()) == "extxyz" else None


def iter_images(
    path: Path,
    only: Collection[int] | None = None,
    *,
    how: How | None = None,
    notes: list[str] | None = None,
) -> Iterator[tuple[int, Atoms]]:
    """Number and structure of each frame that `check_file` has passed, one in memory at a time.

    Numbers count from 0 through all the file holds; what is left out (electrons that did not
    converge) has one too. only: numbers of those to give, in ascending order whatever theirs; None
    for all. notes: takes what people should know of the reading, each once. Raises `DataError`,
    with the frame's number where it is known, where one cannot be read.
    """
    how, notes = how or How(), [] if notes is None else notes
    kind = kind_of(path, how)
    images = _images(path, kind, how, only, notes)
    n = 0
    while True:
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = next(images, None)
        except DataError:
            raise
        except Exception as error:  # ASE's readers raise whatever the parser stumbles over
            raise DataError(_unreadable(path, kind, n, error)) from error
        for warning in caught:
            text = _said(warning.message, path)
            if issubclass(warning.category, UserWarning) and text not in notes:
                notes.append(text)
        if found is None:
            break
        number, n = found[0], found[0] + 1
        if only is None or number in only:
            yield found
    if not n:
        if notes:
            raise DataError(
                f"{path}: none of its structures can be used ({'; '.join(notes)}); compute it "
                "again, or leave the file out."
            )
        raise DataError(
            f"{path}: ASE finds no structure in it (read as {kind}); check that it is the right "
            "file, or name its format."
        )


def _said(message: Warning | str, path: Path) -> str:
    """The first line of a warning, without the path of anything."""
    first = next(iter(str(message).strip().splitlines()), "")
    return f"ASE says: {first.replace(str(path), path.name)[:200]}"


def _images(
    path: Path, kind: str, how: How, only: Collection[int] | None, notes: list[str]
) -> Iterator[tuple[int, Atoms]]:
    """By the reader of the format."""
    if is_packed(path) and (kind == "db" or not ioformats[kind].acceptsfd):
        raise DataError(f"{path}: files of format {kind} are not read packed; unpack it.")
    if kind == "extxyz":
        numbers = None if only is None else sorted(set(only))
        images = xyz_lines.images(path, numbers)
        return enumerate(images) if numbers is None else zip(numbers, images, strict=False)
    if kind == "db":
        return enumerate(databases.images(path))
    if kind == "lammps-dump-text":
        return enumerate(lammps.dump_images(path, how, notes))
    if kind == "lammps-data":
        return enumerate(lammps.data_images(path, how))
    return program_outputs.images(path, kind, notes)


def _unreadable(path: Path, kind: str, n: int, error: Exception) -> str:
    """What a reader of ASE stumbled over, and what to do: damage is claimed of binary files only,
    which nobody writes by hand."""
    what: Any = f"{type(error).__name__}: {error}".replace("\n", " ")
    start = f"{path}: frame {n} cannot be read ({what})"
    if kind in _BINARY or (is_packed(path) and isinstance(error, EOFError)):
        return f"{start}; the file is damaged or cut off: write or copy it again."
    if isinstance(error, UnicodeDecodeError):
        return f"{start}; it is not written in UTF-8: iconv -f latin1 -t utf-8 makes it so."
    other = "the vasprun.xml of the same calculation, or " if kind == "vasp-out" else ""
    return (
        f"{start}, by ASE's reader of {kind}; look whether the file is whole and of that format, "
        f"and give {other}extxyz instead."
    )
