"""GFN1-xTB and GFN2-xTB by tblite: milliseconds a label."""

from typing import Any, ClassVar, Literal

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from pydantic import Field

from tunesmith.references.engine import Engine, harvest, refuse_partly_periodic, require_package
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed


class TBLite(Engine):
    """Settings are tblite's own; see its documentation. electronic_temperature: K.

    The energy is the free energy at the electronic temperature. Periodic structures are computed
    at the Γ point only: use cells large enough for that, no primitive ones.
    """

    kind: ClassVar[str] = "tblite"
    install: ClassVar[str] = "pip install 'tunesmith[xtb]'"
    can_retry: ClassVar[bool] = True

    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN2-xTB", description="GFN1-xTB or GFN2-xTB")
    accuracy: float = Field(1.0, gt=0, description="tblite's accuracy; smaller is tighter")
    electronic_temperature: float = Field(300.0, gt=0, description="of the electrons, K")
    max_iterations: int = Field(250, ge=1, description="self-consistency steps at most")

    def version(self) -> str:
        return require_package("tblite", "tblite", self.install)

    def refuse(self, atoms: Atoms) -> None:
        refuse_partly_periodic(atoms, "tblite")  # it would silently make it periodic in all three

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        from tblite.ase import TBLite as Calculator

        calculator = Calculator(
            method=self.method,
            charge=state.charge,
            multiplicity=state.multiplicity,
            accuracy=self.accuracy,
            electronic_temperature=self.electronic_temperature,
            max_iterations=4 * self.max_iterations if safer else self.max_iterations,
            mixer_damping=0.1 if safer else 0.4,
            verbosity=0,
        )
        try:
            return harvest(atoms, calculator, stress=bool(atoms.pbc.all()))
        except InputError as error:
            raise CallFailed("refused", f"tblite: {error}.") from error
        except CalculationFailed as error:
            kind = "not-converged" if "not converged" in str(error) else "crashed"
            raise CallFailed(kind, f"tblite: {error}.") from error
