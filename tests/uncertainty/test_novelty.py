"""Posterior variances and distances to the labelled, by other routes."""

import numpy as np
import pytest

from tunesmith.uncertainty.kernels import Kernel, gram
from tunesmith.uncertainty.novelty import Variance, distance

RNG = np.random.default_rng(0)
LABELLED, X = RNG.normal(size=(6, 4)), RNG.normal(size=(9, 4))
NOISE = 1e-3


@pytest.mark.parametrize("kernel", ["linear", "cosine"])
def test_the_variance_is_that_of_the_joint_distribution(kernel: Kernel) -> None:
    """1 over the last entry of the inverse of the joint covariance, noise on the labelled alone."""
    found = Variance(LABELLED, noise=NOISE, kernel=kernel).of(X)
    for x, variance in zip(X, found, strict=True):
        joint = gram(np.vstack([LABELLED, x]), np.vstack([LABELLED, x]), kernel)
        joint[:6, :6] += NOISE * np.eye(6)
        assert variance == pytest.approx(1 / np.linalg.inv(joint)[-1, -1], rel=1e-6)


def test_a_labelled_structure_has_almost_none() -> None:
    variance = Variance(LABELLED[:1], noise=NOISE, kernel="cosine").of(LABELLED[:2])
    assert variance[0] == pytest.approx(NOISE / (1 + NOISE))
    assert variance[1] > 10 * variance[0]


def test_the_scale_is_that_of_the_draws() -> None:
    """Residuals drawn from γ (K + λI) give γ back, up to the mean that is taken off."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 600)) / np.sqrt(600)
    covariance = gram(features, features, "linear") + NOISE * np.eye(400)
    residuals = 0.2 * np.linalg.cholesky(covariance) @ rng.normal(size=400)
    scale = Variance(features, noise=NOISE, kernel="linear").scale(residuals)
    assert scale == pytest.approx(0.04, rel=0.15)


def test_distances_are_euclidean_ones_of_linear_features() -> None:
    apart = ((X[:, None] - LABELLED[None]) ** 2).sum(-1).min(1)
    np.testing.assert_allclose(distance(X, LABELLED, "linear"), apart, rtol=1e-9)
    assert distance(LABELLED, LABELLED, "linear").max() < 1e-12
