"""When a structure is labelled: when an error over the target has become too likely.

On-the-fly Bayesian fine-tuning, section 3: P(|energy error| > K) over 5 % under the calibrated
predictive law; and, beyond the paper, the same for the force error of any atom, thresholds by
atom, element or region, a looser start, and a largest gap between labels.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms
from pydantic import Field, PrivateAttr, model_validator

from tunesmith.acquire.target import Target, positive
from tunesmith.contracts import Criterion
from tunesmith.core import Prediction, Quantities, Settings
from tunesmith.errors import ConfigError, ModelError


class ErrorLaw(Protocol):
    """What the criteria ask of a quantity's calibration; std is always raw, thresholds eV, eV/Å."""

    def std(self, raw: Any) -> Any: ...

    def exceedance(self, std: Any, threshold: Any) -> Any: ...

    def exceedance_any(self, std: Any, threshold: Any) -> float: ...


@dataclass(frozen=True)
class Limits:
    """The criteria for one structure as numbers.

    energy: K, eV; None: not asked. forces: (n,) eV/Å, inf for atoms not judged; None: not asked.
    probability: of an error over them, above which a label is wanted.
    """

    energy: float | None
    forces: np.ndarray | None
    probability: float


@dataclass(frozen=True)
class Decision:
    """Whether to label, and why, in words for people.

    probability: the largest of the criteria asked; 1 where the prediction is no number.
    energy_std: calibrated, eV (NaN where the posterior has no number). energy_probability,
    forces_probability: None where not asked. by: the criterion with that probability (`energy` or
    `forces`), or what asked in its place: `gap`, `not a number`.
    """

    label: bool
    probability: float
    reason: str
    energy_std: float
    energy_probability: float | None = None
    forces_probability: float | None = None
    by: str = ""


class Region(Settings):
    """Atoms with a force threshold of their own, tighter or looser than the target's.

    atoms: indices from 0, as a list or as "0-4, 7" (both ends included). forces: "50 meV/Å".
    """

    atoms: str | tuple[int, ...] = Field(description="indices from 0, a list or as '0-4, 7'")
    forces: str = Field(description="largest force error of any of them")
    _indices: tuple[int, ...] = PrivateAttr(())
    _limit: float = PrivateAttr(0.0)

    @model_validator(mode="after")
    def _read(self) -> "Region":
        self._indices = _indices(self.atoms)
        self._limit = positive(self.forces, "force", "forces").value
        return self


class Threshold(Criterion):
    """Label where P(error > threshold) is over the target's probability.

    regions: atoms whose force threshold replaces the target's. start_factor, start_labels: the
    thresholds begin start_factor times as wide and shrink geometrically to their own over the
    first start_labels labels. max_gap: simulated time after which a label is made anyway.
    """

    kind: ClassVar[str] = "threshold"
    regions: tuple[Region, ...] = Field((), description="atoms with force thresholds of their own")
    start_factor: float = Field(1.0, ge=1, description="thresholds start this much wider")
    start_labels: int = Field(0, ge=0, description="labels after which they are themselves")
    max_gap: str | None = Field(
        None, description="longest simulated time without a label, as 200 fs"
    )
    _max_gap: float = PrivateAttr(np.inf)  # fs

    @model_validator(mode="after")
    def _check(self) -> "Threshold":
        if (self.start_factor > 1) != (self.start_labels > 0):
            given, other = ("start_factor", "start_labels")[:: 1 if self.start_labels == 0 else -1]
            raise ConfigError(
                f"acquire.{given}: does nothing without acquire.{other}; give both, as "
                "start_factor: 4 and start_labels: 10."
            )
        everywhere = [i for region in self.regions for i in region._indices]
        twice = sorted({i for i in everywhere if everywhere.count(i) > 1})
        if twice:
            raise ConfigError(
                f"acquire.regions: atom {twice[0]} is named twice; keep it in one region, once."
            )
        if self.max_gap is not None:
            self._max_gap = positive(self.max_gap, "time", "acquire.max_gap").value
        return self

    def judges_forces(self, target: Target) -> bool:
        return target.forces is not None or bool(self.regions)

    def factor(self, labels: int) -> float:
        """How much wider the thresholds are after so many labels: f^(1 − labels/start_labels)."""
        if labels >= self.start_labels:
            return 1.0
        return float(self.start_factor ** (1 - labels / self.start_labels))

    def limits(self, target: Target, atoms: Atoms, labels: int) -> Limits:
        """The criteria for this structure.

        labels: made so far because they were asked for (0 at the first step; those a run starts
        from are not counted). Raises `ConfigError` where the target does not fit the structure.
        """
        factor = self.factor(labels)
        energy = target.energy_of(atoms)
        forces = target.forces_of(atoms)
        if self.regions:
            forces = np.full(len(atoms), np.inf) if forces is None else forces
            for region in self.regions:
                if max(region._indices) >= len(atoms):
                    raise ConfigError(
                        f"acquire.regions: atom {max(region._indices)} is named, but a structure "
                        f"has {len(atoms)} atoms, 0 to {len(atoms) - 1}; correct the region."
                    )
                forces[list(region._indices)] = region._limit
        if energy is None and (forces is None or not np.any(forces < np.inf)):
            raise ConfigError(
                f"target: nothing of {atoms.get_chemical_formula()} is judged; give energy (as "
                "'0.5 kcal/mol') or forces (as '100 meV/Å') that apply to it."
            )
        return Limits(
            None if energy is None else factor * energy,
            None if forces is None else factor * forces,
            target.probability,
        )

    def decide(
        self,
        limits: Limits,
        prediction: Prediction,
        calibration: Mapping[str, ErrorLaw],
        gap: float = 0.0,
    ) -> Decision:
        """Whether to label one structure.

        prediction: of that structure alone. calibration: by quantity, "energy" always and, where
        forces are judged, "forces". gap: simulated time since the last label, fs. A prediction
        that is no number is labelled, and should make no calibration record. Raises `ModelError`
        where the posterior has no spread.
        """
        raw = prediction.std()
        if raw is None:
            raise ModelError(
                "acquire: an error's probability needs a spread, but this model has one member; "
                "use a committee (tune.sampler.members of 2 or more)."
            )
        energy_std = float(calibration["energy"].std(raw.energy[0]))
        if not _finite(limits, prediction.mean, raw):
            said = "the prediction is not a finite number"
            return Decision(True, 1.0, said, energy_std, by="not a number")
        found: dict[str, tuple[float, str]] = {}
        if (k := limits.energy) is not None:
            p = float(calibration["energy"].exceedance(raw.energy[0], k))
            found["energy"] = p, f"P(|energy error| > {1e3 * k:.3g} meV) = {_percent(p)}"
        if limits.forces is not None:
            p = calibration["forces"].exceedance_any(raw.forces, limits.forces)
            found["forces"] = p, f"P({_forces_in_words(limits.forces, raw)}) = {_percent(p)}"
        by, (probability, reason) = max(found.items(), key=lambda item: item[1])
        label = probability > limits.probability
        if not label and gap >= self._max_gap * (1 - 1e-9):  # sums of time steps are not exact
            label, by = True, "gap"
            reason = f"no label for {self.max_gap} (acquire.max_gap); {reason}"
        each = {f"{name}_probability": p for name, (p, _) in found.items()}
        return Decision(label, probability, reason, energy_std, **each, by=by)


def _finite(limits: Limits, mean: Quantities, raw: Quantities) -> bool:
    """Whether all that drives the dynamics and all that is judged are finite numbers."""
    values = [mean.energy, mean.forces, raw.energy]
    if limits.forces is not None:
        values.append(raw.forces[limits.forces < np.inf])
    return all(np.isfinite(v).all() for v in values)


def _forces_in_words(limits: np.ndarray, raw: Quantities) -> str:
    """The likeliest atom over its threshold, and that threshold."""
    with np.errstate(divide="ignore", invalid="ignore"):
        i = int(np.argmax(np.linalg.norm(raw.forces, axis=1) / limits))
    return f"a force error > {1e3 * limits[i]:.3g} meV/Å, likeliest at atom {i}"


def _percent(probability: float) -> str:
    return f"{100 * probability:.2g} %" if probability < 0.995 else "100 %"


def _indices(atoms: str | tuple[int, ...]) -> tuple[int, ...]:
    """Indices as they are written, ranges with both ends. Raises `ConfigError`."""
    if isinstance(atoms, tuple):
        found = list(atoms)
    else:
        found = []
        for part in atoms.split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if match is None or int(match[2] or match[1]) < int(match[1]):
                raise ConfigError(f"atoms: {part.strip()!r} is no index and no range as '0-4'.")
            found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or min(found) < 0:
        raise ConfigError(f"atoms: {atoms!r} was given, but indices from 0 are needed.")
    return tuple(found)
