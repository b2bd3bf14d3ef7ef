"""How large errors are, and how well a predicted spread tells them: plain functions on arrays.

``error`` is predicted − reference; ``std`` is the predicted standard deviation in the same unit
and of the same shape. Every function looks at all values alike, whatever the shape, and raises
`ValueError` when there are none.
"""

import numpy as np
from scipy import special

#: nominal levels of a coverage curve: 5 %, 10 %, …, 95 %
LEVELS = np.linspace(0.05, 0.95, 19)


def _flat(*arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays as float64 vectors of one length, refused when empty or unequal."""
    flat = [np.asarray(a, dtype=float).ravel() for a in arrays]
    if not flat[0].size:
        raise ValueError("a score needs at least one value")
    if any(np.shape(a) != np.shape(arrays[0]) for a in arrays):
        raise ValueError(f"a score needs equal shapes, not {[np.shape(a) for a in arrays]}")
    return flat


def rmse(error: np.ndarray) -> float:
    """Root of the mean squared error."""
    (e,) = _flat(error)
    return float(np.sqrt(np.mean(e**2)))


def mae(error: np.ndarray) -> float:
    """Mean absolute error."""
    (e,) = _flat(error)
    return float(np.mean(np.abs(e)))


def r2(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Coefficient of determination 1 − Σ(p−r)² / Σ(r−r̄)²; NaN where the reference is constant."""
    p, r = _flat(predicted, reference)
    total = np.sum((r - r.mean()) ** 2)
    return float(1.0 - np.sum((p - r) ** 2) / total) if total > 0 else float("nan")


def gaussian_nll(error: np.ndarray, std: np.ndarray) -> float:
    """Mean negative log density of the errors under N(0, std²), in nats.

    It depends on the unit (a density has one): compare only values in the same unit. Raises
    `ValueError` where a std is not positive, since the density is not defined there.
    """
    e, s = _flat(error, std)
    if not np.all(s > 0):
        raise ValueError("the Gaussian NLL needs a positive std everywhere")
    return float(np.mean(0.5 * (e / s) ** 2 + np.log(s) + 0.5 * np.log(2 * np.pi)))


def coverage(error: np.ndarray, std: np.ndarray, level: float) -> float:
    """Fraction of errors inside the central Gaussian interval of nominal ``level`` in (0, 1)."""
    e, s = _flat(error, std)
    return float(np.mean(np.abs(e) <= special.ndtri(0.5 + level / 2) * s))


def coverage_curve(
    error: np.ndarray, std: np.ndarray, levels: np.ndarray = LEVELS
) -> tuple[np.ndarray, np.ndarray]:
    """Nominal levels, and the fraction of errors found inside each of them."""
    e, s = _flat(error, std)
    return levels, np.array([coverage(e, s, level) for level in levels])


def ece(error: np.ndarray, std: np.ndarray, levels: np.ndarray = LEVELS) -> float:
    """Expected calibration error: mean |empirical − nominal| coverage of central intervals.

    0 is calibrated, 0.5 the worst there is. The form for regression of Kuleshov, Fenner and Ermon
    (ICML 2018).
    """
    nominal, empirical = coverage_curve(error, std, levels)
    return float(np.mean(np.abs(empirical - nominal)))


def ence(error: np.ndarray, std: np.ndarray, n_bins: int = 10) -> float:
    """Expected normalised calibration error: mean |RMV − RMSE| / RMV over bins of sorted std.

    RMV is the root mean predicted variance of a bin; bins hold equally many values (Levi et al.,
    Sensors 2022). Infinite where a bin has no spread but has errors.
    """
    e, s = _flat(error, std)
    order = np.argsort(s, kind="stable")
    terms = []
    for rows in np.array_split(order, min(n_bins, len(order))):
        rmv, found = rmse(s[rows]), rmse(e[rows])
        terms.append(abs(rmv - found) / rmv if rmv > 0 else (np.inf if found > 0 else 0.0))
    return float(np.mean(terms))


def auc_roc(score: np.ndarray, is_over: np.ndarray) -> float:
    """Probability that ``score`` ranks a true case above a false one; ties count one half.

    NaN where all cases are true or all are false: there is then nothing to tell apart.
    """
    s, over = _flat(score, is_over)
    n_true = int(np.sum(over > 0))
    n_false = len(over) - n_true
    if n_true == 0 or n_false == 0:
        return float("nan")
    from scipy import stats  # takes a third of a second to import

    rank_sum = np.sum(stats.rankdata(s)[over > 0])  # mid-ranks: Mann–Whitney U
    return float((rank_sum - n_true * (n_true + 1) / 2) / (n_true * n_false))


def spearman(std: np.ndarray, error: np.ndarray) -> float:
    """Rank correlation of std with |error|; NaN where either is constant."""
    s, e = _flat(std, np.abs(error))
    if np.ptp(s) == 0 or np.ptp(e) == 0:
        return float("nan")
    from scipy import stats

    return float(stats.spearmanr(s, e).statistic)
