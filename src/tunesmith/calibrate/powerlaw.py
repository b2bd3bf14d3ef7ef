"""A power law from raw spreads to errors, σ_cal = a σ̂^b: small and large spreads need not be wrong
by the same factor.

Calibrated adversarial geometry optimisation, eqs 4 and 5. With σ̂_0 the geometric mean of all σ̂ and
s_b = σ̂_0 (σ̂/σ̂_0)^b, an error is N(0, s_b²/λ): for given b the law is that of `gamma` with s_b in
the place of σ̂. The exponent is found by `exponent`.

| symbol | here |
|---|---|
| n, M_b, σ̂_0 | `weight`, `mean_square` (of e²/s_b²), `centre` |
| A = shape + n/2, B = rate + n M_b/2 | `posterior` |
| a = sqrt(B/(A − 1)) σ̂_0^(1−b) | `a`, in units of (unit of σ̂)^(1−b) |
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from tunesmith.calibrate import spreads, student
from tunesmith.calibrate.powerlaw_exponent import HIGHEST, LOWEST, exponent
from tunesmith.contracts import Law
from tunesmith.errors import ConfigError, DataError

#: points below which a law is not fitted
FEWEST = 20
#: a law is trusted where rms σ_cal and rms error differ by no more than this factor, beyond two
#: standard errors of the latter
AGREEMENT = 1.25
_PRINTED = 5.1e-4  # of a number: what four digits leave out
#: of the rms σ̂; below it members agree to rounding, as where symmetry makes a force zero
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Reliability:
    """By groups of points of similar σ̂ (groups,): rms σ_cal, rms error, points."""

    std: np.ndarray
    error: np.ndarray
    points: np.ndarray

    @property
    def uncertainty(self) -> np.ndarray:
        """Standard errors of ln(rms error), were the points independent and Gaussian."""
        return np.asarray(1 / np.sqrt(2 * self.points))

    @property
    def agrees(self) -> np.ndarray:
        """Whether the two differ by no more than what the number of points can tell."""
        with np.errstate(divide="ignore"):
            apart = np.abs(np.log(self.error / self.std))
        return np.asarray(apart <= np.log(AGREEMENT) + 2 * self.uncertainty)


class PowerLaw(Law):
    """Calibration of one quantity, settings and state in one frozen, JSON-able object.

    shape, rate: of λ's prior, as of `GammaCalibration`. width: how far from 1 the exponent may be
    beforehand; 0: it is 1, and the law is that of `GammaCalibration`; None: no belief. floor: added
    in quadrature to every σ̂, in its unit, so that the law is smooth at σ̂ = 0; points below it say
    nothing. State: records so far, table of their points (`spreads`), and the law that follows from
    both. low, high: raw σ̂ between which the law was seen to hold; None: not known.
    """

    kind: ClassVar[str] = "power-law"
    has_range: ClassVar[bool] = True
    shape: float = Field(
        1.5, ge=1, description="shape of the prior over the inverse variance scale"
    )
    rate: float = Field(10.0, ge=0, description="rate of that prior; larger is more cautious")
    width: float | None = Field(
        0.25, ge=0, description="the exponent is 1 ± this beforehand; 0: is 1; null: no belief"
    )
    floor: float = Field(0.0, ge=0, description="added in quadrature to every raw std")
    records: int = Field(0, ge=0, description="state: records so far")
    table: spreads.Table = Field((), description="state: their points, by raw std")
    weight: float = Field(0.0, ge=0, description="state: sum of the points' weights")
    centre: float = Field(1.0, gt=0, description="state: geometric mean of the raw std")
    b: float = Field(1.0, ge=LOWEST, le=HIGHEST, description="state: the exponent")
    mean_square: float = Field(0.0, ge=0, description="state: mean of error²/std^2b, scaled")
    low: float | None = Field(None, ge=0, description="state: raw std from which the law holds")
    high: float | None = Field(None, ge=0, description="state: raw std up to which it holds")

    @model_validator(mode="after")
    def _check_state(self) -> Self:
        state = (self.weight, self.mean_square, self.table, self.low, self.high)
        if not self.records and (any(state) or (self.b, self.centre) != (1, 1)):
            raise ConfigError("calibrate.records: 0, but there is a law; leave all state out.")
        if self.records and not (self.weight and self.table):
            raise ConfigError("calibrate.table: records without points; leave all state out.")
        if not self.records and not (self.shape > 1 and self.rate > 0 and self.width is not None):
            raise ConfigError(
                "calibrate.width: a power law without records needs a belief; give shape over 1, "
                "rate over 0 and a width."
            )
        return self

    @classmethod
    def fit(cls, std: Any, error: Any, *, floor: float | None = None) -> Self:
        """The law of largest likelihood, every point alike, as in the paper.

        std: raw, any shape. error: of the same shape, or (M, *shape): of every member, whose law
        is then that of a single member's error. floor: None: a thousandth of the rms std. Points
        below it are left out. Structures of equal size give the same a and b by `update`, where
        each is one record, if there is no belief beforehand.

        Raises `DataError` for fewer than `FEWEST` points, for arrays that do not fit or hold no
        numbers, and where errors do not grow with the std.
        """
        s, square = _points(std, error)
        floor = _ROUNDING * float(np.sqrt(np.mean(s**2))) if floor is None else floor
        counts = s > floor
        if (n := int(counts.sum())) < FEWEST:
            said = f"there are {n}" if n == len(s) else f"of {len(s)}, members differ in {n}"
            raise DataError(
                f"calibration: a power law needs {FEWEST} points or more, and {said}; give more "
                "labelled structures, or set calibrate.kind to gamma."
            )
        table = spreads.table_of(np.hypot(s[counts], floor), square[counts], 1.0)
        rows = spreads.columns(table)
        if not rows.ratio.any():
            raise DataError("calibration: all errors are zero; give labels of a reference.")
        b = exponent(rows, 1.0, 0.0, None)
        if not LOWEST < b < HIGHEST:
            raise DataError(
                "calibration: errors do not grow with the members' spread as a power law's do (its "
                f"exponent would be {b:g} or beyond); give more or more varied structures, more "
                "members, or set calibrate.kind to gamma."
            )
        state = {**_state(table, rows, b), "records": n}
        return cls(shape=1.0, rate=0.0, width=None, floor=floor, **state)._with_range()

    def update(self, std: Any, error: Any) -> Self:
        """With one record more, of one label: raw std, and error as of `fit`.

        Arrays (the force components of one structure) make one record, each of n points with
        weight 1/n, since errors within a structure are far from independent. Raises `DataError`
        where a std is not over the floor, or anything is not finite.
        """
        s, square = _points(std, error)
        if not self.floor:
            student.refuse_bad(s)
        if not (counts := s > self.floor).any():
            raise DataError(
                f"calibration: no std of this record is over the floor, {self.floor:g}; leave it "
                "out or lower calibrate.floor."
            )
        more = np.hypot(s[counts], self.floor), square[counts]
        table = spreads.merged(self.table, spreads.table_of(*more, 1 / counts.sum()))
        rows = spreads.columns(table)
        b = exponent(rows, self.shape, self.rate, self.width)
        state = {**_state(table, rows, b), "records": self.records + 1, "low": None, "high": None}
        return self.model_copy(update=state)._with_range()

    # --------------------------------------------------------------------------- the law

    @property
    def posterior(self) -> tuple[float, float]:
        """Shape A and rate B of the Gamma posterior over λ."""
        return self.shape + self.weight / 2, self.rate + self.weight * self.mean_square / 2

    @property
    def a(self) -> float:
        """σ_cal = a σ̂^b; in units of (unit of σ̂)^(1−b)."""
        return float(self._scale * self.centre ** (1 - self.b))

    @property
    def _scale(self) -> float:
        """λ_MAP^(−1/2)."""
        shape, rate = self.posterior
        return float(np.sqrt(rate / (shape - 1)))

    def _shaped(self, raw: Any) -> Any:
        """s_b of raw ones, of their shape and unit; NaN where they are negative."""
        raw = np.asarray(raw, float)
        floored = np.hypot(np.where(raw < 0, np.nan, raw), self.floor)
        return floored if self.b == 1 else self.centre * (floored / self.centre) ** self.b

    def std(self, raw: Any) -> Any:
        """Calibrated standard deviation of raw ones, any shape; NaN stays NaN."""
        return self._shaped(raw)[()] * self._scale

    def derivative(self, raw: Any) -> Any:
        """dσ_cal/dσ̂ at raw ones, any shape; 0 at 0 where there is a floor."""
        raw = np.asarray(raw, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.b * raw * self.std(raw) / np.hypot(raw, self.floor) ** 2)[()]

    def raw(self, calibrated: Any) -> Any:
        """The raw standard deviation of calibrated ones, any shape; 0 below what the floor has."""
        floored = (np.asarray(calibrated, float) / self.a) ** (1 / self.b)
        return np.sqrt(np.maximum(floored**2 - self.floor**2, 0))[()]

    def exceedance(self, std: Any, threshold: Any) -> Any:
        """P(|error| > threshold) for raw std, elementwise: the Student-t's two tails.

        A threshold may be infinite. Raises `DataError` where a std is NaN or not positive.
        """
        return student.exceedance(self.posterior, self._shaped(std), threshold)

    def exceedance_any(self, std: Any, threshold: Any) -> float:
        """P(the error vector of any atom is longer than the atom's threshold).

        std: (n, 3) raw, of force components; threshold: (n,); `student.exceedance_any`.
        """
        return student.exceedance_any(self.posterior, self._shaped(std), threshold)

    def locked_out(self, floor: Any, threshold: Any, probability: float = 0.05) -> bool:
        """Whether even the smallest raw std there can be, ``floor``, would ask for a label."""
        return bool(self.exceedance(floor, threshold) > probability)

    # ------------------------------------------------------------------- where it holds

    def reliability(self) -> Reliability:
        """Calibrated std against errors, by groups of `spreads.groups`."""
        found = []
        for part in spreads.groups(self.table):
            rows = spreads.columns(self.table[part])
            square = np.exp(2 * rows.log)
            shaped = self.centre**2 * (square / self.centre**2) ** self.b
            std, error = self._scale**2 * shaped, rows.ratio * square
            means = [np.sqrt(np.average(v, weights=rows.weight)) for v in (std, error)]
            found.append((*means, rows.points.sum()))
        std, error, points = np.array(found).reshape(-1, 3).T
        return Reliability(std, error, points.astype(int))

    def _with_range(self) -> Self:
        """With low and high: the ends of the longest stretch of groups that agree."""
        curve = self.reliability()
        ends = np.flatnonzero(np.diff(np.concatenate([[False], curve.agrees, [False]])))
        stretches = list(zip(ends[::2], ends[1::2] - 1, strict=True))
        if not stretches:
            return self
        first, last = max(stretches, key=lambda e: curve.points[e[0] : e[1] + 1].sum())
        low, high = (float(self.raw(curve.std[i])) for i in (first, last))
        return self.model_copy(update={"low": low, "high": high})

    def reach(self, components: int = 3) -> tuple[float, float] | None:
        """Errors between which the law was seen to hold, as lengths of a vector of so many
        components like the points; None: not known."""
        if self.low is None or self.high is None:
            return None
        low, high = np.sqrt(components) * self.std([self.low, self.high])
        return float(low), float(high)

    def check_target(self, target: float, components: int = 3) -> None:
        """Raise `ConfigError` where an error of this size is beyond what the law was seen to hold
        for; ``target`` is the length, eV/Å, of a vector of so many components like the points."""
        if (ends := self.reach(components)) is None:
            raise ConfigError(
                f"target: {1e3 * target:.4g} meV/Å is asked for, but no range is known in which "
                "the calibration holds; calibrate on more labelled structures."
            )
        # ends as they are printed are within
        if not ends[0] * (1 - _PRINTED) <= target <= ends[1] * (1 + _PRINTED):
            asked = f"target: {1e3 * target:.4g} meV/Å is outside"
            if ends[0] == ends[1]:
                raise ConfigError(
                    f"{asked} of what the calibration was seen to hold for, errors near "
                    f"{1e3 * ends[0]:.4g} meV/Å alone: choose that, or calibrate on more."
                )
            raise ConfigError(
                f"{asked} {1e3 * ends[0]:.4g} to {1e3 * ends[1]:.4g} meV/Å, where the calibration "
                "was seen to hold; choose it within, or calibrate on structures with such errors."
            )


def by_element(std: Any, error: Any, numbers: Any) -> dict[int, PowerLaw]:
    """A law of each element's force components; of all, where those of an element make none.

    std: (n, 3); error: (n, 3) or (M, n, 3); numbers: (n,) atomic numbers. Raises as `PowerLaw.fit`
    for all of them together.
    """
    s, e, z = np.asarray(std, float), np.asarray(error, float), np.asarray(numbers)
    if s.shape != (len(z), 3) or e.shape[-2:] != s.shape:
        raise DataError(
            f"calibration: {len(z)} atomic numbers do not fit std of shape {s.shape} and error of "
            f"shape {e.shape}; give three components an atom."
        )
    laws = {}
    common = PowerLaw.fit(s, e)
    for element in np.unique(z).tolist():
        try:
            laws[element] = PowerLaw.fit(s[z == element], e[..., z == element, :])
        except DataError:
            laws[element] = common
    return laws


def _state(table: spreads.Table, rows: spreads.Columns, b: float) -> dict[str, Any]:
    z = rows.log - np.log(rows.centre)
    square = np.average(rows.ratio * np.exp(2 * (1 - b) * z), weights=rows.weight)
    return {
        "table": table,
        "weight": rows.total,
        "centre": rows.centre,
        "b": b,
        "mean_square": float(square),
    }


def _points(std: Any, error: Any) -> tuple[np.ndarray, np.ndarray]:
    """Raw std and mean square error over members, as vectors. Raises `DataError`."""
    s, e = np.asarray(std, float), np.asarray(error, float)
    if s.size == 0 or s.shape not in (e.shape, e.shape[1:]) or e.size == 0:
        raise DataError(
            f"calibration: std of shape {s.shape} and error of shape {e.shape} make no points; "
            "give one error per std, or one of every member in front."
        )
    if not ((s >= 0) & (s < np.inf)).all():
        student.refuse_bad(s)
    square = e**2 if e.shape == s.shape else np.mean(e**2, axis=0)
    if not np.isfinite(square).all():
        raise DataError("calibration: an error is not a finite number; leave this record out.")
    return s.ravel(), square.ravel()
