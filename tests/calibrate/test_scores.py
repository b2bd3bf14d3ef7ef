"""Scores against scipy, closed forms and brute force."""

import numpy as np
import pytest
from scipy import stats
from uncertainty_toolbox import metrics_calibration as toolbox

from tunesmith.calibrate import scores


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_errors_of_a_triangle_by_hand():
    error = np.array([[3.0, -4.0]])
    assert scores.rmse(error) == pytest.approx(np.sqrt(12.5))
    assert scores.mae(error) == pytest.approx(3.5)


def test_r2_of_a_straight_line_fit_is_the_squared_correlation(rng):
    x = rng.normal(size=50)
    y = 2 * x + rng.normal(size=50)
    fit = stats.linregress(x, y)
    assert scores.r2(fit.slope * x + fit.intercept, y) == pytest.approx(fit.rvalue**2)
    assert scores.r2(np.full(50, y.mean()), y) == pytest.approx(0.0)
    assert np.isnan(scores.r2(np.array([1.0, 2.0]), np.array([5.0, 5.0])))


def test_nll_is_scipys_logpdf(rng):
    std = rng.uniform(0.1, 3.0, (20, 3))
    error = std * rng.normal(size=(20, 3))
    expected = -np.mean(stats.norm.logpdf(error, scale=std))
    assert scores.gaussian_nll(error, std) == pytest.approx(expected)


def test_nll_is_least_at_the_true_spread(rng):
    error = rng.normal(scale=0.3, size=20_000)
    nll = {s: scores.gaussian_nll(error, np.full_like(error, s)) for s in (0.2, 0.3, 0.45)}
    assert min(nll, key=nll.get) == 0.3


def test_nll_refuses_a_spread_of_zero():
    with pytest.raises(ValueError, match="positive"):
        scores.gaussian_nll(np.ones(2), np.array([1.0, 0.0]))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_coverage_of_gaussian_errors_is_nominal_within_binomial_error(rng, level):
    std = rng.uniform(0.5, 2.0, 10_000)
    error = std * rng.normal(size=10_000)
    sigma = np.sqrt(level * (1 - level) / 10_000)
    assert abs(scores.coverage(error, std, level) - level) < 4 * sigma


def test_coverage_counts_the_quartile_right():
    # 0.6745 std is the 50 % interval
    assert scores.coverage(np.array([0.67, -0.68, 0.1, 2.0]), np.ones(4), 0.5) == 0.5


def test_coverage_curve_of_a_spread_too_narrow_is_the_closed_form(rng):
    error = rng.normal(size=40_000)
    levels, found = scores.coverage_curve(error, np.full_like(error, 0.5))
    expected = 2 * stats.norm.cdf(0.5 * stats.norm.ppf(0.5 + levels / 2)) - 1
    np.testing.assert_allclose(found, expected, atol=0.012)
    gap = scores.ece(error, np.full_like(error, 0.5))
    assert gap == pytest.approx(np.mean(levels - expected), abs=0.01)
    assert scores.ece(error, np.ones_like(error)) < 0.01


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_ece_and_coverage_are_those_of_the_uncertainty_toolbox(rng, factor):
    std = rng.uniform(0.5, 2.0, 700)
    error = factor * std * rng.normal(size=700)
    levels = np.linspace(0, 1, 100)
    nominal, found = toolbox.get_proportion_lists(error, std, np.zeros(700), 100)
    np.testing.assert_allclose(scores.coverage_curve(error, std, levels), (nominal, found))
    expected = toolbox.mean_absolute_calibration_error(error, std, np.zeros(700))
    assert scores.ece(error, std, levels) == pytest.approx(expected, abs=1e-12)


def test_ence_of_a_spread_off_by_a_factor(rng):
    std = rng.uniform(0.5, 2.0, 50_000)
    error = std * rng.normal(size=50_000)
    assert scores.ence(error, std) < 0.02
    assert scores.ence(error, 2 * std) == pytest.approx(0.5, abs=0.01)
    assert scores.ence(error, 0.5 * std) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("n", [7, 50, 203])
def test_ence_by_hand(rng, n):
    """Bin after bin as the formula reads, sizes of bins differing by one at most."""
    std = rng.uniform(0.5, 2.0, n)
    error = std * rng.normal(size=n)
    pairs = sorted(zip(std.tolist(), error.tolist(), strict=True))
    k = min(10, n)
    sizes = [n // k + (i < n % k) for i in range(k)]
    total = 0.0
    for size in sizes:
        here, pairs = pairs[:size], pairs[size:]
        rmv = (sum(s * s for s, _ in here) / size) ** 0.5
        found = (sum(e * e for _, e in here) / size) ** 0.5
        total += abs(rmv - found) / rmv
    assert scores.ence(error, std) == pytest.approx(total / k)


def test_ence_sorts_by_spread():
    # the large errors belong to the large stds, whatever the order they come in
    std = np.array([1.0, 3.0, 1.0, 3.0])
    assert scores.ence(np.array([1.0, -3.0, -1.0, 3.0]), std, n_bins=2) == pytest.approx(0.0)
    assert scores.ence(np.array([3.0, -1.0, -3.0, 1.0]), std, n_bins=2) == pytest.approx(
        (2.0 + 2.0 / 3.0) / 2
    )


def test_auc_counts_pairs_with_ties_as_a_half(rng):
    score = rng.integers(0, 8, 60).astype(float)  # many ties
    over = rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in score[over] for b in score[~over]]
    assert scores.auc_roc(score, over) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_auc_of_certainty_and_of_one_class():
    score, over = np.array([1.0, 2.0, 3.0]), np.array([False, True, True])
    assert scores.auc_roc(score, over) == 1.0
    assert scores.auc_roc(-score, over) == 0.0
    assert np.isnan(scores.auc_roc(score, np.ones(3, bool)))
    assert np.isnan(scores.auc_roc(score, np.zeros(3, bool)))


def test_spearman_looks_at_the_size_of_errors():
    std = np.array([1.0, 2.0, 3.0, 4.0])
    assert scores.spearman(std, np.array([0.1, -5.0, 6.0, -700.0])) == pytest.approx(1.0)
    # one swap of neighbours among four: 1 − 6·2/(4·15)
    assert scores.spearman(std, np.array([2.0, -1.0, 3.0, 4.0])) == pytest.approx(0.8)
    assert np.isnan(scores.spearman(np.ones(3), np.arange(3.0)))


def test_nothing_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        scores.rmse(np.array([]))
    with pytest.raises(ValueError, match="equal shapes"):
        scores.coverage(np.zeros((2, 3)), np.ones((3, 2)), 0.5)
