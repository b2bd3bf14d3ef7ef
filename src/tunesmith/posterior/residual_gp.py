"""A Gaussian process for what a pretrained model gets wrong: its error, and how sure of it one is.

The model's prediction b(x) stays fixed, and the process learns the residuals r = y − b of m
labelled structures (C.4 of the paper on pretrained representations, eqs. 18 to 20):

    μ(x) = r̄ + k(x)ᵀ (K + λI)⁻¹ (r − r̄)
    s²(x) = k(x, x) − k(x)ᵀ (K + λI)⁻¹ k(x)
    γ̂ = (r − r̄)ᵀ (K + λI)⁻¹ (r − r̄) / m

The corrected prediction is b + μ with variance γ̂ s²; λ regularises and is not added to it. A kernel
says how alike structures are, not how large errors are: γ̂ does.

| symbol | here |
|---|---|
| r̄, γ̂, λ | ``mean``, ``scale``, ``noise`` |
| K + λI = L Lᵀ, and L⁻¹ | ``_Dual.factor``, `_solved` |
| Φ, of which K = ΦΦᵀ | `normalised` features |

Residuals are energies of whole structures, eV, as in the paper: its RMSE is in meV and its NLL of
−1.68 nats is that of 45 meV in eV. A kernel of normalised vectors knows no size, so structures
should be of similar size; and r̄ is one constant, so b and y must share their zero of energy (as a
tuned model's do, or after `tunesmith.data.e0` has aligned them). The error of r̄ is in no formula:
where the features cannot express a constant, as those of mean zero, error bars come out too short.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from tunesmith.calibrate import scores
from tunesmith.core import KERNEL_NOISE
from tunesmith.errors import DataError
from tunesmith.kernels import Kernel, diagonal, gram, normalised

_ROWS = 4096  # structures predicted at a time


@dataclass(frozen=True)
class _Dual:
    """(K + λI)⁻¹ over m structures: for any kernel, O(m³)."""

    kernel: Kernel
    features: np.ndarray
    factor: np.ndarray
    weights: np.ndarray

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of eqs. 18 and 19: μ − r̄ (n,) and s² (n,)."""
        k = gram(x, self.features, self.kernel)
        explained = np.sum(_solved(self.factor, k.T) ** 2, axis=0)
        return k @ self.weights, diagonal(x, self.kernel) - explained


@dataclass(frozen=True)
class _Primal:
    """The same through (ΦᵀΦ + λI)⁻¹ over d features, for kernels that are a scalar product.

    s² = λ φᵀ (ΦᵀΦ + λI)⁻¹ φ, which unlike the difference above loses no digits.
    """

    kernel: Kernel
    noise: float
    factor: np.ndarray
    weights: np.ndarray

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _require_width(x, len(self.weights))
        phi = normalised(x, self.kernel)
        return phi @ self.weights, self.noise * np.sum(_solved(self.factor, phi.T) ** 2, axis=0)


@dataclass(frozen=True)
class ResidualGP:
    """A fitted process; `fit` makes it.

    mean: r̄, eV; scale: γ̂, eV² per unit of the kernel; n: structures it was fitted to.
    """

    mean: float
    scale: float
    n: int
    _form: _Dual | _Primal

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        residuals: np.ndarray,
        *,
        noise: float = KERNEL_NOISE,
        kernel: Kernel = "cosine",
    ) -> Self:
        """From features (m, d) and residuals y − b (m,) eV of labelled structures; noise is λ.

        Through m × m or, where that is less and the kernel allows it, d × d matrices, in float64.
        Raises `DataError` for values that are not finite, shapes that do not fit, fewer than two
        structures, equal residuals and a noise that is not positive.
        """
        x, r = _checked(features, residuals, noise)
        mean = float(r.mean())
        y = r - mean
        if not y.any():
            raise DataError(
                f"all {len(y)} residuals are {mean:g} eV, from which no scale of errors can be "
                "learnt; give structures on which the model's errors differ."
            )
        form: _Dual | _Primal
        if kernel != "tanimoto" and x.shape[1] < len(x):
            phi = normalised(x, kernel)
            factor = _factor(phi.T @ phi, noise)
            weights = cho_solve((factor, True), phi.T @ y)
            form = _Primal(kernel, noise, factor, weights)
            # yᵀ(K + λI)⁻¹y as a sum of squares, which cannot become negative
            energy = (np.sum((y - phi @ weights) ** 2) + noise * np.sum(weights**2)) / noise
        else:
            factor = _factor(gram(x, x, kernel), noise)
            form = _Dual(kernel, x, factor, cho_solve((factor, True), y))
            energy = np.sum(_solved(factor, y) ** 2)
        return cls(mean, float(energy / len(y)), len(y), form)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The correction μ to add to the model's energies and its std √(γ̂ s²): (n,), (n,), eV.

        features: (n, d) of the same representation. Raises `DataError` for other widths and for
        features that are not finite.
        """
        x = _finite(features)
        parts = [self._form.predict(x[i : i + _ROWS]) for i in range(0, len(x), _ROWS)]
        correction = np.concatenate([np.zeros(0), *(m for m, _ in parts)])
        variance = np.concatenate([np.zeros(0), *(v for _, v in parts)])
        # of a structure like labelled ones s² is a small difference, rounded to below 0 at worst
        return self.mean + correction, np.sqrt(self.scale * np.maximum(variance, 0.0))


def fit_prefix(
    features: np.ndarray,
    residuals: np.ndarray,
    valid_features: np.ndarray,
    valid_residuals: np.ndarray,
    *,
    noise: float = KERNEL_NOISE,
    kernel: Kernel = "cosine",
) -> tuple[ResidualGP, np.ndarray]:
    """The process of the first n structures, n chosen by the validation structures' Gaussian NLL.

    features (m, d) and residuals (m,) in the order of acquisition (`posterior_variance`): later
    structures can worsen the calibration. Returns the process and the NLL (m,) of every length
    n = 1 … m, nats of energies in eV, infinite where a length leaves no scale. Raises as
    `ResidualGP.fit`.

    All lengths cost one factorisation: the leading block of L is the factor of the leading block
    of K + λI. Memory for m × m and m × (validation) numbers.
    """
    x, r = _checked(features, residuals, noise)
    seen, wanted = _checked(valid_features, valid_residuals, noise, least=1)
    factor = _factor(gram(x, x, kernel), noise)
    columns = np.column_stack([r, np.ones_like(r), gram(x, seen, kernel)])
    solved = _solved(factor, columns)
    labels, ones, rows = solved[:, 0], solved[:, 1], solved[:, 2:]
    counts = np.arange(1, len(r) + 1)
    means = np.cumsum(r) / counts
    # L⁻¹(r − r̄) of the first n: r̄ changes with n, but L⁻¹r and L⁻¹1 only grow longer
    first = np.cumsum(labels**2) - 2 * means * np.cumsum(labels * ones)
    scales = (first + means**2 * np.cumsum(ones**2)) / counts
    to_labels, to_ones = np.cumsum(rows * labels[:, None], 0), np.cumsum(rows * ones[:, None], 0)
    correction = means[:, None] + to_labels - means[:, None] * to_ones
    variance = diagonal(seen, kernel) - np.cumsum(rows**2, axis=0)
    nll = np.full(len(r), np.inf)
    for i in range(1, len(r)):
        spread = np.sqrt(np.maximum(scales[i] * variance[i], 0.0))
        if np.ptp(r[: i + 1]) > 0 and (spread > 0).all():
            nll[i] = scores.gaussian_nll(correction[i] - wanted, spread)
    if not np.isfinite(nll).any():
        raise DataError(
            "no number of these structures leaves the validation structures an error bar; give "
            "structures on which the model's errors differ, and validate on others."
        )
    n = int(np.argmin(nll)) + 1
    return ResidualGP.fit(x[:n], r[:n], noise=noise, kernel=kernel), nll


def _factor(matrix: np.ndarray, noise: float) -> np.ndarray:
    """L of L Lᵀ = matrix + λI."""
    matrix[np.diag_indices_from(matrix)] += noise
    return cholesky(matrix, lower=True, overwrite_a=True)


def _solved(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """L⁻¹ right."""
    return solve_triangular(factor, right, lower=True, check_finite=False)


def _checked(
    features: np.ndarray, residuals: np.ndarray, noise: float, least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    x, r = _finite(features), np.asarray(residuals, dtype=float)
    if r.shape != (len(x),):
        raise DataError(
            f"{len(x)} structures have features but residuals have shape {r.shape}; give one "
            "number per structure."
        )
    if len(r) < least:
        raise DataError(
            f"{len(r)} structures are too few to learn from; give {least} or, better, dozens."
        )
    if not np.isfinite(r).all():
        raise DataError(
            f"the residual of structure {int(np.argmin(np.isfinite(r)))} is not finite; leave it "
            "out or label it again."
        )
    if not (np.isfinite(noise) and noise > 0):
        raise DataError(f"the noise λ is {noise}; give a positive number, as 1e-3.")
    return x, r


def _require_width(x: np.ndarray, d: int) -> None:
    if x.shape[1] != d:
        raise DataError(
            f"features have {x.shape[1]} columns but the process was fitted to {d} columns; make "
            "both with the same model and representation."
        )


def _finite(features: np.ndarray) -> np.ndarray:
    """As float64 rows."""
    x = np.asarray(features, dtype=float)
    if x.ndim != 2:
        raise DataError(f"features have shape {x.shape}; give one row per structure, (n, d).")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise DataError(
            f"the features of structure {int(np.argmax(bad))} are not finite ({int(bad.sum())} "
            "such); look for overlapping atoms, or leave them out."
        )
    return x
