"""VASP through ASE. Read on files in VASP's format; never run against the real program."""

import os
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, ReadError
from pydantic import Field, model_validator

from tunesmith.errors import ConfigError
from tunesmith.references.engine import (
    Engine,
    harvest,
    last_lines,
    require_program,
    require_three_periodic_directions,
)
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed
from tunesmith.registry import nearest

#: ASE's keywords that this package sets itself
OWN = {
    "nsw": "a label moves no atom",
    "ibrion": "a label moves no atom",
    "isif": "forces and stress are always computed",
    "nelect": "use reference.charge",
    "charge": "use reference.charge",
    "net_charge": "use reference.charge",
    "nupdown": "use reference.multiplicity",
    "command": "use reference.command",
    "directory": "every label has a folder of its own",
    "label": "every label has a folder of its own",
    "txt": "what VASP prints is kept as vasp.out",
    "restart": "every label starts from scratch",
    "istart": "every label starts from scratch",
    "atoms": "it is what is labelled",
}


class VASP(Engine):
    """settings: the keywords of ASE's Vasp calculator (xc, encut, ediff, kpts, setups, …).

    pp_path: the folder with potpaw_PBE and the like (None: the environment's VASP_PP_PATH).
    program_version: as VASP writes it at the top of OUTCAR ("6.4.2"): VASP does not say it before
    it runs, and a run of another version is refused. A multiplicity that is stated makes the
    calculation spin-polarised with a fixed moment.
    """

    kind: ClassVar[str] = "vasp"
    install: ClassVar[str] = "your VASP licence (https://www.vasp.at)"
    can_retry: ClassVar[bool] = True

    command: str = Field("vasp_std", description="how VASP is started")
    settings: dict[str, Any] = Field(description="keywords of ASE's Vasp calculator")
    program_version: str = Field(description="VASP's version as OUTCAR states it, as 6.4.2")
    pp_path: str | None = Field(None, description="folder of potpaw_PBE and the like")

    @model_validator(mode="after")
    def _known(self) -> "VASP":
        for word in OWN.keys() & {k.lower() for k in self.settings}:
            raise ConfigError(f"reference.settings: take {word} out; {OWN[word]}.")
        from ase.calculators.vasp import Vasp as Calculator

        # ASE writes words it does not know into INCAR, where VASP may pass them over
        known = {word for group in Calculator().param_state.values() for word in group}
        for word in self.settings.keys() - known:
            raise ConfigError(
                f"reference.settings: ASE knows no keyword {word!r} of VASP, "
                f"{nearest(word, sorted(known))} New INCAR tags go into custom: {{TAG: value}}."
            )
        try:
            Calculator(**self.settings)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ConfigError(f"reference.settings: {error}; use ASE's keywords.") from error
        return self

    def identity(self) -> dict[str, Any]:
        settings = super().identity()
        del settings["pp_path"], settings["program_version"]  # the latter is the version
        return settings

    def version(self) -> str:
        require_program(self.command, self.install)
        return self.program_version

    def refuse(self, atoms: Atoms) -> None:
        require_three_periodic_directions(atoms, "VASP")

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        from ase.calculators.vasp import Vasp as Calculator

        if self.pp_path is not None:
            os.environ["VASP_PP_PATH"] = str(Path(self.pp_path).resolve())
        calculator = Calculator(command=self.command, directory=".", **self._keywords(state, safer))
        try:
            raw = harvest(atoms, calculator, stress=True)
        except (CalculationFailed, ReadError, OSError, ValueError, IndexError) as error:
            require_converged(Path("OUTCAR"))
            words = last_lines(Path("vasp.out"))
            raise CallFailed("crashed", f"VASP: {error} ({words}).") from error
        require_converged(Path("OUTCAR"))
        ran = calculator.get_version()
        if ran != self.program_version:
            raise CallFailed(
                "refused",
                f"this is VASP {ran}, but reference.program_version is {self.program_version}.",
            )
        return raw

    def _keywords(self, state: ElectronicState, safer: bool) -> dict[str, Any]:
        words = {"lwave": False, "lcharg": False, **self.settings}
        words |= {"nsw": 0, "ibrion": -1, "isif": 2, "istart": 0}
        if state.charge:
            words["charge"] = state.charge
        if state.stated:
            words |= {"ispin": 2, "nupdown": state.multiplicity - 1}
        if safer:
            words |= {"algo": "All", "nelm": 3 * int(words.get("nelm", 60))}
        return words


def require_converged(outcar: Path) -> None:
    """Raise unless OUTCAR says that the electronic loop ended because EDIFF was reached.

    VASP 6 writes "EDIFF was not reached (unconverged)"; VASP 5 writes nothing when it stops at
    NELM; both go on to forces and exit with code 0.
    """
    text = outcar.read_text(errors="replace") if outcar.is_file() else ""
    if "aborting loop because EDIFF is reached" in text:
        return
    if "Total CPU time used" in text or "aborting loop" in text:
        raise CallFailed("not-converged", "VASP: EDIFF was not reached within NELM steps.")
    raise CallFailed("crashed", f"VASP ended early: {last_lines(outcar)}.")
