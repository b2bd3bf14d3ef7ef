"""Robust statistics: a few wrong labels must not hide among their own effects."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import spearmanr


def spread(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ; 0 where either does not vary."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)


def slope(x: np.ndarray, y: np.ndarray, groups: list[np.ndarray]) -> float:
    """|slope| of y on x within groups: the median of |Δy/Δx| over pairs, weighted by |Δx|.

    Robust to a third of wrong values (Theil and Sen); NaN where x does not vary.
    """
    dx, dy = [], []
    for g in groups:
        i, j = np.triu_indices(len(g), 1)
        dx.append(np.abs(x[g][j] - x[g][i]))
        dy.append(np.abs(y[g][j] - y[g][i]))
    size = np.concatenate(dx) if dx else np.zeros(0)
    if not size.any():
        return np.nan
    ratio = np.concatenate(dy)[size > 0] / size[size > 0]
    order = np.argsort(ratio)
    weight = np.cumsum(size[size > 0][order])
    return float(ratio[order][np.searchsorted(weight, 0.5 * weight[-1])])


def nearest_factor(ratio: float, factors: Mapping[str, float]) -> tuple[str, list[str]]:
    """The name whose factor is nearest to ``ratio`` > 0 on a logarithmic scale.

    Also the names of others that are within a factor 1.35 of the best: they cannot be told apart.
    """
    off = {name: abs(np.log(ratio / value)) for name, value in factors.items()}
    best = min(off, key=lambda name: off[name])
    near = [
        name
        for name, value in factors.items()
        if name != best and abs(np.log(value / factors[best])) < np.log(1.35)
    ]
    return best, near


def centred(values: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Values less their group's median; those in no group become NaN."""
    out = np.full(len(values), np.nan)
    for group in groups:
        out[group] = values[group] - np.median(values[group])
    return out


def least_absolute(x: np.ndarray, y: np.ndarray, floor: float) -> np.ndarray:
    """(n,) what is left of y (n,) after the fit on columns x (n, k) that makes Σ|left| least.

    By reweighted least squares; deviations below ``floor`` count as that much.
    """
    weights = np.ones(len(y))
    for _ in range(30):
        root = np.sqrt(weights)
        left = y - x @ np.linalg.lstsq(x * root[:, None], y * root, rcond=1e-9)[0]
        weights = 1 / np.maximum(np.abs(left), floor)
    return np.asarray(left)


def clusters(values: np.ndarray, floor: float) -> list[np.ndarray]:
    """Indices of values that lie in tight clusters with wide gaps between them, the largest first.

    A gap splits where it exceeds both ``floor`` and eight times the spread of what it separates.
    """
    order = np.argsort(values)
    parts = [order]
    while True:
        found = None
        for k, part in enumerate(parts):
            cut = _gap(values[part], floor)
            if cut:
                found = k, cut
                break
        if found is None:
            return sorted(parts, key=len, reverse=True)
        k, cut = found
        parts[k : k + 1] = [parts[k][:cut], parts[k][cut:]]


def _gap(ascending: np.ndarray, floor: float) -> int:
    """Where to cut, 0: nowhere."""
    gaps = np.diff(ascending)
    if len(gaps) == 0:
        return 0
    cut = int(np.argmax(gaps)) + 1
    width = max(spread(ascending[:cut]), spread(ascending[cut:]))
    return cut if gaps[cut - 1] > max(floor, 8 * width) else 0
