"""A map of structures: the principal components of a kernel, from landmarks."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from tunesmith.kernels import Kernel, gram

#: structures a map is fitted to; of more, as many drawn at random
LANDMARKS = 1000
_ROWS = 4096


@dataclass(frozen=True)
class Components:
    """Principal components of k around the mean of m landmarks; exact where they are everything.

    With K_c the landmarks' kernel matrix, centred, and K_c v = λv, a structure x lies at
    k_c(x)ᵀv/√λ (Schölkopf, Smola and Müller, Neural Computation 1998). explained: λ/tr K_c of each.
    """

    kernel: Kernel
    landmarks: np.ndarray
    explained: np.ndarray
    _means: np.ndarray
    _axes: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, kernel: Kernel, rng: np.random.Generator, *, n: int = 2) -> Self:
        """The n leading components of rows x (N, d)."""
        rows = rng.permutation(len(x))[:LANDMARKS]
        landmarks = np.asarray(x[np.sort(rows)])
        k = gram(landmarks, landmarks, kernel)
        means = k.mean(0)
        centred = k - means - means[:, None] + means.mean()
        values, vectors = np.linalg.eigh(centred)
        values, vectors = values[::-1][:n], vectors[:, ::-1][:, :n]
        # the sign is chance: the largest entry points right and up
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(values))])
        total = float(np.trace(centred))
        real = values > 1e-12 * max(total, 1e-300)
        axes = np.zeros((len(landmarks), n))
        axes[:, : len(values)][:, real] = vectors[:, real] / np.sqrt(values[real])
        explained = np.zeros(n)
        explained[: len(values)][real] = values[real] / total
        return cls(kernel, landmarks, explained, means, axes)

    def project(self, x: np.ndarray) -> np.ndarray:
        """Where rows x (N, d) lie: (N, n), in units of √k."""
        parts = [self._part(x[i : i + _ROWS]) for i in range(0, len(x), _ROWS)]
        return np.concatenate([np.zeros((0, self._axes.shape[1])), *parts])

    def _part(self, x: np.ndarray) -> np.ndarray:
        k = gram(x, self.landmarks, self.kernel)
        return (k - k.mean(1)[:, None] - self._means + self._means.mean()) @ self._axes
