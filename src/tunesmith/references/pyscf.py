"""Hartree-Fock and density functionals for molecules by PySCF.

Periodic structures are refused: the stress PySCF's ASE interface gives is off by a factor of
1/bohr² against eV/Å³, and this module has no k-points.
"""

import contextlib
import warnings
from typing import Any, ClassVar

from ase import Atoms
from ase.units import Bohr, Hartree
from pydantic import Field, model_validator

from tunesmith.errors import ConfigError
from tunesmith.references.engine import Engine, require_package
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.worker import CallFailed


class PySCF(Engine):
    """xc: a functional PySCF knows, or "hf". conv_tol: of the energy, Hartree.

    Restricted for singlets, unrestricted otherwise. Where a basis set comes with effective core
    potentials they are used. density_fit: Coulomb (and exchange) by density fitting. grid_level:
    0 (coarse) to 9. grid_response: forces include how the grid moves with the atoms; without it
    they miss the energy's gradient by some meV/Å, and save a tenth of the time. max_memory: MB.
    Dispersion corrections (-D3, -D4) are not supported and refused.
    """

    kind: ClassVar[str] = "pyscf"
    install: ClassVar[str] = "pip install 'tunesmith[dft]'"
    can_retry: ClassVar[bool] = True

    xc: str = Field("pbe", description="a functional PySCF knows, or hf")
    basis: str = Field("def2-svp", description="basis set")
    density_fit: bool = Field(True, description="density fitting")
    grid_level: int = Field(3, ge=0, le=9, description="integration grid, 0 (coarse) to 9")
    grid_response: bool = Field(True, description="forces include how the grid moves")
    conv_tol: float = Field(1e-9, gt=0, description="of the energy, Hartree")
    max_cycle: int = Field(100, ge=1, description="SCF cycles at most")
    max_memory: int = Field(4000, ge=100, description="MB")

    @model_validator(mode="after")
    def _known(self) -> "PySCF":
        words = self.xc.lower()
        if any(words.rstrip("0123456789bjzmtup()").endswith(f"-{d}") for d in ("d3", "d4", "d")):
            raise ConfigError(
                f"reference.xc: {self.xc!r} asks for a dispersion correction, which is not "
                "supported here; use a functional without one."
            )
        try:
            from pyscf.dft import libxc
        except ImportError:
            return self  # `label` says that it is missing
        try:
            if words != "hf":
                libxc.parse_xc(self.xc)
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"reference.xc: PySCF knows no functional {self.xc!r}; try pbe, b3lyp or hf."
            ) from error
        if not _has_basis(self.basis):
            raise ConfigError(
                f"reference.basis: PySCF knows no basis set {self.basis!r}; try def2-svp or "
                "def2-tzvp."
            )
        return self

    def identity(self) -> dict[str, Any]:
        settings = super().identity()
        del settings["max_memory"]
        return settings

    def version(self) -> str:
        return require_package("pyscf", "PySCF", self.install)

    def refuse(self, atoms: Atoms) -> None:
        if atoms.pbc.any():
            raise CallFailed(
                "refused",
                "PySCF labels molecules only here (its periodic stress is wrong); set pbc=False "
                "for a molecule, or use cp2k or espresso.",
            )

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        """One SCF: the gradient is made from it."""
        field = self.mean_field(atoms, state.charge, state.multiplicity)
        if safer:
            field = field.newton()  # second order: slower steps that go downhill
            field.max_cycle = 4 * self.max_cycle
        energy = field.kernel()
        if not field.converged:
            raise CallFailed(
                "not-converged", f"PySCF: SCF not converged in {field.max_cycle} cycles."
            )
        gradient = field.nuc_grad_method()
        gradient.grid_response = self.grid_response
        forces = -gradient.kernel() * Hartree / Bohr
        return {"energy": energy * Hartree, "forces": forces}

    def mean_field(self, atoms: Atoms, charge: int, multiplicity: int) -> Any:
        """PySCF's own object, not yet run."""
        from pyscf import dft, gto, scf

        elements = sorted(set(atoms.get_chemical_symbols()))
        for element in elements:
            if not _has_basis(self.basis, element):
                raise CallFailed("refused", f"PySCF has no basis {self.basis} for {element}.")
        molecule = gto.M(
            atom=[(a.symbol, a.position / Bohr) for a in atoms],
            unit="Bohr",  # ASE's own bohr, so that energy and forces belong together
            basis=self.basis,
            ecp={e: self.basis for e in elements if _has_core(self.basis, e)},
            charge=charge,
            spin=multiplicity - 1,
            max_memory=self.max_memory,
            verbose=4,
        )
        restricted = multiplicity == 1
        if self.xc.lower() == "hf":
            field = scf.RHF(molecule) if restricted else scf.UHF(molecule)
        else:
            field = (dft.RKS if restricted else dft.UKS)(molecule, xc=self.xc)
            field.grids.level = self.grid_level
        if self.density_fit:
            field = field.density_fit()
        field.conv_tol, field.max_cycle = self.conv_tol, self.max_cycle
        return field


def _has_basis(basis: str, element: str | None = None) -> bool:
    """Whether PySCF has it for an element; without one, for any of some common elements."""
    from pyscf.gto.basis import load
    from pyscf.lib.exceptions import BasisNotFoundError

    for symbol in (element,) if element else ("H", "C", "Si", "Fe", "I", "Au"):
        with contextlib.suppress(BasisNotFoundError, KeyError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to install a package of more basis sets
            if load(basis, symbol):
                return True
    return False


def _has_core(basis: str, element: str) -> bool:
    from pyscf.gto.basis import load_ecp
    from pyscf.lib.exceptions import BasisNotFoundError

    try:
        return bool(load_ecp(basis, element))
    except (BasisNotFoundError, KeyError):
        return False
