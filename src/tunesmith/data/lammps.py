"""Files of LAMMPS → structures. They hold types, not elements, and seldom say their units."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ase import Atoms
from ase.data import atomic_numbers
from ase.io import iread
from ase.io.lammpsdata import read_lammps_data

from tunesmith.data.kinds import How
from tunesmith.data.text import opened
from tunesmith.errors import DataError

#: systems of units whose lengths and forces ASE converts; `lj` has none
_UNITS = ("metal", "real", "si", "cgs", "electron", "micro", "nano")
_NO_UNITS = (
    "the forces are left aside, as the dump does not say its units (dump_modify ID units yes)"
)
_MASS = re.compile(r"^(ITEM: ATOMS .*\b)mass\b", re.M)
_SPECIES = "--species 'O H' for types 1 and 2 (label and select have it)"


def dump_images(path: Path, how: How, notes: list[str]) -> Iterator[Atoms]:
    """Frames of a text dump, forces among their arrays where the dump says its units.

    ASE gives them an energy of zero, which no dump holds. notes: takes what people should know.
    Raises `DataError`.
    """
    units, columns = _scan(path)
    options: dict[str, Any] = {"units": units or "metal"}
    if "element" in columns:
        if how.species:
            raise DataError(f"{path}: has a column of elements; leave species out.")
    elif "type" not in columns or not how.species:
        raise DataError(
            f"{path}: has types, not elements; write the column element into the dump "
            f"(dump_modify ID element O H), or give {_SPECIES}."
        )
    else:
        options["specorder"] = list(how.species)
    with opened(path) as file:
        text: TextIO = file
        if "mass" in columns and how.species:  # ASE would take the masses for elements first
            text = io.StringIO(_MASS.sub(r"\1v_mass", file.read()))
        images = iread(text, ":", "lammps-dump-text", **options)
        for atoms in _named(path, images):
            forces = atoms.calc.results["forces"] if atoms.calc else None
            atoms.calc = None
            if forces is not None and units:
                atoms.arrays["forces"] = forces
            elif forces is not None and _NO_UNITS not in notes:
                notes.append(_NO_UNITS)
            yield atoms


def _named(path: Path, images: Iterator[Any]) -> Iterator[Any]:
    """Structures whose types all have an element; ASE looks them up by number."""
    try:
        yield from images
    except (IndexError, KeyError) as error:
        name = error.args[0] if isinstance(error, KeyError) and error.args else None
        if isinstance(name, str):
            raise DataError(
                f"{path}: {str(name)!r} is no element's symbol; write symbols (as O of OW) into "
                "the column element."
            ) from None
        raise DataError(
            f"{path}: has more types than species name; name the elements of all, in their order."
        ) from None


def data_images(path: Path, how: How) -> Iterator[Atoms]:
    """The structure of a data file. Raises `DataError` where its types have no elements."""
    with opened(path) as file:
        text = file.read()
    labels = re.search(r"^\s*Atom Type Labels\s*$\n\s*\n((?:\s*\d+\s+\S+.*\n?)+)", text, re.M)
    named = labels and all(line.split()[1] in atomic_numbers for line in labels[1].splitlines())
    if not named and not how.species:
        raise DataError(
            f"{path}: has types, not elements; write them as a section 'Atom Type Labels', or give "
            f"{_SPECIES}."
        )
    of_type = {i: atomic_numbers[symbol] for i, symbol in enumerate(how.species, 1)} or None
    if named and labels and not of_type:  # ASE would take masses for elements first
        rows = [line.split() for line in labels[1].splitlines()]
        of_type = {int(row[0]): atomic_numbers[row[1]] for row in rows}
    units = re.search(r"units = (\w+)", text)
    system = _known(path, units[1]) if units else "metal"
    with opened(path) as file:
        images = (read_lammps_data(f, Z_of_type=of_type, units=system) for f in (file,))
        yield from _named(path, images)


def _scan(path: Path) -> tuple[str | None, list[str]]:
    """Units, where the dump says them, and the columns of its first frame, once it is whole."""
    units, columns, frame = None, None, -1
    announced = rows = 0
    with opened(path) as text:
        lines = iter(text)
        for line in lines:
            if not line.startswith("ITEM:"):
                rows += bool(line.strip())
                continue
            if line.startswith("ITEM: UNITS"):
                units = _known(path, next(lines, "").strip())
            elif line.startswith("ITEM: TIMESTEP"):
                _require_whole(path, frame, announced, rows)
                frame += 1
                rows, announced = 0, -1
            elif line.startswith("ITEM: NUMBER OF ATOMS"):
                announced = int(next(lines, "").strip() or -1)
            elif line.startswith("ITEM: ATOMS"):
                columns, rows = columns or line.split()[2:], 0
    _require_whole(path, frame, announced, rows)
    return units, columns or []


def _require_whole(path: Path, frame: int, announced: int, rows: int) -> None:
    """ASE takes a frame with fewer atoms for a smaller one."""
    if frame >= 0 and rows != announced:
        raise DataError(
            f"{path}: frame {frame} is cut off (it announces {announced} atoms); remove that "
            "frame or write the file again."
        )


def _known(path: Path, units: str) -> str:
    if units not in _UNITS:
        raise DataError(
            f"{path}: its units are {units!r}, which have no ångström; convert it to units metal."
        )
    return units
