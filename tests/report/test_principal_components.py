"""Principal components of a kernel against scikit-learn's and against those of the features."""

import numpy as np
import pytest
from sklearn.decomposition import PCA, KernelPCA

from tunesmith.kernels import gram, normalised
from tunesmith.report import principal_components
from tunesmith.report.principal_components import Components


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.mark.parametrize("kernel", ["linear", "cosine", "tanimoto"])
def test_as_scikit_learn_has_them(rng, kernel):
    x = rng.integers(0, 3, size=(40, 12)).astype(float)
    new = rng.integers(0, 3, size=(15, 12)).astype(float)
    theirs = KernelPCA(2, kernel="precomputed").fit(gram(x, x, kernel))
    ours = Components.fit(x, kernel, rng)
    for got, want in (
        (ours.project(x), theirs.transform(gram(x, x, kernel))),
        (ours.project(new), theirs.transform(gram(new, x, kernel))),
    ):
        signs = np.sign(np.sum(got * want, axis=0))
        np.testing.assert_allclose(got * signs, want, atol=1e-8)


def test_of_a_vector_kernel_they_are_those_of_the_features(rng):
    x = rng.normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]
    pca = PCA(2).fit(normalised(x, "cosine"))
    ours = Components.fit(x, "cosine", rng)
    np.testing.assert_allclose(ours.explained, pca.explained_variance_ratio_, rtol=1e-8)


def test_more_structures_than_landmarks(rng, monkeypatch):
    """A sample finds the plane that all lie in but for a little noise."""
    monkeypatch.setattr(principal_components, "LANDMARKS", 100)
    x = rng.normal(size=(3000, 8)) * [9, 4, *(6 * [0.01])] + 3
    ours = Components.fit(x, "linear", rng)
    assert len(ours.landmarks) == 100
    assert ours.explained.sum() > 0.999
    got = ours.project(x)
    centred = x - ours.landmarks.mean(0)
    for i in range(2):
        assert abs(np.corrcoef(got[:, i], centred[:, i])[0, 1]) > 0.98


def test_structures_without_two_directions_lie_on_a_point(rng):
    ours = Components.fit(np.ones((4, 3)), "cosine", rng)
    np.testing.assert_allclose(ours.project(np.ones((2, 3))), 0, atol=1e-6)
    np.testing.assert_allclose(ours.explained, 0)
    line = Components.fit(np.array([[1.0], [2.0], [4.0]]), "linear", rng)
    np.testing.assert_allclose(line.explained, [1, 0])
    assert Components.fit(np.ones((1, 3)), "linear", rng).project(np.ones((1, 3))).shape == (1, 2)
