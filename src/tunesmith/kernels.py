"""How alike two structures are, from vectors that represent them: every kernel, defined once.

| kernel | k(a, b) |
|---|---|
| ``linear`` | a · b |
| ``cosine`` | ã · b̃ with ã = a / max(‖a‖, ε) |
| ``tanimoto`` | Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ) of counts; of bits that is ∥a∩b∥ / ∥a∪b∥ |

Rows are structures, (n, d), of any real type; kernels are float64. A row of zeros is like nothing,
itself included: its cosine and Tanimoto kernels are 0.
"""

from typing import Literal, get_args

import numpy as np

from tunesmith.errors import DataError

Kernel = Literal["linear", "cosine", "tanimoto"]
#: below which a vector's length, or a union, counts as none
EPSILON = 1e-12
_ROWS = 4096  # held in float64 at a time


def gram(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> np.ndarray:
    """k between all rows of x (n, d) and y (m, d): (n, m) float64.

    Beside the result, memory for a few thousand rows of x and twice all of y. Raises `DataError`
    for different widths, and for negative entries under the Tanimoto kernel.
    """
    x, y = _rows(x, kernel), _rows(y, kernel)
    if x.shape[1] != y.shape[1]:
        raise DataError(
            f"features of {x.shape[1]} and {y.shape[1]} columns cannot be compared; make both with "
            "the same model and representation."
        )
    out = np.empty((len(x), len(y)))
    right = normalised(y, kernel).astype(np.float64, copy=False)
    counts = kernel == "tanimoto" and not (_are_bits(x) and _are_bits(y))
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        left = normalised(x[part], kernel).astype(np.float64, copy=False)
        out[part] = _of_counts(left, right) if counts else kernel_values(left, right, kernel)
    return out


def kernel_values(x: np.ndarray, z: np.ndarray, kernel: Kernel) -> np.ndarray:
    """k of all x (r, d) with all z (m, d), (r, m), from their inner products.

    Rows are of length one under the cosine kernel (`normalised`), and bits under Tanimoto's.
    """
    dots = x @ z.T
    if kernel == "tanimoto":  # of bits, the intersections of all pairs are one matrix product
        dots /= np.maximum((x * x).sum(1)[:, None] + (z * z).sum(1) - dots, EPSILON)
    return dots


def _of_counts(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Tanimoto's kernel of counts, one column at a time."""
    found = np.empty((len(x), len(z)))
    for j, row in enumerate(z):
        found[:, j] = np.minimum(x, row).sum(1)
    found /= np.maximum(x.sum(1)[:, None] + z.sum(1) - found, EPSILON)
    return found


def diagonal(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """k of every row of x (n, d) with itself: (n,) float64. Raises as `gram`."""
    x = _rows(x, kernel)
    if kernel == "tanimoto":
        return (x.sum(1, dtype=np.float64) >= EPSILON).astype(np.float64)
    squares = _squares(x)
    return squares if kernel == "linear" else squares / np.maximum(squares, EPSILON**2)


def normalised(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Rows whose linear kernel is the given one: x / max(‖x‖, ε) for the cosine, in float32 or,
    where x is, in float64. Rows of the linear and Tanimoto kernels stay as they are."""
    x = _rows(x, kernel)
    if kernel != "cosine":
        return x
    lengths = np.maximum(np.sqrt(_squares(x)), EPSILON)[:, None]
    wide = np.float64 if x.dtype == np.float64 else np.float32
    return np.divide(x, lengths, dtype=np.float64).astype(wide, copy=False)


def _rows(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    if kernel not in get_args(Kernel):
        raise DataError(f"there is no kernel {kernel!r}; use {', '.join(get_args(Kernel))}.")
    x = np.asanyarray(x)
    if x.ndim != 2:
        raise DataError(
            f"features have shape {x.shape}; give one row of numbers per structure, (n, d)."
        )
    if x.dtype.kind not in "fiub":
        raise DataError(f"features are {x.dtype}, not real numbers; give floats or counts.")
    if kernel == "tanimoto" and x.dtype.kind in "fi" and x.size and x.min() < 0:
        raise DataError(
            "the Tanimoto kernel compares counts or bits, but features have negative entries; use "
            "the cosine kernel for them."
        )
    return x


def _squares(x: np.ndarray) -> np.ndarray:
    """‖x‖² of every row in float64, without a float64 copy of all of them."""
    return np.einsum("ij,ij->i", x, x, dtype=np.float64, casting="unsafe")


def _are_bits(x: np.ndarray) -> bool:
    return x.dtype.kind == "b" or all(
        bool(np.isin(x[i : i + _ROWS], (0, 1)).all()) for i in range(0, len(x), _ROWS)
    )
