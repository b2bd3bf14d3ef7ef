"""Errors e ~ N(0, σ²/λ) whose λ is only known as Gamma(A, rate B): how likely they are large.

The predictive law of an error is then Student's t with 2A degrees of freedom and scale² = σ² B/A.
``posterior`` is (A, B) throughout, ``std`` is σ.
"""

from functools import cache
from typing import Any

import numpy as np
from scipy import special

from tunesmith.errors import DataError

_NODES = 64  # of the quadrature over λ; absolute error of a probability near 1e-6
_TAIL = 1e-7  # posterior mass of λ left out on either side
_DEGREE = 23  # of the rule over directions
_THIN = 1e-24  # least w_i(u), in units of the largest σ_ic²


def exceedance(posterior: tuple[float, float], std: Any, threshold: Any) -> Any:
    """P(|error| > threshold), elementwise: the two tails. A threshold may be infinite.

    Raises `DataError` where a std is NaN or not positive.
    """
    refuse_bad(s := np.asarray(std, float), infinite=True)
    shape, rate = posterior
    t = np.asarray(threshold, float) / (s * np.sqrt(rate / shape))
    return 2 * special.stdtr(2 * shape, -np.maximum(t, 0))


def exceedance_any(posterior: tuple[float, float], std: Any, threshold: Any) -> float:
    """P(the error vector of any atom is longer than the atom's threshold).

    std: (n, 3), of force components; threshold: (n,), atoms with an infinite one are left out.
    Given λ the atoms are independent, and e = r S u with S = diag(σ_x, σ_y, σ_z), r² λ ~ χ² of 3
    and u uniform on the sphere, so that

        P = 1 − E_λ[ Π_i E_u F(K_i² λ / w_i(u)) ],   w_i(u) = Σ_c σ_ic² u_c²,

    F the χ²₃ distribution function. All atoms share λ, so P is less than for independent
    Student-t's. The mean over λ is a trapezoidal sum in ln λ, where the integrand is analytic and
    falls off on both sides; that over u is Lebedev's rule of degree 23, by the symmetry of w 31
    directions. Where σ_c are as unequal as 1 : 90 that is wrong by 2e-4 of P for P under 0.3, by
    5e-2 at most for larger ones; for equal σ_c not at all.
    Raises `DataError` where a std that counts is NaN or not positive.
    """
    limit = np.asarray(threshold, float)
    judged = limit < np.inf
    if not judged.any():
        return 0.0
    refuse_bad(s := np.asarray(std, float)[judged], infinite=True)
    if np.isinf(s).any():
        return 1.0
    shape, rate = posterior
    low, high = special.gammaincinv(shape, _TAIL), special.gammainccinv(shape, _TAIL)
    scaled = np.geomspace(low, high, _NODES)  # rate·λ
    weights = np.exp(shape * np.log(scaled / shape) - scaled + shape)
    directions, shares = _directions()
    largest = s.max(axis=1)  # squares of tiny ones would be zero along some directions
    width = largest * np.sqrt(np.maximum((s / largest[:, None]) ** 2 @ directions.T, _THIN).T)
    ratio = limit[judged] / width  # (directions, n)
    inside = np.ones(_NODES)
    for k, scale in enumerate(np.sqrt(scaled / rate)):
        inside[k] = np.prod(shares @ _inside_ball(scale * ratio))
    return float(np.sum(weights * (1 - inside)) / np.sum(weights))


@cache
def _directions() -> tuple[np.ndarray, np.ndarray]:
    """Squares of the components of directions u (k, 3) and their shares of the sphere (k,)."""
    from scipy.integrate import lebedev_rule  # takes a quarter of a second to import

    points, weights = lebedev_rule(_DEGREE)
    squares, at = np.unique(np.round(points.T**2, 14), axis=0, return_inverse=True)
    return squares, np.bincount(at.ravel(), weights) / weights.sum()


def _inside_ball(radius: np.ndarray) -> np.ndarray:
    """P(a standard normal vector of 3 components is shorter than radius): χ²₃ at radius²."""
    half = radius * np.sqrt(0.5)
    return special.erf(half) - (2 / np.sqrt(np.pi)) * half * np.exp(-half * half)


def refuse_bad(std: np.ndarray, infinite: bool = False) -> None:
    """Raise `DataError` where a std is NaN, not positive, or infinite unless that is allowed."""
    good = (std > 0) & ((std < np.inf) | infinite)
    if not good.all():
        raise DataError(
            f"calibration: {std[~good].flat[0]} is no standard deviation; it must be positive: "
            "check the members' predictions (equal members have no spread)."
        )
