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
