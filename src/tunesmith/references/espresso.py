"""Plane-wave density functional theory by Quantum ESPRESSO's pw.x, through ASE."""

import hashlib
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, ClassVar

from ase import Atoms
from pydantic import Field, model_validator

from tunesmith.errors import ConfigError
from tunesmith.references.engine import (
    Engine,
    harvest,
    last_lines,
    require_three_periodic_directions,
    version_in,
)
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed

#: pw.x's words that this package sets itself
OWN = {
    "calculation": "it is always scf",
    "pseudo_dir": "use reference.pseudo_dir",
    "outdir": "every label has a folder of its own",
    "prefix": "every label has a folder of its own",
    "tprnfor": "forces are always computed",
    "tstress": "stress is always computed",
    "tot_charge": "use reference.charge",
    "tot_magnetization": "use reference.multiplicity",
    "restart_mode": "every label starts from scratch",
    "scf_must_converge": "pw.x would call anything converged",
}


class Espresso(Engine):
    """command: how pw.x is started (``mpirun -np 4 pw.x``). pseudopotentials: element → file.

    input_data: pw.x's own words, flat or by namelist; ``ecutwfc`` (Ry) is needed. kpts: None is
    the Γ point; kspacing: 1/Å, instead of kpts. A multiplicity that is stated makes the
    calculation spin-polarised with a fixed total magnetisation.
    """

    kind: ClassVar[str] = "espresso"
    install: ClassVar[str] = "apt-get install quantum-espresso (or conda install -c conda-forge qe)"
    can_retry: ClassVar[bool] = True

    command: str = Field("pw.x", description="how pw.x is started")
    pseudo_dir: str = Field(description="folder of the UPF files")
    pseudopotentials: dict[str, str] = Field(description="element → UPF file")
    input_data: dict[str, Any] = Field(description="pw.x's own words; ecutwfc (Ry) is needed")
    kpts: tuple[int, int, int] | None = Field(None, description="k-point grid; null: the Γ point")
    koffset: tuple[int, int, int] = Field((0, 0, 0), description="its shift, 0 or 1 per direction")
    kspacing: float | None = Field(None, gt=0, description="k-point spacing, 1/Å, instead of kpts")

    @model_validator(mode="after")
    def _complete(self) -> "Espresso":
        words = _flat(self.input_data)
        for word in OWN.keys() & words.keys():
            raise ConfigError(f"reference.input_data: take {word} out; {OWN[word]}.")
        if "ecutwfc" not in words:
            raise ConfigError("reference.input_data: ecutwfc (Ry) is missing; give system.ecutwfc.")
        if self.kpts is not None and self.kspacing is not None:
            raise ConfigError("reference.kspacing contradicts reference.kpts; give one of them.")
        self._pseudo_hashes()
        return self

    def _pseudo_hashes(self) -> dict[str, str]:
        hashes = {}
        for element, name in sorted(self.pseudopotentials.items()):
            path = Path(self.pseudo_dir, name)
            if not path.is_file():
                raise ConfigError(
                    f"reference.pseudopotentials: there is no file {path}; set pseudo_dir to the "
                    "folder of your UPF files."
                )
            hashes[element] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return hashes

    def identity(self) -> dict[str, Any]:
        """With the pseudopotentials' contents, and without the folder they lie in."""
        settings = super().identity()
        del settings["pseudo_dir"]
        return {**settings, "pseudopotential_sha256": self._pseudo_hashes()}

    def version(self) -> str:
        return version_in(self.command, "", r"Program PWSCF v\.(\S+)", self.install)

    def refuse(self, atoms: Atoms) -> None:
        require_three_periodic_directions(atoms, "Quantum ESPRESSO")
        missing = sorted(set(atoms.get_chemical_symbols()) - self.pseudopotentials.keys())
        if missing:
            raise CallFailed(
                "refused", f"reference.pseudopotentials has none for {', '.join(missing)}."
            )

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        from ase.calculators.espresso import Espresso as Calculator
        from ase.calculators.espresso import EspressoProfile

        profile = EspressoProfile(command=self.command, pseudo_dir=Path(self.pseudo_dir).resolve())
        spacing = {} if self.kspacing is None else {"kspacing": self.kspacing}
        calculator = Calculator(
            profile=profile,
            directory=".",
            input_data=self._input(state, safer),
            pseudopotentials=self.pseudopotentials,
            kpts=self.kpts,
            koffset=self.koffset,
            **spacing,
        )
        try:
            raw = harvest(atoms, calculator, stress=True)
        except (CalledProcessError, CallFailed, ValueError, IndexError, AttributeError) as error:
            require_converged(Path("espresso.pwo"))
            raise CallFailed(
                "crashed", f"pw.x: {last_lines(Path('espresso.pwo'))} ({error})."
            ) from error
        require_converged(Path("espresso.pwo"))
        return raw

    def _input(self, state: ElectronicState, safer: bool) -> dict[str, Any]:
        words = _flat(self.input_data)
        words.setdefault("disk_io", "none")
        words |= {"calculation": "scf", "outdir": ".", "tprnfor": True, "tstress": True}
        words["tot_charge"] = state.charge
        if state.stated:
            words |= {"nspin": 2, "tot_magnetization": state.multiplicity - 1}
        if safer:
            words["mixing_beta"] = 0.3 * float(words.get("mixing_beta", 0.7))
            words["electron_maxstep"] = 4 * int(words.get("electron_maxstep", 100))
        return words


def require_converged(output: Path) -> None:
    """Raise unless pw.x says that the self-consistency converged, and nowhere that it did not."""
    text = output.read_text(errors="replace") if output.is_file() else ""
    if "convergence NOT achieved" in text:
        raise CallFailed("not-converged", "pw.x: convergence NOT achieved.")
    if "convergence has been achieved" not in text:
        raise CallFailed("crashed", f"pw.x ended early: {last_lines(output)}.")


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value) if isinstance(value, dict) else {key.lower(): value}
    return flat
