"""Candidates and their nearest centres, kept up to date as centres are added: LCMD without most of
its distances.

A new centre z takes candidate x from its centre c only if d(x, z) < d(x, c). Three bounds say,
each cheaper than a distance, where that cannot be; what they leave is compared in float64:

1. d(x, z) ≥ d(z, c) − d(x, c), so d(x, c) > d(z, c) / 2 is needed (triangle inequality);
2. d(x, z) ≥ the distance of the leading principal coordinates and of the lengths of what they
   leave over: a map that never makes distances larger (`LeadingCoordinates`);
3. d(x, z) from one product of all features in float32, less its largest rounding error. Reading
   the features is what it costs, so it is done together for the next few centres to be expected:
   the farthest candidates of the same cluster.
"""

from dataclasses import dataclass

import numpy as np

from tunesmith.acquire.coordinates import leading_coordinates
from tunesmith.acquire.points import Points, closest, squared_distances

_STRETCH = 2**16  # candidates handled together
_FEW = 8  # one in so many candidates may be compared without a float32 pass
_AHEAD = 16  # centres of which such a pass is made together, at most
_PRODUCTS = 2**26  # numbers of them kept, at most


@dataclass
class Work:
    """Candidates over all new centres: there (``pairs``), left by each bound, taken over.

    ``passes``: over all features in float32, for bound 3.
    """

    pairs: int = 0
    triangle: int = 0
    coordinates: int = 0
    compared: int = 0
    moved: int = 0
    passes: int = 0


class Clusters:
    """Every candidate of a pool at its nearest centre; ``largest`` and ``add`` are LCMD.

    centres: `vectors` (m, d), at least one. more: how many will be added.
    """

    def __init__(self, points: Points, centres: np.ndarray, more: int) -> None:
        n, m = len(points), len(centres)
        self.points, self.work = points, Work()
        self.distance = np.empty(n)  # squared, to the nearest centre; −1 once taken
        self.owner = np.empty(n, np.intp)
        self._centres = np.empty((m + more, points.width))
        self._centres[:m], self._m = centres, m
        self._leading = leading_coordinates(points)
        for part in points.parts():
            x = points.vectors(part)
            self.owner[part], self.distance[part] = closest(x, centres, points.kernel)
            if self._leading is not None:
                self._leading.put(part, x)
        self._sums = np.bincount(self.owner, self.distance, m + more)
        self._counts = np.bincount(self.owner, minlength=m + more)
        self._scale = points.square.max() if points.kernel == "linear" else 1.0
        self._products: dict[int, np.ndarray] = {}
        self._made = 1

    def largest(self) -> tuple[int, float]:
        """The farthest candidate of the cluster of largest summed squared distance, and its
        squared distance."""
        cluster = np.where(self._counts[: self._m] > 0, self._sums[: self._m], -1.0).argmax()
        members = np.flatnonzero(self.owner == cluster)
        row = members[self.distance[members].argmax()]
        return int(row), float(self.distance[row])

    def add(self, row: int) -> None:
        """A candidate becomes a centre."""
        z = self.points.vectors(np.array([row]))[0]
        cluster = self.owner[row]
        self.drop(row)
        rows = self._nearer(z)
        if len(rows) * _FEW > len(self.points) and self.points.single:
            rows = self._nearer_by_products(row, cluster)
        new = self.points.distances(rows, z)
        closer = new < self.distance[rows]
        self.work.compared += len(rows)
        self._move(rows[closer], new[closer])
        self._centres[self._m] = z
        self._m += 1

    def drop(self, row: int) -> None:
        """A candidate is one no more."""
        own = self.owner[row]
        self._sums[own] -= self.distance[row]
        self._counts[own] -= 1
        self.owner[row], self.distance[row] = self._m, -1.0

    def _move(self, rows: np.ndarray, distance: np.ndarray) -> None:
        size = len(self._sums)
        self._sums -= np.bincount(self.owner[rows], self.distance[rows], size)
        self._counts -= np.bincount(self.owner[rows], minlength=size)
        self._sums[self._m], self._counts[self._m] = distance.sum(), len(rows)
        self.owner[rows], self.distance[rows] = self._m, distance
        self.work.moved += len(rows)

    def _nearer(self, z: np.ndarray) -> np.ndarray:
        """Candidates that bounds 1 and 2 leave."""
        centres = self._centres[: self._m]
        gaps = squared_distances(z[None], centres, self.points.kernel)[0]
        # less what rounding may have added; the last entry is of rows that are taken
        quarter = np.append((1 - 1e-9) / 4 * gaps - 1e-15 * self._scale, 0.0)
        small = None if self._leading is None else self._leading.of(z[None])[0]
        found = []
        for start in range(0, len(self.points), _STRETCH):
            part = slice(start, start + _STRETCH)
            own = self.distance[part]
            rows = np.flatnonzero(own > quarter.take(self.owner[part]))
            self.work.triangle += len(rows)
            if self._leading is not None and small is not None and len(rows):
                rows = rows[self._leading.least(part, rows, small) < own[rows]]
                self.work.coordinates += len(rows)
            found.append(rows + start)
        self.work.pairs += len(self.points)
        return np.concatenate(found)

    def _make_products(self, row: int, cluster: int) -> None:
        """Those of a row, and of the farthest candidates of the cluster it comes from."""
        points = self.points
        # twice as many as were of use the last time
        used = self._made - len(self._products)
        self._made = min(_AHEAD, max(2, 2 * used), max(1, _PRODUCTS // len(points)))
        members = np.flatnonzero(self.owner == cluster)
        far = np.argsort(-self.distance[members], kind="stable")[: self._made - 1]
        rows = np.append(row, members[far])
        vectors, kept = points.array[rows], np.empty((len(rows), len(points)), np.float32)
        for part in points.parts():
            kept[:, part] = points.dots32(part, vectors)
        self._products = dict(zip(rows.tolist(), kept, strict=True))
        self._made = len(rows)
        self.work.passes += 1

    def _nearer_by_products(self, row: int, cluster: int) -> np.ndarray:
        """Candidates that bound 3 leaves."""
        points = self.points
        if row not in self._products:
            self._make_products(row, cluster)
        dots, square = self._products.pop(row), float(points.square[row])
        found = []
        for start in range(0, len(points), _STRETCH):
            part = slice(start, start + _STRETCH)
            least = points.nearest_possible(part, dots[part], square)
            found.append(np.flatnonzero(least < self.distance[part]) + start)
        return np.concatenate(found)
