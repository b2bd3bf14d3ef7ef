"""What VASP says of its steps in OUTCAR and vasprun.xml, and ASE passes over."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.data.text import opened
from tunesmith.errors import DataError

KINDS = ("vasp-out", "vasp-xml")
_ITERATION = re.compile(r"-+ Iteration\s+(\d+)\(\s*\d+\s*\)")
_NELM = {
    "vasp-out": re.compile(r"^\s*NELM\s*=\s*(\d+)"),
    "vasp-xml": re.compile(r'name="NELM">\s*(\d+)'),
}
#: what an OUTCAR may have that ASE's reader takes for something else
_UNREADABLE = {
    "FORCE-w/o vdW": "two kinds of forces, with and without dispersion",
    "ML FREE ENERGIE": "steps of VASP's own machine-learnt force field",
}
_DONE = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"


@dataclass
class _Steps:
    """Of every finished ionic step whether its electrons converged, None where nothing says so."""

    converged: list[bool | None] = field(default_factory=list)
    nelm: int | None = None
    iterations: int = 0
    reached: bool | None = None
    finished: bool = True

    def begin(self) -> None:
        self.iterations, self.reached, self.finished = 0, None, False

    def end(self) -> None:
        spent = self.nelm is not None and 1 < self.nelm <= self.iterations
        self.converged.append(self.reached if self.reached is not None or not spent else False)
        self.finished = True

    def unconverged(self) -> set[int]:
        """Steps that say so, or say nothing where others say that they converged."""
        others = True in self.converged
        return {i for i, c in enumerate(self.converged) if c is False or (c is None and others)}


def looked_through(path: Path, kind: str, notes: list[str]) -> set[int]:
    """The numbers of the steps whose electrons did not converge.

    notes: takes a sentence on these, and on a last step that is not finished, which ASE leaves out.
    Raises `DataError` for what its reader cannot take.
    """
    steps = _Steps()
    take = _outcar if kind == "vasp-out" else _vasprun
    with opened(path) as text:
        positions = False
        for number, line in enumerate(text, 1):
            if match := _NELM[kind].search(line):
                steps.nelm = int(match[1])
            take(steps, line)
            if kind == "vasp-out":
                positions = positions or "TOTAL-FORCE" in line
                if found := next((w for mark, w in _UNREADABLE.items() if mark in line), None):
                    raise DataError(
                        f"{path}: line {number} has {found}, which ASE's reader of OUTCARs does "
                        "not know; give the vasprun.xml of the same calculation."
                    )
                if _DONE in line and not positions:
                    raise DataError(
                        f"{path}: has no positions and forces (NWRITE=0); give the vasprun.xml of "
                        "the same calculation."
                    )
    if not steps.finished:
        notes.append("the last step is not finished and left out")
    if wrong := steps.unconverged():
        shown = ", ".join(f"#{i}" for i in sorted(wrong)[:5]) + (", …" if len(wrong) > 5 else "")
        notes.append(f"left out {len(wrong)} whose electrons did not converge: {shown}")
    return wrong


def _outcar(steps: _Steps, line: str) -> None:
    if _ITERATION.search(line):
        if steps.finished:
            steps.begin()
        steps.iterations += 1
    elif "aborting loop" in line:
        steps.reached = "because EDIFF is reached" in line
    elif _DONE in line:
        steps.end()


def _vasprun(steps: _Steps, line: str) -> None:
    if "<calculation>" in line:
        steps.begin()
    steps.iterations += line.count("<scstep>")
    if "</calculation>" in line:
        steps.end()
