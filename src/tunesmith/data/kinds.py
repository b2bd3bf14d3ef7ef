"""Which format a file has: by its name and what stands in it, or as the user says."""

from dataclasses import dataclass
from pathlib import Path

from ase.data import atomic_numbers
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, match_magic

from tunesmith.data.text import beginning, plain_name
from tunesmith.errors import DataError
from tunesmith.registry import nearest

#: endings that need no look inside
_ENDINGS = {".xyz": "extxyz", ".extxyz": "extxyz", ".exyz": "extxyz", ".db": "db"}
#: endings of files of many codes, which ASE takes for those of one
_SHARED = (".out", ".log", ".txt", ".dat")
#: formats that say their elements by types or names of atoms, if at all, and what to give instead
_NO_ELEMENTS = {
    **dict.fromkeys(("gromacs", "gromos", "dlp4", "dlp-history"), "names of atoms"),
    "lammps-dump-binary": "types",
}
#: what stands in files that ASE does not read → whose they are, and which file to give
_FOREIGN = {
    "CP2K|": "CP2K's main output, which has no structures: give PROJECT-pos-1.xyz for structures, "
    "or extxyz with its energies and forces",
    "Psi4": "an output of Psi4: write structures, energies and forces to extxyz",
    "Q-Chem": "an output of Q-Chem: write structures, energies and forces to extxyz",
    "PROGRAM SYSTEM MOLPRO": "an output of Molpro: write structures, energies and forces to extxyz",
    "x T B": "an output of xtb: give its xtbopt.xyz or xtb.trj for structures, or extxyz",
    "DFTB+": "an output of DFTB+: give its geo_end.xyz for structures, or extxyz",
}


@dataclass(frozen=True)
class How:
    """What a file does not say of itself.

    format: ASE's name of it, None: by name and content. species: the elements of types 1, 2, …
    Raises `DataError` for what is no format or no element.
    """

    format: str | None = None
    species: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        readable = [name for name, kind in ioformats.items() if kind.can_read]
        if self.format is not None and self.format not in readable:
            known = nearest(self.format, readable)
            raise DataError(f"format: ASE reads no {self.format!r}; {known}")
        for symbol in self.species:
            if symbol not in atomic_numbers or symbol == "X":
                raise DataError(
                    f"species: there is no element {symbol!r}; name those of types 1, 2, … as "
                    "'O H'."
                )


def kind_of(path: Path, how: How) -> str:
    """ASE's name for the format of a file. Raises `DataError` where nothing tells it."""
    kind = how.format or _ENDINGS.get(Path(plain_name(path)).suffix) or _recognised(path)
    kind = {"xyz": "extxyz"}.get(kind, kind)  # ASE's plain reader drops what else a line says
    if kind in _NO_ELEMENTS:
        raise DataError(
            f"{path}: files of format {kind} hold {_NO_ELEMENTS[kind]}, not elements; convert it "
            "to extxyz with the elements' symbols."
        )
    if how.species and not kind.startswith("lammps"):
        raise DataError(
            f"{path}: species are for files of LAMMPS, whose atoms have types; this one ({kind}) "
            "names its elements, leave species out."
        )
    return kind


def _recognised(path: Path) -> str:
    if path.suffix == ".aselmdb":
        return "db"
    start = beginning(path)  # first, as it says in a sentence where this cannot be had
    try:
        kind = filetype(str(path))  # an ending it does not know is a format's name to it
    except UnknownFileTypeError:
        kind = ""
    kind = kind if kind in ioformats else ""
    if kind and _fits(kind, path, start):
        return kind
    if whose := next((text for mark, text in _FOREIGN.items() if mark in start), None):
        raise DataError(f"{path}: is {whose}.")
    try:  # a file that says what it is, under a name that says something else
        return str(match_magic(start.encode()).name)
    except UnknownFileTypeError:
        pass
    if _looks_like_xyz(start):
        return "extxyz"
    named = f" (its name is that of {kind}, its content is not)" if kind else ""
    raise DataError(
        f"{path}: the format is not one ASE knows{named}; name it (--format, data.format of "
        "tune), or convert the file to extxyz."
    )


def _fits(kind: str, path: Path, start: str) -> bool:
    """Whether a file known by an ending that all share has what files of that code begin with."""
    known, name = ioformats[kind], plain_name(path)
    shared = Path(name).suffix.lower() in _SHARED and not known.match_name(name)
    return not (shared and known.magic) or bool(known.match_magic(start.encode()))


def _looks_like_xyz(start: str) -> bool:
    """A number of atoms, a comment, and an atom with its position."""
    lines = start.splitlines()[:3]
    if len(lines) < 3 or not lines[0].strip().isdigit():
        return False
    name, *position = lines[2].split()[:4] or [""]
    try:
        return name[:1].isalpha() and len([float(x) for x in position]) == 3
    except ValueError:
        return False
