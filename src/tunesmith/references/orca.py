"""Molecular quantum chemistry by ORCA, through ASE. Read on files in ORCA's format only."""

import shutil
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, ClassVar

from ase import Atoms
from ase.io import ParseError
from pydantic import Field, model_validator

from tunesmith.errors import ConfigError
from tunesmith.references.engine import Engine, harvest, last_lines, version_in
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed


class ORCA(Engine):
    """simple_input: the words of ORCA's "!" line, EnGrad excepted. blocks: its %-blocks.

    command: ORCA's full path where it runs in parallel (``%pal``), as ORCA itself demands.
    """

    kind: ClassVar[str] = "orca"
    install: ClassVar[str] = "your ORCA licence (https://www.faccts.de)"
    can_retry: ClassVar[bool] = True

    command: str = Field("orca", description="how ORCA is started; its full path for parallel runs")
    simple_input: str = Field("PBE def2-SVP", description="words of the ! line, without EnGrad")
    blocks: str = Field("", description="ORCA's %-blocks")

    @model_validator(mode="after")
    def _single_point(self) -> "ORCA":
        words = set(self.simple_input.lower().split())
        for word in ("opt", "copt", "optts", "freq", "numfreq", "engrad", "numgrad", "md"):
            if word in words:
                raise ConfigError(
                    f"reference.simple_input: take {word} out; a label is one energy and gradient."
                )
        if not words:
            raise ConfigError("reference.simple_input is empty; give a method and a basis set.")
        return self

    def version(self) -> str:
        return version_in(self.command, "does_not_exist", r"Program Version (\S+)", self.install)

    def refuse(self, atoms: Atoms) -> None:
        if atoms.pbc.any():
            raise CallFailed(
                "refused", "ORCA computes molecules only; set pbc=False for a molecule."
            )

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        from ase.calculators.orca import ORCA as Calculator
        from ase.calculators.orca import OrcaProfile

        extra = " SlowConv" if safer else ""
        calculator = Calculator(
            profile=OrcaProfile(command=shutil.which(self.command) or self.command),
            directory=".",
            charge=state.charge,
            mult=state.multiplicity,
            orcasimpleinput=f"{self.simple_input}{extra} EnGrad",
            orcablocks=self.blocks + ("\n%scf maxiter 500 end" if safer else ""),
        )
        try:
            raw = harvest(atoms, calculator, stress=False)
        except (CalledProcessError, CallFailed, ParseError, OSError, ValueError) as error:
            require_converged(Path("orca.out"))
            raise CallFailed("crashed", f"ORCA: {last_lines(Path('orca.out'))}.") from error
        require_converged(Path("orca.out"))
        return raw


def require_converged(output: Path) -> None:
    """Raise unless ORCA terminated normally with a fully converged wavefunction."""
    text = output.read_text(errors="replace") if output.is_file() else ""
    signs = (
        "SCF NOT CONVERGED",
        "Wavefunction not fully converged",
        "The wavefunction IS NOT YET CONVERGED",
        "This wavefunction IS NOT CONVERGED",
        "This wavefunction IS NOT FULLY CONVERGED",
    )
    for sign in signs:
        if sign.lower() in text.lower():
            raise CallFailed("not-converged", f"ORCA: {sign}.")
    if "ORCA TERMINATED NORMALLY" not in text:
        raise CallFailed("crashed", f"ORCA ended early: {last_lines(output)}.")
