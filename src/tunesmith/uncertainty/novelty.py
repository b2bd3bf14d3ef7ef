"""How new structures are to a labelled set, by their features."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from tunesmith.uncertainty.kernels import Kernel, diagonal, gram


class Variance:
    """Posterior variance of a Gaussian process with a kernel between features.

    σ²(x) = k(x, x) − k_T(x)ᵀ (K_TT + λI)⁻¹ k_T(x) with T the labelled structures, (m, d), of which
    the factor of K_TT + λI is kept. noise: λ > 0, in units of the kernel.
    """

    def __init__(self, labelled: np.ndarray, *, noise: float, kernel: Kernel) -> None:
        self.labelled, self.kernel = labelled, kernel
        among = gram(labelled, labelled, kernel)
        self._factor = cho_factor(among + noise * np.eye(len(labelled)), lower=True)

    def of(self, x: np.ndarray) -> np.ndarray:
        """(n,) variances of the rows of x (n, d), float64, not below zero."""
        with_labelled = gram(x, self.labelled, self.kernel)
        half = solve_triangular(self._factor[0], with_labelled.T, lower=True)
        variance: np.ndarray = diagonal(x, self.kernel) - np.sum(half**2, axis=0)
        return np.maximum(variance, 0.0)

    def scale(self, residuals: np.ndarray) -> float:
        """γ̂ = (r − r̄)ᵀ (K_TT + λI)⁻¹ (r − r̄) / m of the residuals (m,) of the labelled."""
        centred = residuals - residuals.mean()
        return float(centred @ cho_solve(self._factor, centred) / len(centred))


def distance(x: np.ndarray, labelled: np.ndarray, kernel: Kernel) -> np.ndarray:
    """(n,) squared distances of the rows of x (n, d) to the nearest labelled one (m, d):
    min over z of k(x, x) + k(z, z) − 2 k(x, z)."""
    across = diagonal(labelled, kernel) - 2 * gram(x, labelled, kernel)
    return np.maximum(diagonal(x, kernel) + across.min(1), 0.0)
