"""The power law against planted ones, a grid, quadrature, Gamma, and what it must refuse."""

import json
import re

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import integrate, optimize, stats

from tunesmith.calibrate import GammaCalibration, PowerLaw, scores, spreads
from tunesmith.calibrate.powerlaw import by_element
from tunesmith.calibrate.powerlaw_exponent import cost, exponent
from tunesmith.core import Settings
from tunesmith.errors import ConfigError, DataError
from tunesmith.settings import build, plain

RNG = np.random.default_rng


def drawn(n, a, b, seed=0, centre=0.05, spread=0.6, members=None):
    """Raw spreads, log-normal, and errors N(0, (a σ̂^b)²): (n,) or (members, n)."""
    rng = RNG(seed)
    std = centre * np.exp(spread * rng.normal(size=n))
    shape = n if members is None else (members, n)
    return std, a * std**b * rng.normal(size=shape)


def likelihood(parameters, std, error):
    """Negative log of eq. 5, as printed: every point, nothing binned."""
    scale = np.exp(parameters[0]) * std ** parameters[1]
    return float(np.sum(np.log(scale) + 0.5 * (error / scale) ** 2))


def records(law, std, error, size):
    for i in range(0, len(std), size):
        law = law.update(std[i : i + size], error[i : i + size])
    return law


def no_belief():
    """A law that learns record by record and believes next to nothing beforehand."""
    return PowerLaw(shape=1 + 1e-12, rate=1e-12, width=1e6)


# ------------------------------------------------------------------------------- the fit


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (1.8, 0.6), (0.4, 0.35), (9.0, 1.5)])
@pytest.mark.parametrize("members", [None, 4])
def test_a_planted_law_comes_back(a, b, members):
    """Fisher information of (ln a, b): 2n in each of ln a at the centre and b/sd(ln σ̂)."""
    std, error = drawn(3000, a, b, members=members)
    law = PowerLaw.fit(std, error)
    n, log = error.size, np.log(std)
    of_b = 1 / np.sqrt(2 * n * log.var())
    of_a = np.sqrt(1 / (2 * n) + (log.mean() * of_b) ** 2)
    assert abs(law.b - b) < 4 * of_b
    assert abs(np.log(law.a / a)) < 4 * of_a


@pytest.mark.parametrize("b", [0.5, 1.0, 1.6])
def test_it_is_the_minimum_of_a_brute_force_grid(b):
    """Three zooms of a 41 × 41 grid over (ln a, b) around the likelihood as printed."""
    std, error = drawn(400, 2.0, b, seed=3)
    centre, half = np.array([np.log(np.sqrt(np.mean((error / std) ** 2))), 1.0]), 3.0
    for _ in range(6):
        steps = np.linspace(-half, half, 41)
        found = [
            [likelihood((centre[0] + x, centre[1] + y), std, error) for y in steps] for x in steps
        ]
        i, j = np.unravel_index(np.argmin(found), (41, 41))
        centre, half = centre + np.array([steps[i], steps[j]]), half / 6
    law = PowerLaw.fit(std, error)
    assert law.b == pytest.approx(centre[1], abs=2e-3)
    assert law.std(0.05) == pytest.approx(np.exp(centre[0]) * 0.05 ** centre[1], rel=1e-3)


@pytest.mark.parametrize("b", [0.3, 1.0, 2.0])
def test_bins_move_the_exponent_by_less_than_is_said(b):
    """Against the likelihood of the points themselves; the standard error is twenty times that."""
    std, error = drawn(20_000, 1.0, b, seed=5)
    exact = optimize.minimize(likelihood, (0.0, 1.0), (std, error), "Nelder-Mead", tol=1e-9).x
    said = abs(1 - b) * spreads.WIDTH**2 / (4 * np.log(std).var())
    law = PowerLaw.fit(std, error)
    assert abs(law.b - exact[1]) < 1.5 * said + 1e-4
    assert said < 0.05 / np.sqrt(2 * 20_000 * np.log(std).var())
    assert law.std(0.05) == pytest.approx(np.exp(exact[0]) * 0.05 ** exact[1], rel=2e-4)


@pytest.mark.parametrize("belief", [(1.0, 0.0, None), (1.5, 10.0, 0.25), (3.0, 0.5, 1.0)])
def test_the_derivative_is_that_of_finite_differences(belief):
    rows = spreads.columns(spreads.table_of(*points(60, 1.5, 0.7), 0.1))
    for b in (0.2, 0.8, 1.0, 1.7):
        values = [cost(b + step, rows, *belief)[0] for step in (-1e-5, 1e-5)]
        slope = cost(b, rows, *belief)[1]
        assert slope == pytest.approx((values[1] - values[0]) / 2e-5, rel=1e-7, abs=1e-7)


def points(n, a, b, seed=0):
    std, error = drawn(n, a, b, seed)
    return std, error**2


def test_what_the_exponent_minimises_is_the_posterior_with_the_scale_integrated_out():
    """Prior times likelihood of the points, λ by quadrature: nothing profiled or conjugate."""
    std, error = drawn(12, 1.5, 0.7, seed=2)
    rows = spreads.columns(spreads.table_of(std, error**2, 1.0))
    shape, rate, width = 2.0, 1.5, 0.3

    def log_posterior(b):
        shaped = rows.centre * (std / rows.centre) ** b

        def density(log):
            scaled = shaped * np.exp(-log / 2)
            likelihood = np.prod(stats.norm.pdf(error, scale=scaled) / stats.norm.pdf(0, scale=std))
            return likelihood * stats.gamma.pdf(np.exp(log), shape, scale=1 / rate) * np.exp(log)

        mass = integrate.quad(density, -12, 5, epsabs=0, epsrel=1e-9, limit=400)[0]
        return np.log(mass) + stats.norm.logpdf(b, 1, width)

    grid = (0.5, 0.8, 1.0, 1.3)
    found = [cost(b, rows, shape, rate, width)[0] + log_posterior(b) for b in grid]
    assert np.ptp(found) < 3e-3  # a constant, but for the bins
    best = optimize.minimize_scalar(lambda b: -log_posterior(b), bounds=(0.1, 3), method="bounded")
    assert exponent(rows, shape, rate, width) == pytest.approx(best.x, abs=2e-3)


def test_errors_of_members_count_one_by_one():
    """δ is the rms over members: of eq. 5 over all members, not of the mean's error."""
    std, error = drawn(200, 1.3, 0.8, members=5)
    law = PowerLaw.fit(std, error)
    one = PowerLaw.fit(np.tile(std, 5), error.ravel())
    assert (law.a, law.b) == pytest.approx((one.a, one.b), rel=1e-9)
    assert np.mean(error**2) == pytest.approx(np.mean(law.std(std) ** 2), rel=0.1)
    assert PowerLaw.fit(std, error.mean(0)).a < 0.6 * law.a


def test_held_out_errors_lie_in_the_intervals():
    law = PowerLaw.fit(*drawn(2000, 0.9, 0.5, seed=7))
    std, error = drawn(4000, 0.9, 0.5, seed=8)
    for level in (0.5, 0.683, 0.95):
        slack = 4 * np.sqrt(level * (1 - level) * (1 / 4000 + 1 / 2000))
        assert scores.coverage(error, law.std(std), level) == pytest.approx(level, abs=slack)
        assert abs(scores.coverage(error, std, level) - level) > 0.1
    small, large = std < 0.03, std > 0.08
    for part in (small, large):  # everywhere, which one factor for all spreads cannot
        n = part.sum()
        assert scores.coverage(error[part], law.std(std[part]), 0.683) == pytest.approx(
            0.683, abs=4 * np.sqrt(0.683 * 0.317 / n + 0.3 / 2000)
        )
    one_factor = np.sqrt(np.mean((error / std) ** 2)) * std
    assert scores.coverage(error[small], one_factor[small], 0.683) < 0.6
    assert law.exceedance(0.05, 1.96 * law.std(0.05)) == pytest.approx(0.05, abs=1e-3)


# ---------------------------------------------------------------------- record by record


@pytest.mark.parametrize("width", [0.0, 0.25])
def test_before_the_first_record_it_is_gamma(width):
    law, gamma = PowerLaw(width=width), GammaCalibration()
    assert law.std(0.3) == gamma.std(0.3)
    assert law.exceedance(0.3, 1.0) == gamma.exceedance(0.3, 1.0)
    std = RNG(0).uniform(0.1, 0.5, (6, 3))
    assert law.exceedance_any(std, np.ones(6)) == gamma.exceedance_any(std, np.ones(6))
    assert (law.a, law.b) == (gamma.std(1.0), 1.0)


def test_with_an_exponent_of_one_it_is_gamma():
    law, gamma = PowerLaw(width=0.0, shape=3, rate=7), GammaCalibration(3, 7)
    rng = RNG(4)
    for _ in range(30):
        std = np.exp(rng.normal(size=(5, 3)))
        error = 2 * std * rng.normal(size=std.shape)
        law, gamma = law.update(std, error), gamma.update(std, error)
    std, limit = np.exp(rng.normal(size=(4, 3))), rng.uniform(1, 5, 4)
    assert law.posterior == pytest.approx(gamma.posterior, rel=1e-12)
    np.testing.assert_allclose(law.std(std), gamma.std(std), rtol=1e-12)
    np.testing.assert_allclose(law.exceedance(std, 2.0), gamma.exceedance(std, 2.0), rtol=1e-11)
    assert law.exceedance_any(std, limit) == pytest.approx(gamma.exceedance_any(std, limit))
    assert law.locked_out(0.1, 0.5) == gamma.locked_out(0.1, 0.5)


def test_records_give_what_a_fit_at_once_gives():
    """Structures of one size: the same minimum, weights 1/9 instead of 1."""
    std, error = drawn(900, 2.0, 0.6)
    by_record, fit = records(no_belief(), std, error, 9), PowerLaw.fit(std, error, floor=0)
    assert by_record.b == pytest.approx(fit.b, rel=1e-6)
    assert by_record.a == pytest.approx(fit.a, rel=1e-6)
    assert (by_record.low, by_record.high) == pytest.approx((fit.low, fit.high), rel=1e-6)
    assert (by_record.records, fit.records) == (100, 900)
    assert by_record.posterior[0] == pytest.approx(51, rel=1e-6)


def test_the_order_of_records_changes_only_rounding():
    std, error = drawn(300, 2.0, 0.6)
    forwards, backwards = (records(PowerLaw(), std[::s], error[::s], 10) for s in (1, -1))
    assert forwards.table != backwards.table
    for name in ("a", "b", "centre", "mean_square", "low", "high"):
        one, other = getattr(forwards, name), getattr(backwards, name)
        assert one == pytest.approx(other, rel=1e-10), name


def test_the_exponent_leaves_one_as_records_come():
    std, error = drawn(500, 1.0, 0.5, spread=0.8)
    few = records(PowerLaw(), std[:5], error[:5], 1)
    many = records(PowerLaw(), std, error, 1)
    information = 2 * 500 * np.log(std).var()
    assert abs(few.b - 1) < 0.25
    # the belief pulls by its share of the information
    expected = 0.5 + 0.5 * 16 / (information + 16)
    assert many.b == pytest.approx(expected, abs=4 / np.sqrt(information))


def test_probabilities_are_right_when_the_belief_is():
    """λ, b and six records drawn from the belief: P(|error| > K) averages to the frequency of it,
    though the exponent is taken at its likeliest value."""
    rng, runs = RNG(11), 600
    claimed, over = np.empty(runs), np.empty(runs, bool)
    for i in range(runs):
        std = np.exp(rng.normal(0, 0.5, size=7))
        centre = np.exp(np.log(std[:6]).mean())
        b, lam = rng.normal(1, 0.25), rng.gamma(3.0, 1 / 10)
        error = centre * (std / centre) ** b * rng.normal(size=7) / np.sqrt(lam)
        law = records(PowerLaw(shape=3, rate=10), std[:6], error[:6], 1)
        claimed[i], over[i] = law.exceedance(std[6], 3.0), abs(error[6]) > 3.0
    noise = np.sqrt(np.mean(claimed * (1 - claimed)) / runs)
    assert claimed.mean() == pytest.approx(over.mean(), abs=4 * noise)


def test_it_comes_back_from_json_and_goes_on_to_the_bit():
    std, error = drawn(400, 2.0, 0.6)
    law = records(PowerLaw(), std[:200], error[:200], 8)
    saved = json.loads(json.dumps(plain(law)))
    back = build(Settings, saved, "calibrate")
    assert back == law
    assert records(back, std[200:], error[200:], 8) == records(law, std[200:], error[200:], 8)
    fit = PowerLaw.fit(std, error)
    assert build(Settings, json.loads(json.dumps(plain(fit))), "calibrate") == fit


def test_an_update_leaves_the_law_before_it_alone():
    before = records(PowerLaw(), *drawn(40, 1.0, 1.0), 4)
    copy = before.model_copy(deep=True)
    before.update(0.1, 0.3)
    assert before == copy
    with pytest.raises(ValidationError):
        before.b = 2.0


# ------------------------------------------------------------------- the law and its range


@pytest.fixture(scope="module")
def law():
    return PowerLaw.fit(*drawn(2000, 1.8, 0.6), floor=1e-3)


def test_raw_is_the_inverse_and_the_derivative_that_of_finite_differences(law):
    raw = np.geomspace(1e-5, 1.0, 50)
    np.testing.assert_allclose(law.raw(law.std(raw)), raw, rtol=1e-6)
    step = 1e-6 * raw
    numeric = (law.std(raw + step) - law.std(raw - step)) / (2 * step)
    np.testing.assert_allclose(law.derivative(raw), numeric, rtol=1e-6)
    np.testing.assert_allclose(law.std(raw[-10:]), law.a * raw[-10:] ** law.b, rtol=1e-4)


def test_a_floor_makes_it_smooth_where_nothing_differs(law):
    assert law.derivative(0.0) == 0
    assert law.std(0.0) == pytest.approx(law.a * 1e-3**law.b)
    assert law.raw(0.5 * law.std(0.0)) == 0
    squares = law.std(np.sqrt([0, 1e-9, 2e-9])) ** 2  # smooth in the variance
    assert np.diff(squares)[0] == pytest.approx(np.diff(squares)[1], rel=1e-2)
    assert np.isnan(law.std(np.array([np.nan, 1.0]))).tolist() == [True, False]


def test_spreads_at_rounding_say_nothing():
    """Forces that symmetry makes zero: 0, or 1e-9 eV/Å, with errors to match."""
    std, error = drawn(400, 1.8, 0.6)
    expected = PowerLaw.fit(std, error)
    more = np.concatenate([std, np.zeros(50), np.full(50, 1e-9)])
    found = PowerLaw.fit(more, np.concatenate([error, np.zeros(50), np.full(50, 1e-12)]))
    assert (found.a, found.b) == pytest.approx((expected.a, expected.b), rel=1e-5)
    assert found.records == 400


def test_the_range_is_where_spreads_and_errors_agree():
    """Errors that no longer grow above 0.15: there the law is left out, and what is below stays."""
    rng = RNG(3)
    std = 0.05 * np.exp(0.8 * rng.normal(size=20_000))
    error = np.minimum(std, 0.15) ** 0.8 * rng.normal(size=std.size)
    broken = PowerLaw.fit(std, error)
    assert 0.1 < broken.high < 0.35
    assert broken.low < 0.01
    curve = broken.reliability()
    assert not curve.agrees[-1]
    assert curve.std[-1] > 1.25 * curve.error[-1]
    assert (np.diff(curve.std) > 0).all()
    whole = PowerLaw.fit(std, std**0.8 * rng.normal(size=std.size))
    assert whole.low < np.quantile(std, 0.01)
    assert whole.high > np.quantile(std, 0.99)
    assert whole.high < std.max(), "the last few points tell too little"


def test_the_curve_is_that_of_the_points(law):
    std, error = drawn(2000, 1.8, 0.6)
    curve, start = law.reliability(), 0
    order = np.argsort(std)
    assert curve.points.min() >= spreads.GROUP_POINTS
    for n, said, found in zip(curve.points, curve.std, curve.error, strict=True):
        part = order[start : start + n]
        assert said == pytest.approx(np.sqrt(np.mean(law.std(std[part]) ** 2)), rel=1e-3)
        assert found == pytest.approx(np.sqrt(np.mean(error[part] ** 2)), rel=2e-2)
        start += n
    assert len(std) - start < spreads.GROUP_POINTS


def test_its_uncertainty_is_the_scatter_between_samples():
    """Of true rms errors 95 % lie within two standard errors of those found."""
    inside = []
    for seed in range(200):
        std, error = drawn(400, 1.8, 0.6, seed)
        curve, truth = PowerLaw.fit(std, error).reliability(), []
        order = np.argsort(std)
        for part in np.split(order, np.cumsum(curve.points))[:-1]:
            truth.append(np.sqrt(np.mean((1.8 * std[part] ** 0.6) ** 2)))
        inside.extend(np.abs(np.log(curve.error / truth)) < 2 * curve.uncertainty)
    assert len(inside) > 2000
    assert np.mean(inside) == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / len(inside)))


def test_honest_laws_are_seldom_refused_their_range():
    """Of 200 calibrations on 300 points the range nearly always covers four fifths of them."""
    covered = []
    for seed in range(200):
        std, error = drawn(300, 1.8, 0.6, seed)
        law = PowerLaw.fit(std, error)
        covered.append(np.mean((std > law.low) & (std < law.high)))
    assert np.mean(np.array(covered) > 0.8) > 0.95


def test_a_target_beyond_the_range_is_refused_with_the_range(law):
    low, high = np.sqrt(3) * law.std([law.low, law.high])
    law.check_target(1.01 * low)
    law.check_target(0.99 * high)
    law.check_target(0.99 * high / np.sqrt(3), components=1)
    for target in (0.99 * low, 1.01 * high):
        with pytest.raises(ConfigError, match=f"outside {1e3 * low:.4g} to {1e3 * high:.4g} meV/Å"):
            law.check_target(target)
    with pytest.raises(ConfigError, match="no range is known"):
        PowerLaw().check_target(0.1)


def test_the_ends_that_are_named_can_be_asked_for(law):
    """To the four digits that are printed; of one group of points, its place alone."""
    with pytest.raises(ConfigError) as caught:
        law.check_target(100.0)
    ends = re.findall(r"[\d.]+(?= to | meV/Å, where)", str(caught.value))
    assert len(ends) == 2
    for number in ends:
        law.check_target(1e-3 * float(number))
    lone = law.model_copy(update={"high": law.low})
    with pytest.raises(ConfigError, match=r"errors near [\d.]+ meV/Å alone: choose that") as caught:
        lone.check_target(100.0)
    lone.check_target(1e-3 * float(re.search(r"near ([\d.]+)", str(caught.value))[1]))


# ---------------------------------------------------------------------------- per element


def test_each_element_has_a_law_of_its_own():
    rng = RNG(0)
    numbers = np.repeat([1, 8, 6], [400, 400, 4])
    std = 0.05 * np.exp(0.6 * rng.normal(size=(804, 3)))
    b = np.where(numbers == 8, 0.5, 1.0)[:, None]
    error = 1.5 * std**b * rng.normal(size=(3, 804, 3))
    laws = by_element(std, error, numbers)
    assert set(laws) == {1, 6, 8}
    assert laws[1].b == pytest.approx(1.0, abs=4 / np.sqrt(2 * 3600 * 0.36))
    assert laws[8].b == pytest.approx(0.5, abs=4 / np.sqrt(2 * 3600 * 0.36))
    assert laws[6] == PowerLaw.fit(std, error), "twelve points are too few: the law of all"
    with pytest.raises(DataError, match="three components an atom"):
        by_element(std, error, numbers[:5])


# --------------------------------------------------------------------------- bad input


def test_what_cannot_be_fitted_is_refused():
    std, error = drawn(60, 1.0, 0.8)
    with pytest.raises(DataError, match="needs 20 points or more, and there are 19"):
        PowerLaw.fit(std[:19], error[:19])
    PowerLaw.fit(std[:20], error[:20])
    with pytest.raises(DataError, match="of 60, members differ in 0"):
        PowerLaw.fit(np.zeros(60), error)
    with pytest.raises(DataError, match=r"nan is no standard deviation.*equal members"):
        PowerLaw.fit(np.full(60, np.nan), error)  # M − 1 = 0: a committee of one
    with pytest.raises(DataError, match="an error is not a finite number"):
        PowerLaw.fit(std, np.where(error > 0, np.inf, error))
    with pytest.raises(DataError, match=r"shape \(60,\) and error of shape \(59,\)"):
        PowerLaw.fit(std, error[:59])
    with pytest.raises(DataError, match="all errors are zero"):
        PowerLaw.fit(std, 0 * error)
    for unrelated in (std ** (-0.7), np.full(60, 0.05)):
        with pytest.raises(DataError, match=r"do not grow.*set calibrate.kind to gamma"):
            PowerLaw.fit(unrelated, error)


@pytest.mark.parametrize("std", [0.0, -1.0, np.nan, np.inf])
def test_a_record_needs_a_spread(std):
    with pytest.raises(DataError, match="is no standard deviation"):
        PowerLaw().update(np.array([0.1, std]), np.ones(2))
    if std != np.inf:
        with pytest.raises(DataError, match="is no standard deviation"):
            PowerLaw().exceedance(std, 1.0)


def test_a_record_below_the_floor_is_refused():
    with pytest.raises(DataError, match=r"over the floor, 0.01; leave it out or lower"):
        PowerLaw(floor=0.01).update(np.array([0.001, 0.0]), np.ones(2))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"shape": 1}, "needs a belief"),
        ({"rate": 0}, "needs a belief"),
        ({"width": None}, "needs a belief"),
        ({"b": 0.8}, "leave all state out"),
        ({"records": 2}, "leave all state out"),
        ({"width": -1}, "at least 0"),
        ({"floor": "1 eV"}, "number"),
    ],
)
def test_wrong_settings_are_refused(bad, said):
    with pytest.raises(ConfigError, match=f"^calibrate\\..*{said}"):
        build(Settings, {"kind": "power-law", **bad}, "calibrate")
