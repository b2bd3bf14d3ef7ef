"""Kernels entry by entry, and committee scores by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tunesmith.core import Prediction, Quantities
from tunesmith.errors import DataError, ModelError
from tunesmith.kernels import diagonal, gram, normalised
from tunesmith.posterior.disagreement import committee_scores

KERNELS = ("linear", "cosine", "tanimoto")


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.poisson(1.5, (9, 20)).astype(float), rng.poisson(2.0, (4, 20)).astype(float)


def one_by_one(a: np.ndarray, b: np.ndarray, kernel: str) -> float:
    if kernel == "linear":
        return sum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    if kernel == "cosine":
        return 1 - float(cdist(a[None], b[None], "cosine")[0, 0])
    # Jaccard of multisets: an element that occurs k times is k elements
    left = {(i, k) for i, count in enumerate(a) for k in range(int(count))}
    right = {(i, k) for i, count in enumerate(b) for k in range(int(count))}
    return len(left & right) / len(left | right)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_entry(features: tuple[np.ndarray, np.ndarray], kernel: str) -> None:
    x, y = features
    expected = [[one_by_one(a, b, kernel) for b in y] for a in x]
    np.testing.assert_allclose(gram(x, y, kernel), expected, rtol=1e-13)
    np.testing.assert_allclose(diagonal(x, kernel), np.diag(gram(x, x, kernel)), rtol=1e-13)


def test_tanimoto_of_bits_is_that_of_sets(features: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (f > 1 for f in features)
    expected = 1 - cdist(x, y, "jaccard")
    for kind in (bool, np.uint8, np.float32):
        np.testing.assert_allclose(gram(x.astype(kind), y, "tanimoto"), expected, rtol=1e-13)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("kernel", KERNELS)
def test_any_type_gives_float64(
    features: tuple[np.ndarray, np.ndarray], kernel: str, kind: type
) -> None:
    x, y = features
    found = gram(x.astype(kind), y.astype(kind), kernel)
    assert found.dtype == np.float64
    # cosines of narrow types come from rows that are unit vectors to float32
    np.testing.assert_allclose(found, gram(x, y, kernel), rtol=3e-7)
    # a sum of squares beyond float16's largest number
    far = np.full((2, 300), 60.0, kind)
    np.testing.assert_allclose(diagonal(far, kernel), np.diag(gram(far, far, kernel)), rtol=1e-6)
    assert np.isfinite(diagonal(far, kernel)).all()


def test_many_rows_are_as_few() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9000, 3))
    whole = gram(x, x[:5], "cosine")
    np.testing.assert_array_equal(whole[8000:8010], gram(x[8000:8010], x[:5], "cosine"))


def test_normalised_rows_have_unit_length(features: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = features
    found = normalised(x.astype(np.float32), "cosine")
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    for kernel in ("linear", "tanimoto"):
        assert normalised(x, kernel) is x


@pytest.mark.parametrize("kernel", ["cosine", "tanimoto"])
def test_nothing_is_like_a_row_of_zeros(kernel: str) -> None:
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    np.testing.assert_array_equal(gram(x, x, kernel)[0], 0)
    np.testing.assert_array_equal(diagonal(x, kernel), [0, 1])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="3 and 2 columns"):
        gram(np.ones((1, 3)), np.ones((1, 2)), "linear")
    with pytest.raises(DataError, match="negative"):
        gram(np.array([[-1.0]]), np.ones((1, 1)), "tanimoto")
    with pytest.raises(DataError, match="'rbf'"):
        gram(np.ones((1, 1)), np.ones((1, 1)), "rbf")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="shape"):
        diagonal(np.ones(3), "cosine")


def test_committee_scores() -> None:
    """Two structures, of one and two atoms; the second member is off by known amounts."""
    forces = np.zeros((2, 3, 3))
    forces[1] = [[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [2.0, 3.0, 6.0]]
    energy = np.array([[1.0, 5.0], [1.0, 2.0]])
    mean = Quantities(energy.mean(0), forces.mean(0))
    variance = Quantities(energy.var(0, ddof=1), forces.var(0, ddof=1))
    noise = Quantities(np.ones(2), np.ones((3, 3)))
    found = committee_scores(Prediction(mean, np.array([1, 2]), variance, noise))
    # of two numbers the std is their distance over √2
    np.testing.assert_allclose(found["committee-energy"], [0, 3 / np.sqrt(2)])
    np.testing.assert_allclose(found["committee-force"], np.array([5, 7]) / np.sqrt(2))
    np.testing.assert_allclose(found["committee-force-mean"], np.array([5, 4]) / np.sqrt(2))


def test_one_member_has_no_score() -> None:
    mean = Quantities(np.zeros(1), np.zeros((1, 3)))
    with pytest.raises(ModelError, match="one member"):
        committee_scores(Prediction(mean, np.array([1])))
