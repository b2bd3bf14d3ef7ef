"""Every point's nearest centre by one pass in float32, certain all the same.

Rounding errors are bounded, and what they leave open is decided in float64.
"""

from dataclasses import dataclass

import numpy as np

from tunesmith.acquire.lcmd.leading_coordinates import LeadingCoordinates
from tunesmith.acquire.points import UNIT, Points, closest


@dataclass(frozen=True)
class Rounding:
    """How far squared distances v between points in float32 are from those of float64.

    relative: of the sum of squared differences, (d + 8) u (Higham, Accuracy and Stability of
    Numerical Algorithms, 3.1: each of d terms is rounded at most d + 2 times; u = 2⁻²⁴). apart: by
    how much the points themselves may be farther apart or closer.
    """

    relative: float
    apart: float

    def error(self, v: np.ndarray, count: np.ndarray | int = 1) -> np.ndarray:
        """Of v, or of sums v of so many squared distances: |√a − √b| ≤ apart for each, and by
        Cauchy and Schwarz for all."""
        apart = self.apart
        return self.relative * v + 2 * apart * np.sqrt(np.maximum(count * v, 0)) + count * apart**2

    def most(self, v: np.ndarray) -> np.ndarray:
        """What v may be at most: a little more than v + error, and cheaper."""
        return (1 + self.relative + 2.0**-9) * v + 514 * self.apart**2


def rounding(points: Points, centres: np.ndarray) -> Rounding:
    """Of distances between points, and between them and other `vectors` (m, d)."""
    if not points.narrow:
        return Rounding(0.0, 0.0)
    rough = np.linalg.norm(centres - centres.astype(np.float32), axis=1).max()
    # the last of what is too small for float32
    least = 2.0**-62 * points.width**0.5
    return Rounding((points.width + 8) * UNIT, 2.5 * max(points.rough, float(rough)) + least)


def nearest_centres(
    points: Points, centres: np.ndarray, leading: LeadingCoordinates | None, rounded: Rounding
) -> tuple[np.ndarray, np.ndarray, int]:
    """Which of the `vectors` (m, d) is nearest to each point, (n,); the squared distances, (n,), as
    in float32 where the points are `narrow`; how many float64 had to decide.

    leading: what the points' images are put into, on the way.
    """
    owner, squared = np.empty(len(points), np.int32), np.empty(len(points))
    if not points.narrow:
        for part in points.parts():
            owner[part], squared[part] = closest(points.vectors(part), centres, points.kernel)
        return owner, squared, 0
    narrow, compare = centres.astype(np.float32), _Comparison(centres, leading, rounded)
    unsure = 0
    for part in points.parts(len(centres)):
        x = points.vectors32(part)
        number, doubtful = compare.nearest(part, x)
        own = number.astype(np.intp)
        if len(doubtful):
            rows = doubtful + part.start
            own[doubtful] = closest(points.vectors(rows), centres, points.kernel)[0]
            unsure += len(rows)
        gone = narrow.take(own, axis=0)
        np.subtract(x, gone, out=gone)
        owner[part], squared[part] = own, np.einsum("ij,ij->i", gone, gone)
    return owner, squared, unsure


class _Comparison:
    """‖z‖² − 2 x · z for all centres z in one product, x and z from a common origin.

    Less by its largest error as far as that depends on z, so that the smallest is of the nearest
    centre unless another is within the error that depends on x: 4 (d + 16) u ‖x‖² and as much of
    ‖z‖² bound the product's rounding, (d + 5) u (2 ‖x‖ ‖z‖ + ‖z‖²), and that of moving x and z.
    """

    def __init__(
        self, centres: np.ndarray, leading: LeadingCoordinates | None, rounded: Rounding
    ) -> None:
        m, width = centres.shape
        self._leading, self._rounded = leading, rounded
        self._origin = centres.mean(0).astype(np.float32) if leading is None else leading.origin
        z = centres - self._origin
        own = np.einsum("ij,ij->i", z, z)
        self._share = 4 * (width + 16) * UNIT
        self._longest, self._error = float(np.sqrt(own.max())), 2 * self._share * float(own.max())
        self._z = np.column_stack([-2 * z, (1 - self._share) * own]).astype(np.float32)
        # small numbers are the faster to count with
        self._number = np.arange(m, dtype=np.min_scalar_type(m))[:, None]
        self._x = np.empty((0, width + 1), np.float32)

    def nearest(self, part: slice, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which is nearest to each of these vectors (r, d), (r,), and of which that is doubtful."""
        if len(self._x) != len(x):
            self._x = np.ones((len(x), x.shape[1] + 1), np.float32)
        moved = np.subtract(x, self._origin, out=self._x[:, :-1])
        squares = np.einsum("ij,ij->i", moved, moved)
        if self._leading is not None:
            self._leading.put(part, self._x, squares)
        found = self._z @ self._x.T
        apart = self._rounded.apart
        limit = np.sqrt(squares) * (4 * apart) + (4 * apart * (self._longest + apart) + self._error)
        limit += 2 * self._share * squares
        limit += found.min(0)
        near = (found <= limit).view(np.uint8).astype(self._number.dtype, copy=False)
        many = np.add.reduce(near, axis=0, dtype=near.dtype)
        # one of them is near, and the sum of its numbers is its number
        near *= self._number
        return np.add.reduce(near, axis=0, dtype=near.dtype), np.flatnonzero(many != 1)
