"""The residual Gaussian process against scikit-learn, closed forms and what was planted."""

import re

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct, PairwiseKernel

from tunesmith.calibrate import scores
from tunesmith.errors import DataError
from tunesmith.kernels import gram
from tunesmith.posterior.residual_gp import ResidualGP, fit_prefix

NOISE = 1e-3


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("m", "d"), [(12, 30), (60, 8)], ids=["dual", "primal"])
@pytest.mark.parametrize("kernel", ["linear", "cosine"])
def test_mean_and_variance_are_those_of_scikit_learn(rng, m, d, kernel):
    """Its kernel is fixed, its targets centred by us; its variance is of the function, no λ."""
    x, new = rng.normal(size=(m, d)), rng.normal(size=(25, d))
    r = 3.0 + 0.2 * rng.normal(size=m)
    gp = ResidualGP.fit(x, r, noise=NOISE, kernel=kernel)
    theirs = GaussianProcessRegressor(
        DotProduct(0.0, "fixed") if kernel == "linear" else PairwiseKernel(metric="cosine"),
        alpha=NOISE,
        optimizer=None,
    ).fit(x, r - r.mean())
    mean, std = theirs.predict(new, return_std=True)
    found, spread = gp.predict(new)
    np.testing.assert_allclose(found - r.mean(), mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(spread, np.sqrt(gp.scale) * std, rtol=1e-6)
    k = gram(x, x, kernel) + NOISE * np.eye(m)
    y = r - r.mean()
    assert gp.scale == pytest.approx(y @ np.linalg.solve(k, y) / m, rel=1e-8)
    assert gp.mean == pytest.approx(r.mean())


def test_tanimoto_is_a_process_on_its_dense_kernel(rng):
    x = rng.integers(0, 2, size=(40, 24)).astype(float)
    r = rng.normal(size=30)
    gp = ResidualGP.fit(x[:30], r, noise=NOISE, kernel="tanimoto")
    k = np.array([[np.sum(a * b) / np.sum(np.maximum(a, b)) for b in x] for a in x], float)
    inverse = np.linalg.inv(k[:30, :30] + NOISE * np.eye(30))
    y = r - r.mean()
    mean, std = gp.predict(x[30:])
    np.testing.assert_allclose(mean, r.mean() + k[30:, :30] @ inverse @ y, rtol=1e-8)
    s2 = 1.0 - np.einsum("ij,jk,ik->i", k[30:, :30], inverse, k[30:, :30])
    np.testing.assert_allclose(std**2, (y @ inverse @ y) / 30 * s2, rtol=1e-6)


def test_two_unlike_structures_in_closed_form():
    """K = I: residuals ±a shrink by 1/(1 + λ), and far away nothing is known but r̄."""
    gp = ResidualGP.fit(np.eye(3)[:2], np.array([0.6, 0.2]), noise=0.25, kernel="cosine")
    mean, std = gp.predict(np.array([[5.0, 0, 0], [0, 0, 2.0], [1.0, 0, 1.0]]))
    gamma = (0.2**2 + 0.2**2) / 1.25 / 2
    assert gp.scale == pytest.approx(gamma)
    np.testing.assert_allclose(mean, [0.4 + 0.2 / 1.25, 0.4, 0.4 + 0.2 / 1.25 / np.sqrt(2)])
    np.testing.assert_allclose(std**2, gamma * np.array([0.2, 1.0, 1 - 0.5 / 1.25]))


def test_both_forms_agree_where_digits_are_lost(rng):
    """Copies of labelled structures: s² is about λ, a difference of numbers close to 1."""
    x = np.repeat(rng.normal(size=(5, 9)), 2, axis=0)
    r = rng.normal(size=10)
    primal = ResidualGP.fit(x, r, noise=1e-9)
    dual = ResidualGP.fit(np.hstack([x, np.zeros((10, 9))]), r, noise=1e-9)
    (mean, std), (other, spread) = (
        primal.predict(x),
        dual.predict(np.hstack([x, np.zeros((10, 9))])),
    )
    np.testing.assert_allclose(mean, other, atol=1e-6)
    np.testing.assert_allclose(std, spread, rtol=1e-3)
    assert (std < 1e-3 * np.abs(r).max() * np.sqrt(primal.scale)).all()


@pytest.mark.parametrize("m", [150, 40], ids=["primal", "dual"])
def test_planted_errors_lie_in_the_interval_as_often_as_it_says(rng, m):
    """Draws of the process itself, in units of their standard error; γ and r̄ are unknown to it."""
    d, gamma, n_new, repeats = 60, 0.04, 50, 150
    inside, gammas = [], []
    for _ in range(repeats):
        # a constant among the features, as real ones come near to: r̄ has an error of its own, for
        # which the formulas know no variance
        x = np.hstack([np.ones((m + n_new, 1)), unit(rng.normal(size=(m + n_new, d - 1)))])
        x /= np.sqrt(2)
        f = 7.0 + x @ rng.normal(scale=np.sqrt(gamma), size=d)
        y = f[:m] + rng.normal(scale=np.sqrt(gamma * NOISE), size=m)
        gp = ResidualGP.fit(x[:m], y, noise=NOISE)
        mean, std = gp.predict(x[m:])
        inside.append(scores.coverage(mean - f[m:], std, 0.9))
        gammas.append(gp.scale)
    standard_error = np.std(inside, ddof=1) / np.sqrt(repeats)
    assert standard_error < 0.01
    # r̄ takes one degree of freedom from γ̂
    assert abs(np.mean(inside) - 0.9) < 4 * standard_error + 1 / m
    assert np.mean(gammas) == pytest.approx(gamma, rel=2 / m + 4 * np.sqrt(2 / m / repeats))


def test_every_prefix_is_as_if_fitted_alone(rng):
    x, valid = unit(rng.normal(size=(20, 12))), unit(rng.normal(size=(15, 12)))
    r, wanted = rng.normal(size=20) + 2, rng.normal(size=15) + 2
    gp, nll = fit_prefix(x, r, valid, wanted)
    assert nll[0] == np.inf
    expected = []
    for n in range(2, 21):
        mean, std = ResidualGP.fit(x[:n], r[:n]).predict(valid)
        expected.append(scores.gaussian_nll(mean - wanted, std))
    np.testing.assert_allclose(nll[1:], expected, rtol=1e-7)
    assert gp.n == 2 + int(np.argmin(expected))
    mean, std = gp.predict(valid)
    assert scores.gaussian_nll(mean - wanted, std) == pytest.approx(nll.min())


def test_a_prefix_stops_before_labels_that_mislead(rng):
    """The second half of the labels is noise a hundred times the signal."""
    weights = rng.normal(size=10)
    x, valid = unit(rng.normal(size=(60, 10))), unit(rng.normal(size=(40, 10)))
    r = x @ weights
    r[30:] += 100 * rng.normal(size=30)
    gp, _ = fit_prefix(x, r, valid, valid @ weights)
    assert 12 <= gp.n <= 30


def test_prefixes_of_equal_residuals_have_no_scale(rng):
    x = unit(rng.normal(size=(6, 4)))
    _, nll = fit_prefix(x, np.array([1.0, 1, 1, 2, 1, 3]), x[::-1] + 0.1, np.arange(6.0))
    assert np.isinf(nll).tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"residuals": np.zeros(3)}, "one number per structure"),
        ({"residuals": np.full(4, 0.5)}, "all 4 residuals are 0.5 eV"),
        ({"residuals": np.array([1.0, np.nan, 2, 3])}, "residual of structure 1 is not finite"),
        ({"features": np.full((4, 2), np.nan)}, "features of structure 0 are not finite (4 such)"),
        ({"features": np.ones(4)}, "one row per structure"),
        ({"features": np.ones((1, 2)), "residuals": np.ones(1)}, "too few"),
        ({"noise": 0.0}, "the noise λ is 0.0"),
        ({"kernel": "cosin"}, "there is no kernel 'cosin'"),
    ],
)
def test_bad_input_is_refused(rng, change, says):
    given = {"features": rng.normal(size=(4, 2)), "residuals": np.arange(4.0)} | change
    with pytest.raises(DataError, match=re.escape(says)):
        ResidualGP.fit(**given)


def test_another_width_is_refused(rng):
    for m in (3, 9):
        gp = ResidualGP.fit(rng.normal(size=(m, 5)), rng.normal(size=m))
        with pytest.raises(DataError, match="columns"):
            gp.predict(np.ones((2, 4)))
