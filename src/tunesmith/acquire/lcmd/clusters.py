"""Candidates and their nearest centres, kept up to date as centres are added: LCMD without most of
its distances, and those in float32.

A new centre z takes candidate x from its centre c only if d(x, z) < d(x, c). Three bounds say,
each cheaper than a distance, where that cannot be:

1. d(x, z) ≥ d(z, c) − d(x, c), so d(x, c) > d(z, c) / 2 is needed (triangle inequality); of each
   cluster's members, sorted by distance, these are the first;
2. d(x, z) ≥ the distance of the leading principal coordinates and of the lengths of what they
   leave over (`LeadingCoordinates`);
3. d(x, z) from one product of all features in float32, less its largest rounding error. Reading
   the features is what it costs, so it is done together for the next few centres to be expected:
   the farthest candidates of the same cluster.

What they leave is compared in float32. Distances, and sums of them, that are closer to each other
than rounding can have moved them are computed again in float64: which centre is nearest, which
cluster largest, and which of its members farthest, is as in float64 throughout.
"""

from dataclasses import dataclass

import numpy as np

from tunesmith.acquire.lcmd.cluster_members import ClusterMembers
from tunesmith.acquire.lcmd.leading_coordinates import leading_coordinates
from tunesmith.acquire.lcmd.nearest import nearest_centres, rounding
from tunesmith.acquire.points import Points, squared_distances

_STRETCH = 2**16  # candidates handled together by products
_FEW = 8  # one in so many candidates may be compared without a float32 pass
_AHEAD = 16  # centres of which such a pass is made together, at most
_PRODUCTS = 2**26  # numbers of them kept, at most


@dataclass
class Work:
    """Candidates over all new centres: there (``pairs``), left by each bound, taken over.

    ``unsure``: distances that had to be computed in float64 too. ``passes``: over all features in
    float32, for bound 3.
    """

    pairs: int = 0
    triangle: int = 0
    coordinates: int = 0
    compared: int = 0
    moved: int = 0
    unsure: int = 0
    passes: int = 0


class Clusters:
    """Every candidate of a pool at its nearest centre; ``largest`` and ``add`` are LCMD.

    centres: `vectors` (m, d), at least one. more: how many will be added.
    """

    def __init__(self, points: Points, centres: np.ndarray, more: int) -> None:
        m = len(centres)
        self.points, self.work = points, Work()
        self._centres = np.empty((m + more, points.width))
        self._centres[:m], self._m = centres, m
        self._rounding = rounding(points, centres)
        self._leading = leading_coordinates(points)
        # distance: squared, to the nearest centre; −1 once taken
        self.owner, self.distance, self.work.unsure = nearest_centres(
            points, centres, self._leading, self._rounding
        )
        self._sums = np.bincount(self.owner, self.distance, m + more)
        self._counts = np.bincount(self.owner, minlength=m + more)
        self._rough = np.full(m + more, self._rounding.relative > 0)  # distances are of float32
        self._members = ClusterMembers(self.owner, self._leading, self._rounding)
        self._members.append_all(self.distance, m)
        self._scale = points.square.max() if points.kernel == "linear" else 1.0
        self._products: dict[int, np.ndarray] = {}
        self._made = 1

    def largest(self) -> tuple[int, float]:
        """The farthest candidate of the cluster of largest summed squared distance, and its
        squared distance."""
        cluster = self._largest_cluster()
        head = self._members.first(cluster, 0.0)
        squared = self.distance[head]
        if self._rough[cluster]:
            head = self._members.first(cluster, 2 * self._rounding.error(squared[:1])[0])
            squared = self._exactly(head)
        return int(head[squared == squared.max()].min()), float(squared.max())

    def add(self, row: int) -> None:
        """A candidate becomes a centre."""
        z = self.points.vectors(np.array([row]))[0]
        cluster = self.owner[row]
        self.drop(row)
        rows = self._nearer(row, z)
        if rows is None:
            rows = self._nearer_by_products(row, cluster)
            rows = rows[self.distance[rows] >= 0]
        new = self._distances(rows, z)
        own = self.distance[rows]
        closer = new < own
        if self._rounding.relative:
            doubtful = np.abs(new - own) < self._rounding.error(new) + self._rounding.error(own)
            some = rows[doubtful]
            closer[doubtful] = self.points.distances(some, z) < self._exactly(some)
            self.work.unsure += len(some)
        self.work.compared += len(rows)
        self._move(rows[closer], new[closer])
        self._centres[self._m] = z
        self._m += 1

    def drop(self, row: int) -> None:
        """A candidate is one no more."""
        own = self.owner[row]
        self._sums[own] -= self.distance[row]
        self._counts[own] -= 1
        self.owner[row], self.distance[row] = len(self._sums), -1.0

    def _largest_cluster(self) -> int:
        """Sums that rounding may have put in the wrong order are computed in float64."""
        while True:
            sums = np.where(self._counts[: self._m] > 0, self._sums[: self._m], -1.0)
            largest = int(sums.argmax())
            error = np.zeros(self._m)
            rough = self._rough[: self._m] & (sums > 0)
            error[rough] = self._rounding.error(sums[rough], self._counts[: self._m][rough])
            rivals = sums + error >= sums[largest] - error[largest]
            if rivals.sum() <= 1 or not self._rough[: self._m][rivals].any():
                return largest
            for cluster in np.flatnonzero(rivals & self._rough[: self._m]).tolist():
                self._refine(cluster)

    def _refine(self, cluster: int) -> None:
        rows = self._members.of(cluster)
        self.distance[rows] = squared = self._exactly(rows)
        self._members.replace(cluster, rows, squared)
        self._sums[cluster], self._rough[cluster] = squared.sum(), False
        self.work.unsure += len(rows)

    def _exactly(self, rows: np.ndarray) -> np.ndarray:
        """Squared distances to their own centres in float64, (r,)."""
        owner, found = self.owner[rows], np.empty(len(rows))
        for cluster in np.unique(owner):
            here = owner == cluster
            found[here] = self.points.distances(rows[here], self._centres[cluster])
        return found

    def _distances(self, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        if not self._rounding.relative:
            return self.points.distances(rows, z)
        return self.points.distances32(rows, z.astype(np.float32)).astype(float)

    def _move(self, rows: np.ndarray, distance: np.ndarray) -> None:
        size = len(self._sums)
        self._sums -= np.bincount(self.owner[rows], self.distance[rows], size)
        left = np.bincount(self.owner[rows], minlength=size)
        self._counts -= left
        self._sums[self._m], self._counts[self._m] = distance.sum(), len(rows)
        self.owner[rows], self.distance[rows] = self._m, distance
        self._members.left(left)
        self._members.append(rows, distance)
        self.work.moved += len(rows)

    def _nearer(self, row: int, z: np.ndarray) -> np.ndarray | None:
        """Candidates that bounds 1 and 2 leave; None where they are too many."""
        centres = self._centres[: self._m]
        gaps = squared_distances(z[None], centres, self.points.kernel)[0]
        # less what rounding may have added
        quarter = np.maximum((1 - 1e-9) / 4 * gaps - 1e-15 * self._scale, 0)
        quarter -= self._rounding.error(quarter)
        self.work.pairs += len(self.points)
        parts, n = self._members.farther(quarter)
        self.work.triangle += n
        few = len(self.points) // _FEW
        if self._leading is None and n > few and self.points.single:
            return None
        rows = self._members.within(parts, row)
        if self._leading is not None:
            self.work.coordinates += len(rows)
        return None if len(rows) > few and self.points.single else rows

    def _make_products(self, row: int, cluster: int) -> None:
        """Those of a row, and of the farthest candidates of the cluster it comes from."""
        points = self.points
        # twice as many as were of use the last time
        used = self._made - len(self._products)
        self._made = min(_AHEAD, max(2, 2 * used), max(1, _PRODUCTS // len(points)))
        rows = np.append(row, self._members.of(cluster)[: self._made - 1])
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
            most = self._rounding.most(self.distance[part])
            found.append(np.flatnonzero(least < most) + start)
        return np.concatenate(found)
