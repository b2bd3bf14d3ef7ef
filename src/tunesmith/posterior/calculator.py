"""The ASE calculator of any model: a name, a model file or a run folder."""

from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from tunesmith.contracts import Posterior
from tunesmith.posterior.ensemble import open_model


class Calculator(ASECalculator):
    """Energy (eV, isolated-atom energies included), forces (eV/Å) and stress (eV/Å³, Voigt).

    A model with several members or with predicted noise also has ``energy_std_raw`` (eV) and
    ``forces_std_raw`` (n, 3) eV/Å, the uncalibrated spread, and of periodic structures
    ``stress_std_raw`` (6,) eV/Å³; a run that calibrated them has ``energy_std``, ``forces_std`` and
    ``stress_std``, which can be trusted as standard deviations. What a model does not have raises
    ASE's ``PropertyNotImplementedError``.

        atoms.calc = tunesmith.Calculator("run")
    """

    implemented_properties = [  # noqa: RUF012
        "energy",
        "free_energy",
        "forces",
    ]

    def __init__(
        self,
        model: str | Path | Posterior,
        *,
        head: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        **ase_options: Any,
    ) -> None:
        super().__init__(**ase_options)
        if not isinstance(model, Posterior):
            model = open_model(model, head=head, dtype=dtype, device=device)
        self.posterior: Posterior = model
        names = list(type(self).implemented_properties)
        if self.posterior.potential.capabilities.stress:
            names.append("stress")
        self._judged = [name for name in self.posterior.judged if name in names]
        names += [f"{name}_std_raw" for name in self._judged]
        names += [f"{name}_std" for name in self._judged if name in self.posterior.calibration]
        self.implemented_properties = names

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Predict everything the structure allows in one pass."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        wanted = any(name.startswith("stress") for name in properties or ())
        stress = bool(self.atoms.pbc.all()) and wanted
        prediction = self.posterior.predict([self.atoms], stress=stress)
        mean, spread = prediction.mean, prediction.std()
        energy = float(mean.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": mean.forces}
        if stress and mean.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(mean.stress[0])
        if spread is None:
            return
        raw = {"energy": float(spread.energy[0]), "forces": spread.forces}
        if spread.stress is not None:
            raw["stress"] = full_3x3_to_voigt_6_stress(spread.stress[0])
        for name in self._judged:
            if name in raw:
                self.results[f"{name}_std_raw"] = raw[name]
                if (law := self.posterior.calibration.get(name)) is not None:
                    self.results[f"{name}_std"] = law.std(raw[name])
