"""How alike two structures are, from vectors that represent them; and how far members disagree.

| kernel | k(a, b) |
|---|---|
| ``linear`` | a · b |
| ``cosine`` | ã · b̃ with ã = a / max(‖a‖, ε) |
| ``tanimoto`` | Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ) of counts; of bits that is ∥a∩b∥ / ∥a∪b∥ |

Rows are structures, (n, d), of any real type; kernels are float64. A row of zeros is like nothing,
itself included: its cosine and Tanimoto kernels are 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from ase import Atoms

from tunesmith.core import Prediction
from tunesmith.errors import DataError, ModelError

if TYPE_CHECKING:
    from tunesmith.posterior.ensemble import Ensemble

Kernel = Literal["linear", "cosine", "tanimoto"]
#: below which a vector's length, or a union, counts as none
EPSILON = 1e-12
_TOGETHER = 16  # structures whose members' spread is predicted in one pass
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
    # of bits, the intersections of all pairs are one matrix product
    bits = kernel == "tanimoto" and _are_bits(x) and _are_bits(y)
    sums = right.sum(1)
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        left = normalised(x[part], kernel).astype(np.float64, copy=False)
        if kernel != "tanimoto" or bits:
            out[part] = left @ right.T
        else:
            for j, row in enumerate(right):
                out[part, j] = np.minimum(left, row).sum(1)
        if kernel == "tanimoto":
            out[part] /= np.maximum(left.sum(1)[:, None] + sums - out[part], EPSILON)
    return out


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


def committee_scores(prediction: Prediction) -> dict[str, np.ndarray]:
    """How far members disagree about every structure, (B,) each, by the score's name.

    ``committee-energy``: standard deviation of the energies, eV. ``committee-force``: the largest
    over atoms of sqrt(Σ_xyz std²), eV/Å; ``committee-force-mean``: the mean over atoms. Over
    members alone, predicted noise left out; NaN where a spread was not asked for. Raises
    `ModelError` where there is one member.
    """
    spread = prediction.var_model
    if spread is None:
        raise ModelError(
            "a committee's score needs members that disagree, but this model has one member; tune "
            "a committee (--strategy committee), or select by its features."
        )
    atoms = np.sqrt(spread.forces.sum(1))
    ends = np.cumsum(prediction.n_atoms)
    parts = np.split(atoms, ends[:-1])
    return {
        "committee-energy": np.sqrt(spread.energy),
        "committee-force": np.array([p.max() for p in parts]),
        "committee-force-mean": np.array([p.mean() for p in parts]),
    }


def disagreement(posterior: Ensemble, structures: Iterable[Atoms], score: str) -> np.ndarray:
    """`committee_scores` of that name of any number of structures, (n,), a few at a time."""
    spread: Literal["energy", "all"] = "energy" if score == "committee-energy" else "all"
    left, found = iter(structures), []
    while batch := list(islice(left, _TOGETHER)):
        found.append(committee_scores(posterior.predict(batch, spread=spread))[score])
    return np.concatenate(found)


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
