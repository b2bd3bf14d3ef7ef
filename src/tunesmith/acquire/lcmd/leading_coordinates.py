"""Images of points in fifteen dimensions, never much farther apart than the points."""

import numpy as np

from tunesmith.acquire.points import UNIT, Points

_LEADING = 14  # coordinates; with the length of the rest and one number more a cache line
_WORTH = 0.5  # share of the variance they must hold
_SAMPLE = 4096  # rows their directions come from
_SPARE = 32  # the bound is less tight by one part in so many, to make room for rounding


class LeadingCoordinates:
    """x → (its coordinates along orthonormal directions, the length of the rest), in float32.

    The rest of a difference is at least as long as the difference of the rests' lengths, so images
    are at most as far apart as the points. origin (d,), directions (d, coordinates): the points'
    images are of x − origin. n: how many points are kept.

    An image is off by e ≤ √((d + 32) u) ‖x − origin‖, mostly by that of a short rest; u = 2⁻²⁴. By
    (a + b)² ≤ (1 + 1/s) a² + (1 + s) b² points closer than D have images closer than
    (1 + 1/s) D² + (1 + s) (e_x + e_z)². A line is an image y and what is compared with −2 y · y_z:
    ‖y‖² less these errors, and less (1 + 1/s) D² once there is a D.
    """

    def __init__(self, n: int, origin: np.ndarray, directions: np.ndarray) -> None:
        width, kept = directions.shape
        self.origin = origin.astype(np.float32)
        # room for the two other numbers, and none of a constant after x
        self._directions = np.zeros((width + 1, kept + 2), np.float32)
        self._directions[:-1, :-2] = directions
        self._lines = np.empty((n, kept + 2), np.float32)
        rounding = 2 * (1 + _SPARE) * (width + 32) + 2 * (kept + 16)
        self._less = np.float32(1 - rounding * UNIT)

    def put(self, part: slice, x: np.ndarray, squares: np.ndarray) -> None:
        """Keeps the images of points, with x − origin and a constant given, (r, d + 1), and
        ‖x − origin‖², (r,)."""
        lines = np.matmul(x, self._directions, out=self._lines[part])
        rest = squares - np.einsum("ij,ij->i", lines, lines)
        np.sqrt(np.maximum(rest, 0, out=rest), out=lines[:, -2])
        np.multiply(squares, self._less, out=lines[:, -1])

    def lines(self, rows: np.ndarray, most: np.ndarray) -> np.ndarray:
        """Of points with squared distances that closer ones must be below, (r, coordinates + 2)."""
        found = self._lines.take(rows, axis=0)
        found[:, -1] -= (1 + 1 / _SPARE) * most
        return found

    def sought(self, row: int) -> tuple[np.ndarray, float]:
        """w and b of a point: lines of points that are closer than their D have line · w < b."""
        line = self._lines[row]
        return np.append(-2 * line[:-1], np.float32(1)), -float(line[-1])


def leading_coordinates(points: Points) -> LeadingCoordinates | None:
    """The principal ones of some rows; None where they say little or there are none."""
    if not points.narrow or points.width <= _LEADING + 2:
        return None
    x = points.vectors(np.arange(0, len(points), -(-len(points) // _SAMPLE)))
    origin = x.mean(0)
    x = x - origin
    # tangent kernels of a model of 89 elements have thousands of columns, most of them zero
    used = np.flatnonzero(x.any(0))
    share, directions = _principal(x[:, used])
    if share <= _WORTH:
        return None
    whole = np.zeros((points.width, directions.shape[1]), x.dtype)
    whole[used] = directions
    return LeadingCoordinates(len(points), origin, whole)


def _principal(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Share of the variance along the leading principal directions, and those, orthonormal."""
    if not x.size:
        return 0.0, np.zeros((x.shape[1], 0), x.dtype)
    if len(x) >= x.shape[1]:
        variance, found = np.linalg.eigh(x.T @ x)
        directions = found[:, -_LEADING:]
    else:
        # of fewer rows than columns the same by inner products of rows
        variance, rows = np.linalg.eigh(x @ x.T)
        directions = np.linalg.qr(x.T @ rows[:, -_LEADING:]).Q
    return float(variance[-_LEADING:].sum() / variance.sum()), directions
