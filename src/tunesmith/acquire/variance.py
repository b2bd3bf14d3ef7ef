"""Posterior variance of a Gaussian process whose conditioning set grows point by point."""

import math

import numpy as np

from tunesmith.kernels import Kernel, kernel_values


class PosteriorVariance:
    """σ²(x) = k(x, x) − k_T(x)ᵀ (K_TT + λI)⁻¹ k_T(x) = k(x, x) − ‖L⁻¹ k_T(x)‖², L Lᵀ = K_TT + λI.

    An inner-product kernel needs L⁻¹ K_T only through F = L⁻¹ Z, d numbers for each point of T
    with vectors Z, and T itself only through ZᵀZ: more than d points are replaced by the d rows of
    a triangular factor of it. Of the Tanimoto kernel F = L⁻¹ is kept. Either grows by a row for
    each point. Vectors are those of `Points`; float64 throughout.
    """

    def __init__(self, kernel: Kernel, noise: float, width: int) -> None:
        self._kernel, self._noise, self._width = kernel, noise, width
        self._flat = kernel != "tanimoto"
        self._z = np.empty((0, width))
        self._factor = np.empty((0, width if self._flat else 0))

    def of(self, x: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
        """σ² of vectors (r, d) with k(x, x) given, (r,)."""
        columns = self._columns(x)
        return diagonal - np.einsum("ij,ij->i", columns, columns)

    def add(self, z: np.ndarray, diagonal: float) -> None:
        """Conditions on one more vector (d,) too."""
        if self._flat and len(self._z) >= 2 * self._width:
            self._restart(np.asarray(np.linalg.qr(self._z, mode="r")))
        column = self._columns(z[None])[0]
        pivot = math.sqrt(max(diagonal - column @ column, 0.0) + self._noise)
        if self._flat:
            row = (z - column @ self._factor) / pivot
        else:
            row = np.append(-(column @ self._factor), 1.0) / pivot
            self._factor = np.pad(self._factor, ((0, 0), (0, 1)))
        self._factor = np.vstack([self._factor, row])
        self._z = np.vstack([self._z, z])

    def add_all(self, z: np.ndarray, diagonal: np.ndarray) -> None:
        """Conditions on vectors (m, d) too."""
        if self._flat and len(z) > self._width:
            z = np.asarray(np.linalg.qr(z, mode="r"))
            diagonal = (z * z).sum(1)
        for row, own in zip(z, diagonal, strict=True):
            self.add(row, float(own))

    def _columns(self, x: np.ndarray) -> np.ndarray:
        basis = x if self._flat else kernel_values(x, self._z, self._kernel)
        return np.asarray(basis @ self._factor.T)

    def _restart(self, z: np.ndarray) -> None:
        self._z, self._factor = self._z[:0], self._factor[:0]
        self.add_all(z, (z * z).sum(1))
