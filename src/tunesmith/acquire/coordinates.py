"""Sixteen numbers for each point, whose distances are never larger than those of the points."""

import numpy as np

from tunesmith.acquire.points import Points

_LEADING = 15  # coordinates; with what is left over they fill a cache line of float32
_WORTH = 0.5  # share of the variance they must hold
_SAMPLE = 4096  # rows their directions come from


class LeadingCoordinates:
    """x → (its coordinates along orthonormal directions, the length of the rest), in float32.

    The rest of a difference is at least as long as the difference of the rests' lengths, so images
    are at most as far apart as the points. n: how many points are kept.
    """

    def __init__(self, n: int, origin: np.ndarray, directions: np.ndarray) -> None:
        width = directions.shape[1] + 1
        self._origin, self._directions = origin, directions
        self._images = np.empty((n, width), np.float32)
        self._squares = np.empty(n, np.float32)
        # a little less than they are, by the rounding of the numbers, their squares and products
        self._less = np.float32(1 - 2 * (width + 7) * 2.0**-24)

    def of(self, x: np.ndarray) -> np.ndarray:
        """Images of vectors (r, d), (r, coordinates + 1)."""
        x = x - self._origin
        along = x @ self._directions
        rest = np.einsum("ij,ij->i", x, x) - np.einsum("ij,ij->i", along, along)
        images = np.empty((len(x), along.shape[1] + 1), np.float32)
        images[:, :-1], images[:, -1] = along, np.sqrt(np.maximum(rest, 0))
        return images

    def put(self, part: slice, x: np.ndarray) -> None:
        """Keeps the images of these vectors."""
        self._images[part] = images = self.of(x)
        self._squares[part] = np.einsum("ij,ij->i", images, images)

    def least(self, part: slice, rows: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Squared distances that points are at least from the point of an image; rows (r,) of a
        part of them, in order."""
        images, squares = self._images[part], self._squares[part]
        if len(rows) < len(images):
            images, squares = images.take(rows, axis=0), squares[rows]
        found = images @ (-2 * image)
        found += self._less * (squares + image @ image)
        return np.asarray(found)


def leading_coordinates(points: Points) -> LeadingCoordinates | None:
    """The principal ones of some rows; None where they say little or there are none."""
    if not points.flat or not points.single or points.width <= _LEADING + 1:
        return None
    x = points.vectors(np.arange(0, len(points), -(-len(points) // _SAMPLE)))
    origin = x.mean(0)
    variance, directions = np.linalg.eigh((x - origin).T @ (x - origin))
    if variance[-_LEADING:].sum() <= _WORTH * variance.sum():
        return None
    return LeadingCoordinates(len(points), origin, directions[:, -_LEADING:])
