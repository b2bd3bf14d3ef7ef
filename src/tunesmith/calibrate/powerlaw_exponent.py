"""The exponent b of a power law σ_cal = a σ̂^b, by largest likelihood or with a belief beforehand.

Of points (σ̂, e) with weights w, a and b minimise (calibrated adversarial geometry optimisation,
eq. 5)

    Σ w [ ln(a σ̂^b) + e²/(2 (a σ̂^b)²) ],

which is convex in (ln a, b). With σ̂_0 the geometric mean of all σ̂ and s_b = σ̂_0 (σ̂/σ̂_0)^b the sum
of ln s_b does not depend on b. At the minimum a σ̂^b = s_b √M_b, and what is left is to minimise

    (n/2) ln M_b,   M_b = (1/n) Σ w e²/s_b²,   n = Σ w

over b. With a belief beforehand, e ~ N(0, s_b²/λ), λ ~ Gamma(shape, rate) and b ~ N(1, width²), it
is, λ integrated out,

    (shape + n/2) ln(rate + n M_b/2) + (b − 1)²/(2 width²),

convex too, with the minimum of the likelihood where rate = 0 and there is no width. Either way the
derivative has one zero, and a bracket finds it.
"""

import numpy as np

from tunesmith.calibrate.spreads import Columns

#: exponents are looked for between these
LOWEST, HIGHEST = 0.1, 3.0


def cost(
    b: float, rows: Columns, shape: float, rate: float, width: float | None
) -> tuple[float, float]:
    """What the exponent minimises (module docstring), and its derivative; width > 0."""
    z = rows.log - np.log(rows.centre)
    terms = 0.5 * rows.weight * rows.ratio * np.exp(2 * (1 - b) * z)
    total, front = rate + terms.sum(), shape + rows.total / 2
    value, slope = front * np.log(total), front * float(terms @ (-2 * z)) / total
    if width is None:
        return float(value), slope
    return float(value + 0.5 * ((b - 1) / width) ** 2), slope + (b - 1) / width**2


def exponent(rows: Columns, shape: float, rate: float, width: float | None) -> float:
    """The exponent where `cost` is smallest; the nearer end where that is beyond what may be."""
    if width == 0:
        return 1.0

    def slope(b: float) -> float:
        return cost(b, rows, shape, rate, width)[1]

    if slope(LOWEST) >= 0:
        return LOWEST
    if slope(HIGHEST) <= 0:
        return HIGHEST
    from scipy import optimize  # takes a fifth of a second to import

    return float(optimize.brentq(slope, LOWEST, HIGHEST, xtol=1e-13))
