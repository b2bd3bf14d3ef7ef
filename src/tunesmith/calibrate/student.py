"""Errors e ~ N(0, σ²/λ) whose λ is only known as Gamma(A, rate B): how likely they are large.

The predictive law of an error is then Student's t with 2A degrees of freedom and scale² = σ² B/A.
``posterior`` is (A, B) throughout, ``std`` is σ.
"""

from typing import Any

import numpy as np
from scipy import special

from tunesmith.errors import DataError

_NODES = 64  # of the quadrature over λ; absolute error of a probability near 1e-6
_TAIL = 1e-7  # posterior mass of λ left out on either side


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

    std: (n, 3), of force components; threshold: (n,), atoms with an infinite one are left out. An
    atom's variance σ_i² is the mean of its three. Given λ the atoms are independent and
    |e_i|² λ/σ_i² ~ χ² of 3, so that

        P = 1 − E_λ[ Π_i F(K_i² λ/σ_i²) ],   F the χ²₃ distribution function.

    All atoms share λ, so P is less than for independent Student-t's. The mean over λ is a
    trapezoidal sum in ln λ, where the integrand is analytic and falls off on both sides.
    Raises `DataError` where a std that counts is NaN or not positive.
    """
    limit = np.asarray(threshold, float)
    judged = limit < np.inf
    if not judged.any():
        return 0.0
    refuse_bad(s := np.asarray(std, float)[judged], infinite=True)
    shape, rate = posterior
    low, high = special.gammaincinv(shape, _TAIL), special.gammainccinv(shape, _TAIL)
    scaled = np.geomspace(low, high, _NODES)  # rate·λ
    weights = np.exp(shape * np.log(scaled / shape) - scaled + shape)
    ratio = limit[judged] / np.sqrt(np.mean(s**2, axis=1))
    radius = np.sqrt(scaled / rate)[:, None] * ratio
    inside = np.prod(_inside_ball(radius), axis=1)
    return float(np.sum(weights * (1 - inside)) / np.sum(weights))


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
