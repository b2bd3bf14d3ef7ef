"""Errors by the spread that was predicted for them: a table small enough to be kept.

A power law's likelihood has no exact statistics of fixed size. Kept are therefore, in bins of ln σ̂
of width h = `WIDTH`, the sums from which both the fit and the reliability curve can be had, with
all σ̂ of a bin at its geometric mean. A row is

    number of the bin, points, Σw, Σ w ln σ̂, Σ w e²/σ̂²

of its points; σ̂ and e in the same unit. Sums of rows are exact, so any order of records gives the
same table but for rounding. What the bins cost is that within one, e²/σ̂² falls as σ̂^(2b−2) and not
at all: it moves the fitted exponent by (1 − b) h²/(4 var ln σ̂), 1e-4 for b = 0.5 and spreads over a
factor of four, and the scale by half of h² (1 − b)²/2.
"""

from dataclasses import dataclass

import numpy as np

#: h
WIDTH = 0.02
#: points of a group in the reliability curve, and its bins, at least
GROUP_POINTS, GROUP_BINS = 20, 10

Row = tuple[int, int, float, float, float]
Table = tuple[Row, ...]


def table_of(std: np.ndarray, square: np.ndarray, weight: float) -> Table:
    """Of points (n,): std > 0, square their mean e², each with the same weight."""
    log = np.log(std)
    bins, at = np.unique(np.floor(log / WIDTH).astype(int), return_inverse=True)
    columns = (
        bins.tolist(),
        np.bincount(at).tolist(),
        (weight * np.bincount(at)).tolist(),
        (weight * np.bincount(at, log)).tolist(),
        (weight * np.bincount(at, square / std**2)).tolist(),
    )
    return tuple(zip(*columns, strict=True))


def merged(one: Table, other: Table) -> Table:
    """The table of the points of both."""
    rows = {row[0]: row for row in one}
    for bin_, *more in other:
        before = rows.get(bin_, (bin_, 0, 0.0, 0.0, 0.0))
        added = [a + b for a, b in zip(before[1:], more, strict=True)]
        rows[bin_] = (bin_, int(added[0]), *added[1:])  # type: ignore[assignment]
    return tuple(rows[bin_] for bin_ in sorted(rows))


@dataclass(frozen=True)
class Columns:
    """A table as arrays (rows,): points, Σw, ln of the geometric mean of σ̂, mean of e²/σ̂²."""

    points: np.ndarray
    weight: np.ndarray
    log: np.ndarray
    ratio: np.ndarray

    @property
    def total(self) -> float:
        """Σw of all points."""
        return float(self.weight.sum())

    @property
    def centre(self) -> float:
        """Geometric mean of all σ̂."""
        return float(np.exp(self.weight @ self.log / self.total))


def columns(table: Table) -> Columns:
    _, points, weight, log, ratio = np.array(table, float).T
    return Columns(points, weight, log / weight, ratio / weight)


def groups(table: Table) -> list[slice]:
    """Neighbouring rows of at least `GROUP_POINTS` points and `GROUP_BINS` bins' width.

    From the smallest σ̂ on; the last few points, too few for a group, are in none.
    """
    found, start, points = [], 0, 0
    for i, row in enumerate(table):
        points += row[1]
        if points >= GROUP_POINTS and row[0] - table[start][0] + 1 >= GROUP_BINS:
            found.append(slice(start, i + 1))
            start, points = i + 1, 0
    return found
