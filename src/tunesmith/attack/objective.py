"""What an attack makes small: every atom's expected force error less the one wanted.

Calibrated adversarial geometry optimisation (CAGO), eq. 8, for what M models say of N atoms:

    L = Σ_i [ (σ_i − δ)² + l |F̄_i|² ] + N δ² Σ_q ((q̄ − q₀)/w)²
    σ_i² = Σ_c s(σ̂_ic)²,     σ̂_ic² = Σ_m (F_mic − F̄_ic)²/(M − 1)

| symbol | here |
|---|---|
| δ, l | `Target`: ``error``, ``force_bias`` |
| s, s′ | ``law``: the calibration's `std`, its `derivative`; none: as it is |
| q̄, q₀, w | `Pull`: a scalar of the models' mean, where it is pulled, the width |

σ̂ is what the models differ by and nothing else (eq. 2): noise that they predict beside it is
lowered more easily than they are brought to agree, and an attack would then follow the noise head
while the error grows. So s is a law of that spread alone.

The calibration is of components and the root-sum-square is taken after it. A pull of width w costs
for a deviation by w as much as all atoms being off by δ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunesmith.contracts import Law
from tunesmith.core import Judged, Quantities

#: a scalar of mean energy (1,) eV, forces (n, 3) and stress (3, 3), and its slope by each of them
Scalar = Callable[[Quantities], tuple[float, Quantities]]


@dataclass(frozen=True)
class Pull:
    """A scalar that is pulled to a value; width: what counts as far, both in the scalar's unit."""

    scalar: Scalar
    value: float
    width: float
    needs_stress: bool = False


@dataclass(frozen=True)
class Target:
    """Eq. 8 as an `Objective`. error: δ, eV/Å. law: of the forces' spread over models; None: taken
    as it is."""

    error: float
    law: Law | None = None
    force_bias: float = 0.0
    pulls: Sequence[Pull] = ()

    @property
    def needs_stress(self) -> bool:
        return any(pull.needs_stress for pull in self.pulls)

    def judge(self, members: Quantities) -> Judged:
        """The objective and its slopes; see `core.Objective`."""
        count = len(members.energy)
        mean = Quantities(
            members.energy.mean(0),
            members.forces.mean(0),
            None if members.stress is None else members.stress.mean(0),
        )
        std, by_forces = self._spread(members.forces)
        value = float(np.sum((std - self.error) ** 2))
        value += self.force_bias * float(np.sum(mean.forces**2))
        # of the mean, which every member has a share of
        energy = np.zeros(())
        forces = 2 * self.force_bias * mean.forces
        stress = None if mean.stress is None else np.zeros((3, 3))
        for pull in self.pulls:
            found, slope = pull.scalar(mean)
            off, weight = (found - pull.value) / pull.width, len(std) * self.error**2
            value += weight * off**2
            factor = 2 * weight * off / pull.width
            energy = energy + factor * slope.energy
            forces = forces + factor * slope.forces
            if stress is not None and slope.stress is not None:
                stress = stress + factor * slope.stress
        slopes = Quantities(
            np.repeat(energy / count, count),
            by_forces + forces / count,
            None if stress is None else np.repeat(stress[None] / count, count, axis=0),
        )
        return Judged(value, std, slopes)

    def _spread(self, forces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """σ_i (n,), and the slope of Σ (σ_i − δ)² by members' forces."""
        off = forces - forces.mean(0)
        raw = np.sqrt((off**2).sum(0) / (len(forces) - 1))
        calibrated, rate = _lawful(self.law, raw)
        std = np.sqrt((calibrated**2).sum(1))
        # dL/dσ̂²; where models agree exactly σ has no derivative, and zero is one of its slopes
        with np.errstate(divide="ignore", invalid="ignore"):
            by_variance = (1 - self.error / std)[:, None] * calibrated * rate / raw
        by_variance = np.where((raw > 0) & (std > 0)[:, None], by_variance, 0.0)
        return std, 2 * by_variance * off / (len(forces) - 1)


def _lawful(law: Law | None, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
    """Calibrated standard deviations and their derivative by raw ones."""
    if law is None:
        return raw, 1.0
    return law.std(raw), law.derivative(raw)


# ------------------------------------------------------------------- what can be pulled


def pressure(mean: Quantities) -> tuple[float, Quantities]:
    """−tr(stress)/3, eV/Å³."""
    assert mean.stress is not None
    slope = Quantities(np.zeros(()), np.zeros_like(mean.forces), -np.eye(3) / 3)
    return -float(np.trace(mean.stress)) / 3, slope


def energy_per_atom(mean: Quantities) -> tuple[float, Quantities]:
    """eV."""
    n = len(mean.forces)
    slope = Quantities(np.array(1 / n), np.zeros_like(mean.forces))
    return float(mean.energy) / n, slope


def rms_force(mean: Quantities) -> tuple[float, Quantities]:
    """Root of the mean over atoms of |F̄_i|², eV/Å."""
    n = len(mean.forces)
    size = float(np.sqrt(np.sum(mean.forces**2) / n))
    slope = mean.forces / (n * size) if size > 0 else np.zeros_like(mean.forces)
    return size, Quantities(np.zeros(()), slope)


#: name → the scalar, the dimension of its unit, whether it needs a stress
QUANTITIES: dict[str, tuple[Scalar, Literal["energy", "force", "stress"], bool]] = {
    "energy": (energy_per_atom, "energy", False),
    "force": (rms_force, "force", False),
    "pressure": (pressure, "stress", True),
}
