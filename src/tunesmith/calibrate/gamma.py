"""How far raw spreads can be trusted, learnt from errors: a Gamma posterior over one scale.

On-the-fly Bayesian fine-tuning, section 3 and appendix B.11. An error e of a raw standard
deviation σ is taken as N(0, σ²/λ), with λ ~ Gamma(a, rate b) beforehand. After n records,

    M_n = (1/n) Σ e_i²/σ_i²        λ | records ~ Gamma(A, rate B),  A = a + n/2,  B = b + n M_n/2
    e*/σ* ~ Student-t of 2A degrees of freedom and scale² = B/A

| symbol | here |
|---|---|
| n, M_n | `effective`, `mean_square` |
| A, B | `posterior` |
| λ_MAP = (A − 1)/B | `std` divides by its root |

The defaults are under-confident on purpose: over-confidence would stop the very labels that could
correct it. Errors and spreads come in any unit, both in the same.
"""

from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from tunesmith.calibrate import student
from tunesmith.contracts import Law
from tunesmith.errors import ConfigError, DataError

_A, _B = 1.5, 10.0


class GammaCalibration(Law):
    """Calibration of one quantity, settings and state in one frozen, JSON-able object.

    a, b: shape and rate of λ's prior (a = 1.5 for MACE, 3 for NequIP in the paper). memory: how
    many records the mean remembers; a record's weight falls by exp(−1/memory) with each later
    one, so that a new phase re-opens the calibration. None: all records count alike.
    State: records seen, Σw, Σw² and the weighted mean M_n of e²/σ².
    """

    kind: ClassVar[str] = "gamma"
    # a > 1: otherwise λ_MAP would not be positive before the first record
    a: float = Field(_A, gt=1, description="shape of the prior over the inverse variance scale")
    b: float = Field(_B, gt=0, description="rate of that prior; larger is more cautious")
    memory: float | None = Field(
        None, ge=1, description="labels after which a record has faded by 1/e; null: never"
    )
    records: int = Field(0, ge=0, description="state: records so far")
    weight: float = Field(0.0, ge=0, description="state: sum of the records' weights")
    weight_squared: float = Field(0.0, ge=0, description="state: sum of the weights' squares")
    mean_square: float = Field(0.0, ge=0, description="state: weighted mean of error²/std²")

    def __init__(self, a: float = _A, b: float = _B, **others: Any) -> None:
        super().__init__(**{"a": a, "b": b}, **others)

    @model_validator(mode="after")
    def _check_state(self) -> Self:
        state = (self.weight, self.weight_squared, self.mean_square)
        if self.records == 0 and any(state):
            raise ConfigError("calibrate.records: 0, but there are weights; leave all state out.")
        if self.records and not (self.weight and self.weight_squared):
            raise ConfigError("calibrate.weight: records without weight; leave all state out.")
        return self

    # --------------------------------------------------------------------- the posterior

    @property
    def effective(self) -> float:
        """n of every formula: Kish's (Σw)²/Σw²; the number of records where none fades."""
        return self.weight**2 / self.weight_squared if self.records else 0.0

    @property
    def posterior(self) -> tuple[float, float]:
        """Shape A and rate B of the Gamma posterior over λ."""
        n = self.effective
        return self.a + n / 2, self.b + n * self.mean_square / 2

    def update(self, std: Any, error: Any) -> Self:
        """With one record more: raw std > 0 and error of one label, of equal shape.

        Arrays (the force components of one structure) make one record, the mean of error²/std²,
        since errors within a structure are far from independent. Raises `DataError` where a std
        is not positive or anything is not finite.
        """
        s, e = np.asarray(std, float), np.asarray(error, float)
        if s.shape != e.shape or s.size == 0:
            raise DataError(
                f"calibration: std of shape {s.shape} and error of shape {e.shape} make no record; "
                "give one std per error."
            )
        student.refuse_bad(s)
        square = float(np.mean((e / s) ** 2))
        if not np.isfinite(square):
            raise DataError("calibration: an error is not a finite number; leave this record out.")
        fade = np.exp(-1 / self.memory) if self.memory else 1.0
        weight = float(fade * self.weight) + 1
        state = {
            "records": self.records + 1,
            "weight": weight,
            "weight_squared": float(fade**2 * self.weight_squared) + 1,
            "mean_square": self.mean_square + (square - self.mean_square) / weight,
        }
        return self.model_copy(update=state)

    # ------------------------------------------------------------------------- its use

    def std(self, raw: Any) -> Any:
        """Calibrated standard deviation, raw/sqrt(λ_MAP), of the same shape; NaN stays NaN."""
        shape, rate = self.posterior
        return np.asarray(raw, float)[()] * np.sqrt(rate / (shape - 1))

    def exceedance(self, std: Any, threshold: Any) -> Any:
        """P(|error| > threshold) for raw std > 0, elementwise: the Student-t's two tails.

        A threshold may be infinite. Raises `DataError` where a std is NaN or not positive.
        """
        return student.exceedance(self.posterior, std, threshold)

    def exceedance_any(self, std: Any, threshold: Any) -> float:
        """P(the error vector of any atom is longer than the atom's threshold).

        std: (n, 3) raw, of force components; threshold: (n,); `student.exceedance_any`. Raises
        `DataError` where a std that counts is NaN or not positive.
        """
        return student.exceedance_any(self.posterior, std, threshold)

    def locked_out(self, floor: Any, threshold: Any, probability: float = 0.05) -> bool:
        """Whether even the smallest std there can be, ``floor``, would ask for a label.

        The predicted variance holds the noise of the likelihood, so σ ≥ σ_E = 0.1 K: with many
        records, M_n over about 26 then labels every step, whatever the members learn.
        """
        return bool(self.exceedance(floor, threshold) > probability)
