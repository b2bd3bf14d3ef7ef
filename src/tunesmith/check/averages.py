"""Means of correlated series, and shares of a few, each with its standard error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.errors import DataError

#: probability that an interval of a share holds the true one
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (NaN where there is no telling)."""

    mean: float
    error: float


@dataclass(frozen=True)
class Share:
    """k of n; error: the binomial standard error sqrt(p (1 - p)/n); low, high: Wilson's interval
    of 95 %, which unlike the error says something where all or none are stable."""

    k: int
    n: int
    share: float
    error: float
    low: float
    high: float


def share(flags: Sequence[bool]) -> Share:
    """How many of ``flags`` are true. Raises `DataError` for none."""
    from scipy.stats import binomtest  # takes most of a second to import

    k, n = int(np.sum(flags)), len(flags)
    if n == 0:
        raise DataError("a share of nothing is not defined; give at least one.")
    interval = binomtest(k, n).proportion_ci(_CONFIDENCE, method="wilson")
    error = float(np.sqrt(k / n * (1 - k / n) / n))
    return Share(k, n, k / n, error, float(interval.low), float(interval.high))


def block_average(series: Sequence[np.ndarray]) -> Estimate:
    """The mean of independent series of one correlated quantity, each (T,), and its error.

    The error is that of means over blocks (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461, 1989),
    blocks doubled until they are longer than the correlation: the shortest length b with
    b³ > 2 N (e_b/e_1)⁴, N values in all and e_b the error from blocks of b (Lee et al., Phys. Rev.
    E 83, 066706, 2011). NaN where the series are too short for that, or hold one value.
    """
    values = [np.asarray(s, float) for s in series if len(s)]
    if not values:
        raise DataError("there is no value to average; simulate longer.")
    total = sum(len(v) for v in values)
    mean = float(np.concatenate(values).mean())
    naive, length = _error(values), 1
    if naive == 0:  # as of the density in a fixed cell
        return Estimate(mean, 0.0)
    while sum(len(v) for v in values) >= 4:
        error = _error(values)
        if length**3 > 2 * total * (error / naive) ** 4:
            return Estimate(mean, error)
        values = [v[: len(v) // 2 * 2].reshape(-1, 2).mean(1) for v in values]
        length *= 2
    return Estimate(mean, float("nan"))


def of_blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the first axis of independent blocks; one block: NaN."""
    n = len(values)
    if n < 2:
        return values.mean(0), np.full(values.shape[1:], np.nan)
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(n)


def _error(values: list[np.ndarray]) -> float:
    """Of the mean, were the values independent."""
    together = np.concatenate(values)
    if len(together) < 2:
        return float("nan")
    return float(together.std(ddof=1) / np.sqrt(len(together)))
