"""Against the paper's 2F1 form, quadrature over λ, Monte Carlo and its own check values."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import integrate, special, stats

from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import Settings
from tunesmith.errors import ConfigError, DataError
from tunesmith.settings import build, plain

RECORDS = [(0.5, 1.1), (0.2, -0.1), (1.0, 0.4), (0.3, 0.9), (0.7, -2.0)]


def after(calibration, records):
    for std, error in records:
        calibration = calibration.update(std, error)
    return calibration


def hypergeometric(a, b, n, m, std, k):
    """P(|error| < k) as B.11 prints it."""
    rate, half = b + n * m / 2, a + (n + 1) / 2
    front = 2 * k * np.exp(special.gammaln(half) - special.gammaln(a + n / 2))
    front /= np.sqrt(2 * np.pi * std**2 * rate)
    return front * special.hyp2f1(0.5, half, 1.5, -(k**2) / (2 * std**2 * rate))


def in_ball(std, radius):
    """P(e ~ N(0, diag(std²)) is shorter than radius): Cartesian slices, x then y, z by erf."""
    nodes, shares = np.polynomial.legendre.leggauss(80)
    sine, cosine = np.sin(nodes * np.pi / 2), np.cos(nodes * np.pi / 2) * shares * np.pi / 2
    far = np.minimum(radius, 9 * std[0])
    x, dx = far * sine, far * cosine
    left = np.sqrt(radius**2 - x**2)[:, None]
    far = np.minimum(left, 9 * std[1])
    y, dy = far * sine, far * cosine
    column = special.erf(np.sqrt(left**2 - y**2) / (std[2] * np.sqrt(2)))
    slices = np.sum(stats.norm.pdf(y, scale=std[1]) * dy * column, axis=1)
    return np.sum(stats.norm.pdf(x, scale=std[0]) * dx * slices)


def exact_any(calibration, std, threshold, inside_of):
    """1 − E Π P(inside) by adaptive quadrature in ln λ. inside_of: of every atom at a λ, (n,)."""
    a, b = calibration.posterior
    law = stats.gamma(a, scale=1 / b)

    def integrand(log):
        return (1 - np.prod(inside_of(np.exp(log)))) * law.pdf(np.exp(log)) * np.exp(log)

    ends = np.log([law.ppf(1e-12), law.isf(1e-13)])
    return integrate.quad(integrand, *ends, epsabs=1e-8, limit=500)[0]


# ------------------------------------------------------------------------------ one number


@pytest.mark.parametrize(("a", "b"), [(3, 10), (1.5, 10), (2.2, 0.7)])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_exceedance_is_the_papers_hypergeometric_form(a, b, n):
    calibration = after(GammaCalibration(a, b), RECORDS[:n])
    m = np.mean([(e / s) ** 2 for s, e in RECORDS[:n]]) if n else 0.0
    for std, k in [(0.1, 0.4), (0.3, 0.2), (1.0, 3.0)]:
        expected = 1 - hypergeometric(a, b, n, m, std, k)
        assert calibration.exceedance(std, k) == pytest.approx(expected, abs=1e-12)


def test_exceedance_is_the_gaussian_averaged_over_the_posterior_by_bayes_rule():
    """Prior times likelihood, normalised numerically: no conjugacy used."""
    a, b, std, k = 1.5, 10.0, 0.2, 0.5

    def unnormalised(lam):
        likelihood = np.prod([stats.norm.pdf(e, scale=s / np.sqrt(lam)) for s, e in RECORDS])
        return stats.gamma.pdf(lam, a, scale=1 / b) * likelihood

    def over(lam):
        return unnormalised(lam) * 2 * stats.norm.sf(k * np.sqrt(lam) / std)

    expected = integrate.quad(over, 0, 5)[0] / integrate.quad(unnormalised, 0, 5)[0]
    assert after(GammaCalibration(a, b), RECORDS).exceedance(std, k) == pytest.approx(
        expected, rel=1e-7
    )


def test_the_map_is_the_maximum_of_the_posterior():
    calibration = after(GammaCalibration(1.5, 10), RECORDS)
    grid = np.linspace(1e-4, 3, 200_001)
    log = stats.gamma.logpdf(grid, 1.5, scale=0.1)
    for s, e in RECORDS:
        log += stats.norm.logpdf(e, scale=s / np.sqrt(grid))
    assert calibration.std(1.0) ** -2 == pytest.approx(grid[np.argmax(log)], abs=2e-5)


@pytest.mark.parametrize(("a", "largest"), [(3, 0.224), (1.5, 0.122)])
def test_before_any_record_a_label_is_called_above_this_std(a, largest):
    prior = GammaCalibration(a, 10)
    assert prior.exceedance(largest + 0.0005, 1.0) > 0.05 > prior.exceedance(largest - 0.0005, 1.0)


def test_lock_out_begins_at_a_mean_square_of_26():
    for mean_square, locked in [(25.5, False), (26.5, True)]:
        calibration = GammaCalibration(
            records=10**6, weight=1e6, weight_squared=1e6, mean_square=mean_square
        )
        assert calibration.locked_out(0.1 * 0.02, 0.02) is locked
    assert not GammaCalibration().locked_out(0.1, 1.0)


def test_many_records_reach_the_true_scale_within_its_standard_error():
    rng, scale, n = np.random.default_rng(3), 1.7, 4000
    std = rng.uniform(0.1, 0.5, n)
    calibration = after(GammaCalibration(), zip(std, scale * std * rng.normal(size=n), strict=True))
    # M_n is scale² χ²_n / n, so that sqrt(M_n) has a relative standard error of 1/sqrt(2n)
    assert calibration.std(1.0) == pytest.approx(scale, rel=4 / np.sqrt(2 * n) + 10 / n)
    assert calibration.exceedance(0.3, 1.96 * 1.7 * 0.3) == pytest.approx(0.05, abs=0.008)


def test_calibrated_intervals_hold_their_share_when_the_prior_is_true():
    """λ drawn from the prior, records and a new error from λ: exceedance is exact on average."""
    rng, runs = np.random.default_rng(11), 4000
    lam = rng.gamma(3.0, 1 / 10.0, runs)
    errors = rng.normal(size=(runs, 5)) / np.sqrt(lam)[:, None]
    claimed, over = np.empty(runs), np.empty(runs)
    for i, row in enumerate(errors):
        calibration = after(GammaCalibration(3, 10), [(1.0, e) for e in row[:4]])
        claimed[i], over[i] = calibration.exceedance(1.0, 5.0), abs(row[4]) > 5.0
    standard_error = np.sqrt(np.mean(claimed * (1 - claimed)) / runs)
    assert abs(over.mean() - claimed.mean()) < 4 * standard_error


# --------------------------------------------------------------------- records and memory


def test_without_memory_every_record_counts_alike():
    calibration = after(GammaCalibration(), RECORDS)
    assert calibration.records == calibration.effective == len(RECORDS)
    assert calibration.mean_square == pytest.approx(np.mean([(e / s) ** 2 for s, e in RECORDS]))


def test_memory_weighs_records_by_their_age():
    memory, rng = 3.0, np.random.default_rng(0)
    records = [(s, e) for s, e in zip(rng.uniform(0.5, 2, 12), rng.normal(size=12), strict=True)]
    calibration = after(GammaCalibration(memory=memory), records)
    weights = np.exp(-np.arange(12)[::-1] / memory)
    squares = [(e / s) ** 2 for s, e in records]
    assert calibration.mean_square == pytest.approx(np.average(squares, weights=weights))
    assert calibration.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert calibration.records == 12


def test_the_effective_number_saturates_and_never_passes_the_number_of_records():
    calibration = GammaCalibration(memory=20)
    for i in range(400):
        calibration = calibration.update(1.0, 1.0)
        assert calibration.effective <= (i + 1) * (1 + 1e-12)
    ratio = np.exp(-1 / 20)
    assert calibration.effective == pytest.approx((1 + ratio) / (1 - ratio), rel=1e-6)


def test_a_new_phase_reopens_the_calibration_only_with_memory():
    quiet, loud = [(1.0, 0.3)] * 100, [(1.0, 3.0)] * 10
    forgetful = after(GammaCalibration(memory=10), quiet + loud)
    faithful = after(GammaCalibration(), quiet + loud)
    assert forgetful.std(1.0) > 1.5 * faithful.std(1.0)


def test_an_array_is_one_record_with_the_mean_of_its_squares():
    rng = np.random.default_rng(1)
    std, error = rng.uniform(0.5, 1, (9, 3)), rng.normal(size=(9, 3))
    calibration = GammaCalibration().update(std, error)
    assert (calibration.records, calibration.effective) == (1, 1.0)
    assert calibration.mean_square == pytest.approx(np.mean(error**2 / std**2))


def test_an_update_leaves_the_old_object_alone_and_settings_survive_it():
    before = GammaCalibration(3, 10, memory=5)
    later = before.update(1.0, 2.0)
    assert (before.records, before.mean_square) == (0, 0.0)
    assert (later.a, later.b, later.memory) == (3, 10, 5)
    with pytest.raises(ValidationError, match="frozen"):
        later.records = 7


def test_it_is_saved_as_json_to_the_bit():
    calibration = after(GammaCalibration(memory=7), RECORDS)
    saved = json.loads(json.dumps(plain(calibration)))
    assert build(Settings, saved, "calibrate") == calibration
    assert saved.pop("kind") == "gamma"
    assert GammaCalibration(**saved) == calibration


def test_values_of_any_shape_in_any_unit():
    calibration = after(GammaCalibration(), RECORDS)
    raw = np.array([[0.1, 0.2], [0.3, np.nan]])
    np.testing.assert_allclose(calibration.std(raw), raw * calibration.std(1.0))
    std, k = np.array([0.1, 0.4]), np.array([0.3, np.inf])
    single = [calibration.exceedance(s, t) for s, t in zip(std, k, strict=True)]
    np.testing.assert_array_equal(calibration.exceedance(std, k), single)
    assert single[1] == 0.0
    np.testing.assert_allclose(calibration.exceedance(1e3 * std, 1e3 * k), single)


# ------------------------------------------------------------------------ force of any atom


@pytest.mark.parametrize("records", [[], RECORDS, RECORDS * 40])
@pytest.mark.parametrize("n_atoms", [1, 9, 200])
def test_any_atom_of_even_spreads_against_the_chi_square_law(records, n_atoms):
    rng = np.random.default_rng(n_atoms)
    calibration = after(GammaCalibration(), records)
    std, relative = rng.uniform(0.5, 1.5, n_atoms), rng.uniform(0.8, 1.2, n_atoms)
    for width in (1, 3, 6, 12):
        threshold = width * relative * np.sqrt(calibration.posterior[1] / calibration.posterior[0])

        def inside(lam, threshold=threshold):
            return stats.chi2.cdf(threshold**2 * lam / std**2, 3)

        expected = exact_any(calibration, std, threshold, inside)
        found = calibration.exceedance_any(np.repeat(std[:, None], 3, 1), threshold)
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("records", [[], RECORDS * 40])
def test_any_atom_of_uneven_spreads_against_slices_of_the_ball(records):
    std = np.array([[0.1, 0.4, 1.0], [0.9, 0.1, 0.06]])
    calibration = after(GammaCalibration(), records)
    for width in (1.5, 3, 6):
        threshold = np.array([1.0, 1.2]) * width
        threshold *= np.sqrt(calibration.posterior[1] / calibration.posterior[0])

        def inside(lam, threshold=threshold):
            return [in_ball(s, k * np.sqrt(lam)) for s, k in zip(std, threshold, strict=True)]

        expected = exact_any(calibration, std, threshold, inside)
        assert calibration.exceedance_any(std, threshold) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("unevenness", [0.0, 0.7, 2.0])
def test_any_atom_against_monte_carlo(unevenness):
    rng, draws = np.random.default_rng(5), 40_000
    calibration = after(GammaCalibration(3, 10), RECORDS)
    std = rng.uniform(0.02, 0.06, (12, 1)) * np.exp(unevenness * rng.uniform(-1, 0.5, (12, 3)))
    threshold = rng.uniform(0.3, 0.6, 12)
    lam = rng.gamma(3 + 2.5, 1 / calibration.posterior[1], draws)
    errors = rng.normal(size=(draws, 12, 3)) * std / np.sqrt(lam)[:, None, None]
    over = np.mean(np.any(np.linalg.norm(errors, axis=2) > threshold, axis=1))
    found = calibration.exceedance_any(std, threshold)
    assert 0.02 < found < 0.98
    assert abs(over - found) < 4 * np.sqrt(found * (1 - found) / draws)


def test_one_atom_follows_the_f_law():
    """(|e|²/3)/(σ² B/A) is F-distributed with 3 and 2A degrees of freedom."""
    calibration = after(GammaCalibration(), RECORDS)
    a, b = calibration.posterior
    for k in (0.1, 1.0, 3.0):
        expected = stats.f.sf(k**2 / 3 / (0.3**2 * b / a), 3, 2 * a)
        assert calibration.exceedance_any(np.full((1, 3), 0.3), np.array([k])) == pytest.approx(
            expected, abs=1e-6
        )


def test_one_component_that_hardly_spreads_is_as_none() -> None:
    """Its square is zero to a computer."""
    calibration = GammaCalibration(3, 10)
    flat = np.array([[1e-6, 1.0, 0.7]])
    for tiny in (1e-12, 1e-170, 5e-324):
        found = calibration.exceedance_any(np.array([[tiny, 1.0, 0.7]]), np.array([6.0]))
        assert found == pytest.approx(calibration.exceedance_any(flat, np.array([6.0])), rel=1e-3)


def test_atoms_without_a_threshold_are_left_out_whatever_their_std():
    calibration, std = GammaCalibration(), np.array([[1.0] * 3, [np.nan] * 3, [50.0] * 3])
    alone = calibration.exceedance_any(std[:1], np.array([9.0]))
    assert calibration.exceedance_any(std, np.array([9.0, np.inf, np.inf])) == alone
    assert calibration.exceedance_any(std, np.full(3, np.inf)) == 0.0
    assert calibration.exceedance_any(np.full((1, 3), np.inf), np.array([9.0])) == 1.0


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("std", [0.0, -1.0, np.nan])
def test_what_is_no_std_is_refused(std):
    calibration = GammaCalibration()
    with pytest.raises(DataError, match="must be positive"):
        calibration.update(std, 1.0)
    with pytest.raises(DataError, match="must be positive"):
        calibration.exceedance(np.array([1.0, std]), 1.0)
    with pytest.raises(DataError, match="must be positive"):
        calibration.exceedance_any(np.array([[1.0, 1.0, std]]), np.ones(1))


def test_records_that_are_none_are_refused():
    calibration = GammaCalibration()
    with pytest.raises(DataError, match="not a finite number"):
        calibration.update(1.0, np.nan)
    with pytest.raises(DataError, match="must be positive"):
        calibration.update(np.inf, 1.0)
    with pytest.raises(DataError, match="one std per error"):
        calibration.update(np.ones(3), np.ones(2))
    with pytest.raises(DataError, match="one std per error"):
        calibration.update(np.ones(0), np.ones(0))


@pytest.mark.parametrize(
    "bad", [{"a": 1.0}, {"a": np.nan}, {"b": 0.0}, {"memory": 0.5}, {"c": 1.0}]
)
def test_settings_without_meaning_are_refused(bad):
    with pytest.raises(ConfigError, match=f"^calibrate.{next(iter(bad))}: "):
        build(Settings, {"kind": "gamma", **bad}, "calibrate")


def test_a_state_that_contradicts_itself_is_refused():
    with pytest.raises(ConfigError, match="there are weights"):
        GammaCalibration(weight=2.0)
    with pytest.raises(ConfigError, match="records without weight"):
        GammaCalibration(records=2)
