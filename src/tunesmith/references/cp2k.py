"""Gaussian and plane-wave density functional theory by CP2K, through ASE and CP2K's shell."""

import contextlib
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.cp2k import CP2K as Calculator
from ase.calculators.cp2k import parse_input
from ase.units import Rydberg
from pydantic import Field, model_validator

from tunesmith.errors import ConfigError
from tunesmith.references.engine import Engine, harvest, last_lines, version_in
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed

#: keywords of the input that have settings of their own
OWN = {
    "CHARGE": "reference.charge",
    "MULTIPLICITY": "reference.multiplicity",
    "MAX_SCF": "reference.max_scf",
    "EPS_SCF": "reference.eps_scf",
    "CUTOFF": "reference.cutoff",
    "UNRESTRICTED_KOHN_SHAM": "reference.uks",
    "UKS": "reference.uks",
    "LSD": "reference.uks",
}


class CP2K(Engine):
    """command: what starts CP2K's shell. cutoff: Ry. inp: CP2K's own input, added to ASE's.

    Molecules need a cell (their Poisson equation is solved without periodicity, for which it must
    be about twice as wide as the molecule). uks: None is unrestricted for all but singlets. Every
    label starts a fresh CP2K: after an error its shell cannot be used again.
    """

    kind: ClassVar[str] = "cp2k"
    install: ClassVar[str] = "apt-get install cp2k (or conda install -c conda-forge cp2k)"
    can_retry: ClassVar[bool] = True

    command: str = Field("cp2k.psmp -s", description="what starts CP2K's shell")
    xc: str = Field("PBE", description="functional")
    basis_set: str = Field("DZVP-MOLOPT-SR-GTH", description="basis set")
    basis_set_file: str = Field("BASIS_MOLOPT", description="CP2K's file of basis sets")
    pseudo_potential: str = Field("auto", description="pseudopotential; auto: the functional's")
    potential_file: str = Field("POTENTIAL", description="CP2K's file of pseudopotentials")
    cutoff: float = Field(400.0, gt=0, description="of the finest grid, Ry")
    max_scf: int = Field(50, ge=1, description="SCF steps at most")
    eps_scf: float = Field(1e-6, gt=0, description="SCF threshold, CP2K's EPS_SCF")
    uks: bool | None = Field(None, description="unrestricted; null: for all but singlets")
    inp: str = Field("", description="CP2K input, added to what is generated")

    @model_validator(mode="after")
    def _readable(self) -> "CP2K":
        present = _keywords(parse_input(self.inp))
        for word in OWN.keys() & present:
            raise ConfigError(f"reference.inp: take {word} out and use {OWN[word]}.")
        if "IGNORE_CONVERGENCE_FAILURE" in present:
            raise ConfigError(
                "reference.inp: take IGNORE_CONVERGENCE_FAILURE out; what did not converge is no "
                "label."
            )
        if self.pseudo_potential == "auto" and self.xc.upper() not in (
            "LDA",
            "PADE",
            "BP",
            "BLYP",
            "PBE",
        ):
            raise ConfigError(
                f"reference.pseudo_potential: none is known for xc {self.xc!r}; name one, as "
                "GTH-PBE."
            )
        return self

    def version(self) -> str:
        plain = " ".join(w for w in self.command.split() if w not in ("-s", "--shell"))
        return version_in(plain, "--version", r"CP2K version (\S+)", self.install)

    def refuse(self, atoms: Atoms) -> None:
        if atoms.cell.rank < 3:
            raise CallFailed(
                "refused", "CP2K needs a cell; give the structure one (atoms.center(vacuum=6))."
            )

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        output, periodic = Path("cp2k.out"), bool(atoms.pbc.all())
        calculator = None
        try:
            calculator = Calculator(
                label="cp2k",
                command=self.command,
                xc=self.xc,
                basis_set=self.basis_set,
                basis_set_file=self.basis_set_file,
                pseudo_potential=self.pseudo_potential,
                potential_file=self.potential_file,
                cutoff=self.cutoff * Rydberg,
                max_scf=self.max_scf * (4 if safer else 1),
                charge=state.charge,
                multiplicity=state.multiplicity,
                uks=state.multiplicity > 1 if self.uks is None else self.uks,
                stress_tensor=periodic,
                print_level="MEDIUM",
                inp=self._input(safer),
            )
            raw = harvest(atoms, calculator, stress=periodic)
        except (AssertionError, OSError, ValueError, RuntimeError) as error:
            require_converged(output)
            raise CallFailed("crashed", f"CP2K: {last_lines(output)}.") from error
        finally:
            if calculator is not None:
                # a shell in mid-sentence cannot say goodbye; it ends with this process's group
                with contextlib.suppress(AssertionError, OSError):
                    calculator.close()
        require_converged(output)
        return raw

    def _input(self, safer: bool) -> str:
        root = parse_input(self.inp)
        root.add_keyword("FORCE_EVAL/DFT/SCF", f"EPS_SCF {self.eps_scf:.3e}")
        sections = root.get_subsection("FORCE_EVAL/DFT/SCF").subsections
        if safer and not {"OT", "MIXING"} & {s.name for s in sections}:
            root.add_keyword("FORCE_EVAL/DFT/SCF/MIXING", "METHOD BROYDEN_MIXING")
            root.add_keyword("FORCE_EVAL/DFT/SCF/MIXING", "ALPHA 0.1")
        return "\n".join(root.write())


def require_converged(output: Path) -> None:
    """Raise unless CP2K's output says "converged", and nowhere that it did not.

    CP2K 2023 and older go on with the numbers of a calculation that did not converge.
    """
    text = output.read_text(errors="replace") if output.is_file() else ""
    if "SCF run NOT converged" in text:
        raise CallFailed("not-converged", "CP2K: SCF run NOT converged.")
    if "SCF run converged" not in text:
        raise CallFailed("crashed", f"CP2K ended early: {last_lines(output)}.")


def _keywords(section: Any) -> set[str]:
    own = {k.split()[0].upper() for k in section.keywords}
    return own.union(*(_keywords(s) for s in section.subsections))
