"""Feature vectors under a kernel (`tunesmith.kernels`), read a block at a time, in float64.

Of bits Tanimoto's kernel is a · b / (‖a‖² + ‖b‖² − a · b): all three kernels then rise with a · b,
and d² = k(a, a) + k(b, b) − 2 k(a, b) obeys the triangle inequality. On both rests what is left
out here, so counts are refused, and rows of zeros, whose distance from all others is the same.
"""

from collections.abc import Iterator
from typing import get_args

import numpy as np

from tunesmith.errors import ConfigError, DataError
from tunesmith.kernels import Kernel, kernel_values

Rows = slice | np.ndarray
_BLOCK = 2**18  # numbers in float64 at a time: they stay in a processor's cache
_CENTRES = 2**12  # compared with at a time
UNIT = 2.0**-24  # largest relative error of rounding to float32


class Points:
    """The rows of an array (n, d), of any real type, in memory or memory-mapped; never copied.

    square: ‖φ‖² of every row, (n,). name: what the rows are, for messages. Raises `ConfigError`
    for an unknown kernel, `DataError` for what is no array of finite numbers, for rows without
    length under ``cosine`` and ``tanimoto``, and for what are no bits under ``tanimoto``.
    """

    def __init__(self, array: np.ndarray, kernel: Kernel, name: str = "pool") -> None:
        if kernel not in get_args(Kernel):
            raise ConfigError(f"kernel {kernel!r} is unknown; use {', '.join(get_args(Kernel))}.")
        array = np.asanyarray(array)
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise DataError(
                f"{name}: features are {array.dtype} of shape {array.shape}; give real numbers, "
                "one row per structure, (n, d)."
            )
        if 0 in array.shape:
            raise DataError(f"{name}: there are no features ({array.shape}); nothing to select.")
        self.array, self.kernel, self.name = array, kernel, name
        self.square = np.empty(len(array))
        bits = True
        for part in self.parts():
            block = _widened(array[part], np.float64)
            self.square[part] = np.einsum("ij,ij->i", block, block)
            bits = bits and (kernel != "tanimoto" or bool(np.isin(block, (0, 1)).all()))
        self._refuse(~np.isfinite(self.square), "have features that are not finite numbers")
        if kernel != "linear":
            self._refuse(self.square == 0, f"are all zero, which the {kernel} kernel cannot place")
        if not bits:
            raise DataError(
                f"{name}: the tanimoto kernel compares bits, but there are features other than 0 "
                "and 1; use the cosine kernel for them."
            )

    def __len__(self) -> int:
        return len(self.array)

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    @property
    def flat(self) -> bool:
        """Whether the kernel is an inner product of `vectors`."""
        return self.kernel != "tanimoto"

    @property
    def single(self) -> bool:
        """Whether float32 holds products of the features."""
        return bool(1e-25 < self.square.max() < 1e30)

    @property
    def narrow(self) -> bool:
        """Whether distances can be taken between `vectors32`."""
        return self.flat and self.single

    @property
    def rough(self) -> float:
        """How far `vectors32` may be from `vectors`, in length."""
        if self.kernel == "cosine":
            return 4 * UNIT
        exact = self.array.dtype.itemsize <= (4 if self.array.dtype.kind == "f" else 2)
        return 0.0 if exact else UNIT * float(np.sqrt(self.square.max()))

    def parts(self, more: int = 0) -> Iterator[slice]:
        """Consecutive stretches of rows, small enough for float64 copies with so many more
        columns."""
        step = max(64, _BLOCK // (self.width + more))
        return (slice(i, min(i + step, len(self))) for i in range(0, len(self), step))

    def pieces(self, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Given rows in stretches: where in ``rows``, and these rows."""
        step = max(64, _BLOCK // self.width)
        for i in range(0, len(rows), step):
            yield slice(i, i + step), rows[i : i + step]

    def vectors(self, rows: Rows) -> np.ndarray:
        """Rows in float64, (r, d); of length one under the cosine kernel."""
        block = _widened(self.array[rows], np.float64)
        if self.kernel == "cosine":
            block /= np.sqrt(self.square[rows])[:, None]
        return block

    def vectors32(self, rows: Rows) -> np.ndarray:
        """`vectors` in float32, (r, d); of a slice the pool's own memory, if it can be."""
        block = _widened(self.array[rows], np.float32)
        if self.kernel == "cosine":
            return np.asarray(block * (1 / np.sqrt(self.square[rows])).astype(np.float32)[:, None])
        return block

    def diagonal(self, rows: Rows) -> np.ndarray:
        """k(x, x), (r,)."""
        square = self.square[rows]
        return square if self.kernel == "linear" else np.ones_like(square)

    def distances(self, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Squared distance of rows to one vector z (d,), (r,): no cancellation between equals."""
        found = np.empty(len(rows))
        for where, some in self.pieces(rows):
            x = self.vectors(some)
            if self.flat:
                x -= z
                found[where] = np.einsum("ij,ij->i", x, x)
            else:
                found[where] = squared_distances(x, z[None], self.kernel)[:, 0]
        return found

    def distances32(self, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """`distances` in float32, to z (d,) in float32."""
        found = np.empty(len(rows), np.float32)
        for where, some in self.pieces(rows):
            x = self.vectors32(some)
            x -= z
            np.einsum("ij,ij->i", x, x, out=found[where])
        return found

    def dots32(self, part: slice, vectors: np.ndarray) -> np.ndarray:
        """Inner products of raw rows with raw vectors (v, d) in float32, (v, r)."""
        block = _widened(self.array[part], np.float32)
        return (block @ vectors.astype(np.float32).T).T

    def nearest_possible(self, part: slice, dots: np.ndarray, square: float) -> np.ndarray:
        """The least squared distance that inner products in float32, (r,), allow, with a vector
        of this squared length.

        A float32 sum of d products is off by less than (d + 4) 2⁻²⁴ ‖x‖ ‖z‖: Higham, Accuracy
        and Stability of Numerical Algorithms, 3.1, and one rounding of each factor.
        """
        slack = (self.width + 4) * UNIT
        own = self.square[part]
        if self.kernel == "linear":
            return (1 - slack) * (own + square) - 2.0 * dots
        dots = dots.astype(np.float64)
        lengths = np.sqrt(own * square)
        dots += slack * lengths
        return 2 - 2 * (dots / lengths if self.flat else dots / (own + square - dots))

    def _refuse(self, wrong: np.ndarray, what: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            some = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
            raise DataError(
                f"{self.name}: {len(rows)} of {len(self)} rows {what} (row {some}, from 0); leave "
                "these structures out."
            )


def _widened(block: np.ndarray, dtype: type) -> np.ndarray:
    """As these floats; a copy unless it is float32 asked for and there."""
    if block.dtype == np.float16:
        # NumPy takes 1.8 ns a number for this on a CPU with the instruction for it, torch 0.14
        import torch

        block = torch.from_numpy(np.array(block)).float().numpy()
    return block.astype(dtype, copy=dtype is np.float64)


def closest(x: np.ndarray, z: np.ndarray, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Which of z (m, d) is nearest to each of x (r, d), and the squared distance, (r,) each."""
    index, distance = np.zeros(len(x), int), np.full(len(x), np.inf)
    for start in range(0, len(z), _CENTRES):
        d = squared_distances(x, z[start : start + _CENTRES], kernel)
        here = d.argmin(1)
        d = d[np.arange(len(x)), here]
        closer = d < distance
        index[closer], distance[closer] = start + here[closer], d[closer]
    return index, distance


def squared_distances(x: np.ndarray, z: np.ndarray, kernel: Kernel) -> np.ndarray:
    """d² of all `vectors` x (r, d) to all z (m, d), (r, m), at least 0."""
    found = kernel_values(x, z, kernel)
    found *= -2
    if kernel == "linear":
        found += np.einsum("ij,ij->i", x, x)[:, None]
        found += np.einsum("ij,ij->i", z, z)
    else:
        found += 2
    return np.maximum(found, 0, out=found)
