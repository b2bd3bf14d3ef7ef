"""A law from fewer members is that of all of them; against members drawn with planted spreads."""

import numpy as np
import pytest

from tunesmith.calibrate.few_members import MANY, as_of, followed
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.powerlaw import PowerLaw

POINTS, ALL = 4000, 8


def drawn(seed: int, varied: float) -> np.ndarray:
    """Errors of members (M, n), which grow with the spread as its first power, ln s by varied."""
    rng = np.random.default_rng(seed)
    s = 0.03 * np.exp(varied * rng.normal(size=POINTS))
    return s * rng.normal(size=(ALL, POINTS)) + 1.5 * s * rng.normal(size=POINTS)


def laws(errors: np.ndarray, few: int, more: int) -> tuple[PowerLaw, PowerLaw]:
    """By the spread of few members: as it is, and as that of more."""
    some = errors[:few]
    std = some.std(axis=0, ddof=1)
    return PowerLaw.fit(std, some), PowerLaw.fit(as_of([std], [few], more)[0], some)


@pytest.mark.parametrize("few", [3, 4, 5])
@pytest.mark.parametrize("varied", [0.5, 0.8])
def test_the_law_of_few_members_is_that_of_all(few: int, varied: float) -> None:
    """Ten sets of points: as it is the exponent is far too small, as of all it is theirs."""
    plain, mended, right = [], [], []
    for seed in range(10):
        errors = drawn(seed, varied)
        one, other = laws(errors, few, ALL)
        plain.append(one.b)
        mended.append(other.b)
        right.append(PowerLaw.fit(errors.std(axis=0, ddof=1), errors).b)
    off = np.abs(np.mean(mended) - np.mean(right))
    assert off < 0.2
    assert off < 0.4 * np.abs(np.mean(plain) - np.mean(right))


def test_as_of_very_many_it_is_the_planted_one() -> None:
    """Errors are sqrt(1.5² + 1) s, and s is what infinitely many members show."""
    found = [laws(drawn(seed, 0.8), 5, 10**6)[1] for seed in range(10)]
    assert np.mean([law.b for law in found]) == pytest.approx(1, abs=0.06)
    at = 0.03 * np.exp(0.8)
    wanted = np.sqrt(1.5**2 + 1) * at
    assert np.mean([law.std(at) for law in found]) == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("members", [2, 3, 8, 20])
def test_what_is_left_is_the_best_guess_of_the_spread(members: int) -> None:
    """Its mean square distance from ln s against any other slope's and offset's, over draws."""
    rng = np.random.default_rng(members)
    n, varied = 200_000, 0.6
    log = -3 + varied * rng.normal(size=n)
    std = np.exp(log) * np.sqrt(rng.chisquare(members - 1, n) / (members - 1))
    guess = np.log(as_of([std], [members], 10**9)[0])
    error = np.mean((guess - log) ** 2)
    slope, offset = np.polyfit(np.log(std), log, 1)
    best = np.mean((slope * np.log(std) + offset - log) ** 2)
    assert error == pytest.approx(best, rel=2e-3)


def test_of_as_many_members_nothing_changes() -> None:
    std = np.exp(np.random.default_rng(0).normal(size=(40, 3)))
    same = as_of([std[:10], std[10:]], [8, 8], 8)
    assert np.concatenate(same) == pytest.approx(std)


def test_spreads_that_are_all_noise_become_alike() -> None:
    rng = np.random.default_rng(1)
    std = np.sqrt(rng.chisquare(2, 12) / 2)
    std = np.exp(0.1 * np.log(std))  # varied less than by chance
    assert np.ptp(as_of([std], [3], 8)[0]) == pytest.approx(0)


@pytest.mark.parametrize("few", [3, 5])
def test_a_law_to_follow_is_that_of_spreads_taken_as_of_many(few: int) -> None:
    """Both are a linear map of ln σ̂, and a fit moves with it."""
    errors = drawn(3, 0.6)[:few]
    std = errors.std(axis=0, ddof=1)
    found = followed(PowerLaw.fit(std, errors, floor=0.0), few)
    assert found is not None
    other = PowerLaw.fit(as_of([std], [few], MANY)[0], errors, floor=0.0)
    raw = np.geomspace(0.003, 0.3, 7)
    assert found.std(raw) == pytest.approx(other.std(raw), rel=0.02)  # both of binned spreads


def test_its_slope_is_that_of_differences() -> None:
    errors = drawn(4, 0.6)[:4]
    law = followed(PowerLaw.fit(errors.std(axis=0, ddof=1), errors), 4)
    raw, step = np.array([1e-3, 0.02, 0.3]), 1e-7
    assert law is not None
    by_steps = (law.std(raw + step) - law.std(raw - step)) / (2 * step)
    assert law.derivative(raw) == pytest.approx(by_steps, rel=1e-5)  # type: ignore[attr-defined]
    assert law.derivative(0.0) == 0.0  # type: ignore[attr-defined]


def test_of_many_members_or_another_kind_a_law_stays_as_it_is() -> None:
    errors = drawn(5, 0.6)
    law = PowerLaw.fit(errors.std(axis=0, ddof=1), errors)
    assert followed(law, MANY) is law
    assert followed(law, 8) is not law
    for other in (None, GammaCalibration(), PowerLaw()):
        assert followed(other, 3) is other
