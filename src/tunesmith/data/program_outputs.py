"""What outputs of other codes say that ASE's readers pass over: looked for in the text itself."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import iread
from ase.io.orca import read_orca_output

from tunesmith.data import vasp_outputs
from tunesmith.data.text import opened
from tunesmith.errors import DataError

#: what stands once in the output of one calculation; where ASE takes several for one
_ONCE = {
    "vasp-out": re.compile(r"number of ions\s+NIONS ="),
    "vasp-xml": re.compile(r"<modeling>"),
    "aims-output": re.compile(r"Invoking FHI-aims \.\.\."),
    "nwchem-out": re.compile(r"Northwest Computational Chemistry Package \(NWChem\) \d"),
    "gpaw-out": re.compile(r"\|__ \|  _\|___\|_____\|"),
}
#: what says that the electrons did not converge
_UNCONVERGED = {
    "espresso-out": re.compile(r"convergence NOT achieved"),
    "orca-output": re.compile(r"SCF NOT CONVERGED|not fully converged"),
    "gaussian-out": re.compile(r"Convergence failure"),
    "nwchem-out": re.compile(r"Calculation failed to converge"),
}
#: total charge and multiplicity (2S+1)
_ELECTRONS = {
    "orca-output": (
        re.compile(r"Total Charge\s+Charge\s+\.\.\.\.\s+(-?\d+)"),
        re.compile(r"Multiplicity\s+Mult\s+\.\.\.\.\s+(\d+)"),
    ),
    "gaussian-out": (
        re.compile(r"Charge =\s*(-?\d+) Multiplicity ="),
        re.compile(r"Charge =\s*-?\d+ Multiplicity =\s*(\d+)"),
    ),
    "gaussian-in": (
        re.compile(r"^\s*([+-]?\d+)[,\s]+\d+\s*$"),
        re.compile(r"^\s*[+-]?\d+[,\s]+(\d+)\s*$"),
    ),
    "nwchem-in": (
        re.compile(r"^\s*charge\s+([+-]?[\d.]+)", re.IGNORECASE),
        re.compile(r"^\s*mult\s+(\d+)", re.IGNORECASE),
    ),
    "espresso-in": (re.compile(r"tot_charge\s*=\s*([+-]?[\d.]+)", re.IGNORECASE),),
    "nwchem-out": (
        re.compile(r"^\s*Charge\s*:\s*(-?\d+)\s*$"),
        re.compile(r"^\s*(?:Spin m|M)ultiplicity\s*:\s*(\d+)\s*$"),
    ),
}
#: lines that say something no frame keeps, and what it is
_UNREAD = {
    **dict.fromkeys(
        ("mol", "sdf"),
        (re.compile(r"^M  CHG"), "charges of atoms; give extxyz with charge, the sum of them"),
    ),
    "proteindatabank": (
        re.compile(r"^(?:ATOM  |HETATM)(?:.{0,70}$|.{70}  )"),
        "an atom without its element (columns 77 and 78), which its name does not tell; add it",
    ),
}


def images(path: Path, kind: str, notes: list[str]) -> Iterator[tuple[int, Atoms]]:
    """The structures of a file of another code, and their numbers in it; those whose electrons did
    not converge are left out.

    notes: takes what people should know. Raises `DataError` for what ASE would read wrongly, else
    what ASE raises.
    """
    electrons = looked_through(path, kind)
    unconverged: set[int] = set()
    if kind in vasp_outputs.KINDS:
        unconverged = vasp_outputs.looked_through(path, kind, notes)
    for i, atoms in enumerate(_read(path, kind)):
        if i not in unconverged:
            atoms.info.update(electrons)
            yield i, atoms


def _read(path: Path, kind: str) -> Iterator[Any]:
    if kind != "orca-output":
        yield from iread(str(path), index=":", format=kind, do_not_split_by_at_sign=True)
        return
    with opened(path) as text:  # ASE corrects the dipole by charges that may not be printed
        lines = [line for line in text if "The origin for moment calculation" not in line]
    yield from read_orca_output(io.StringIO("".join(lines)), slice(None))


def looked_through(path: Path, kind: str) -> dict[str, float]:
    """Charge and multiplicity, where the text says them.

    Raises `DataError` for several calculations in one file and electrons that did not converge.
    """
    starts: list[int] = []
    electrons = dict(zip(("charge", "multiplicity"), _ELECTRONS.get(kind, ()), strict=False))
    found: dict[str, set[float]] = {name: set() for name in electrons}
    once, failed = _ONCE.get(kind), _UNCONVERGED.get(kind)
    unread = _UNREAD.get(kind)
    if not (once or failed or electrons or unread):
        return {}
    with opened(path) as text:
        for number, line in enumerate(text, 1):
            if once and once.search(line):
                starts.append(number)
            if failed and failed.search(line):
                raise DataError(
                    f"{path}: its electrons did not converge (line {number}); compute it again, "
                    "or leave it out."
                )
            if unread and unread[0].search(line.rstrip("\n")):
                raise DataError(f"{path}: line {number} has {unread[1]}.")
            for name, pattern in electrons.items():
                found[name] |= {float(n) for n in pattern.findall(line)}
    if len(starts) > 1:
        raise DataError(
            f"{path}: holds {len(starts)} calculations (another one's header is around line "
            f"{starts[1]}), which ASE would read as one; split it into a file for each."
        )
    if several := next((name for name, values in found.items() if len(values) > 1), None):
        values = ", ".join(f"{x:g}" for x in sorted(found[several]))
        raise DataError(
            f"{path}: has the {several} {values} in one file; split it into a file for each."
        )
    return {name: values.pop() for name, values in found.items() if values}
