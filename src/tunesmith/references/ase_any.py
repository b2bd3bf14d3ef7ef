"""Any calculator of ASE, by a name from a table, or any calculator object from Python."""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import ase
from ase import Atoms
from pydantic import ConfigDict, Field, model_validator

from tunesmith import plugins
from tunesmith.core import Failure, Label
from tunesmith.errors import ConfigError
from tunesmith.references import sanity
from tunesmith.references.engine import Engine, harvest, refuse_shell, require_package
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed
from tunesmith.registry import nearest


@dataclass(frozen=True)
class Entry:
    """Where a calculator lives. judges: it raises, or has nothing that could fail to converge."""

    path: str
    judges: bool = False
    package: str = "ase"
    stress: bool = True


#: names a configuration may use; plugins add theirs under ``tunesmith.ase_calculators``
CALCULATORS = {
    "emt": Entry("ase.calculators.emt:EMT", judges=True),
    "lj": Entry("ase.calculators.lj:LennardJones", judges=True),
    "morse": Entry("ase.calculators.morse:MorsePotential", judges=True),
    "tip3p": Entry("ase.calculators.tip3p:TIP3P", judges=True, stress=False),
    "tip4p": Entry("ase.calculators.tip4p:TIP4P", judges=True, stress=False),
    "gpaw": Entry("gpaw:GPAW", judges=True, package="gpaw"),
    "abinit": Entry("ase.calculators.abinit:Abinit"),
    "aims": Entry("ase.calculators.aims:Aims"),
    "castep": Entry("ase.calculators.castep:Castep"),
    "dftb": Entry("ase.calculators.dftb:Dftb"),
    "gamess_us": Entry("ase.calculators.gamess_us:GAMESSUS", stress=False),
    "gaussian": Entry("ase.calculators.gaussian:Gaussian", stress=False),
    "mopac": Entry("ase.calculators.mopac:MOPAC", stress=False),
    "nwchem": Entry("ase.calculators.nwchem:NWChem"),
    "octopus": Entry("ase.calculators.octopus:Octopus"),
    "psi4": Entry("ase.calculators.psi4:Psi4", stress=False),
    "qchem": Entry("ase.calculators.qchem:QChem", stress=False),
    "siesta": Entry("ase.calculators.siesta:Siesta"),
    "turbomole": Entry("ase.calculators.turbomole:Turbomole", stress=False),
}
_GROUP = "tunesmith.ase_calculators"


def _plugins() -> dict[str, EntryPoint]:
    return {e.name: e for e in plugins.offered(_GROUP)}


class AnyASE(Engine):
    """A calculator of ASE by name, with its own ``parameters``.

    Nobody but the calculator judges whether it converged. Where ASE does not,
    ``trust_convergence: true`` is required, and ``program_version``: ASE cannot ask for it.
    Charge and multiplicity are settings of the calculator: they go into ``parameters``, and
    structures that state another than these are refused.
    """

    kind: ClassVar[str] = "ase"
    install: ClassVar[str] = "see the calculator's page in ASE's documentation"

    calculator: str = Field(description="name of the calculator")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="the calculator's own parameters"
    )
    trust_convergence: bool = Field(False, description="the calculator stops when unconverged")
    program_version: str | None = Field(None, description="of a program ASE cannot ask for it")

    @model_validator(mode="after")
    def _known(self) -> "AnyASE":
        known = [*CALCULATORS, *_plugins()]
        if self.calculator not in known:
            raise ConfigError(
                f"reference.calculator: there is no {self.calculator!r}; "
                f"{nearest(self.calculator, known)}"
            )
        if (command := self.parameters.get("command")) is not None:
            refuse_shell(command, "reference.parameters.command")
        entry = CALCULATORS.get(self.calculator)
        if entry and not entry.judges and not (self.trust_convergence and self.program_version):
            raise ConfigError(
                f"reference.calculator: ASE does not check whether {self.calculator} converged; "
                "set trust_convergence: true if it stops by itself when it does not, and "
                "program_version to the version you run."
            )
        return self

    def version(self) -> str:
        entry = CALCULATORS.get(self.calculator)
        if entry is None:
            plugin = _plugins()[self.calculator]
            found = f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value
        elif entry.package == "ase":
            found = f"ase {ase.__version__}"
        else:
            found = require_package(entry.package, self.calculator, f"see {entry.package}'s pages")
        return found

    def refuse(self, atoms: Atoms) -> None:
        _same_state(atoms, self.charge, self.multiplicity)

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        entry = CALCULATORS.get(self.calculator)
        if entry is None:
            maker = _plugins()[self.calculator].load()
        else:
            module, _, name = entry.path.partition(":")
            maker = getattr(import_module(module), name)
        calculator = maker(**self.parameters)
        stress = atoms.pbc.all() and (entry.stress if entry else _has_stress(calculator))
        return harvest(atoms, calculator, stress=bool(stress))


class GivenCalculator(Engine):
    """A calculator object, used in this process: `from_calculator` makes one.

    A call in this process can be neither stopped nor survived: there is no ``timeout``, and what
    crashes the calculator crashes the caller.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    kind: ClassVar[str] = "calculator"
    install: ClassVar[str] = "nothing"

    calculator: Any = Field(exclude=True)
    named: dict[str, Any] = Field(exclude=True)

    @model_validator(mode="after")
    def _keepable(self) -> "GivenCalculator":
        unused = sorted({"timeout", "scratch", "threads"} & self.model_fields_set)
        if unused:
            raise ConfigError(
                f"{', '.join(unused)} cannot be kept for a calculator object in this process; use "
                "a calculator by name (kind: ase) for that."
            )
        if not self.named:
            raise ConfigError("identity is empty; say at least which method this calculator is.")
        return self

    def version(self) -> str:
        return f"ase {ase.__version__}"

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "calculator": self.named}

    def refuse(self, atoms: Atoms) -> None:
        _same_state(atoms, self.charge, self.multiplicity)

    def _label_in_scratch(self, atoms: Atoms, state: ElectronicState) -> Label | Failure:
        try:
            raw = self.compute(atoms, state, False)
            return sanity.to_label(raw, len(atoms), self._limits[0])
        except CallFailed as failure:
            return Failure(failure.kind, failure.reason)
        except Exception as error:  # whatever a calculator raises is its answer
            return Failure("crashed", f"{type(error).__name__}: {error}")

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        stress = atoms.pbc.all() and _has_stress(self.calculator)
        return harvest(atoms, self.calculator, stress=bool(stress))


def from_calculator(calculator: Any, identity: dict[str, Any], **limits: Any) -> GivenCalculator:
    """A reference from any ASE calculator object.

    identity: whatever tells its numbers from another calculator's, JSON values; labels are found
    again by it. limits: ``max_force``, ``min_distance``, ``charge``, ``multiplicity``.
    """
    return GivenCalculator(calculator=calculator, named=identity, **limits)


def _has_stress(calculator: Any) -> bool:
    return "stress" in getattr(calculator, "implemented_properties", ())


def _same_state(atoms: Atoms, charge: int, multiplicity: int | None) -> None:
    """Refuse a structure whose stated charge or multiplicity the calculator will not hear of."""
    if sanity.whole(atoms.info.get("charge", charge), "the charge") != charge:
        raise CallFailed(
            "refused",
            f"the structure's charge is {atoms.info['charge']} but this calculator is set up for "
            f"{charge:+d}; set reference.charge and the calculator's own parameter.",
        )
    lowest = 1 + (int(atoms.numbers.sum()) - charge) % 2
    known = lowest if multiplicity is None else multiplicity
    if sanity.whole(atoms.info.get("multiplicity", known), "the multiplicity") != known:
        raise CallFailed(
            "refused",
            f"the structure's multiplicity is {atoms.info['multiplicity']} but this calculator is "
            f"set up for {known}; set reference.multiplicity and the calculator's own parameter.",
        )
