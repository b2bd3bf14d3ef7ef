"""Intervals over seeds, against every sample there is and against the normal law."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tunesmith.report.seeds import RESAMPLES, interval

RNG = np.random.default_rng(0)


def everywhere(statistic: Callable[[np.ndarray], np.ndarray], n: int) -> tuple[float, float]:
    """The same quantiles over all nⁿ samples, each once."""
    values = statistic(np.array(list(itertools.product(range(n), repeat=n))))
    low, high = np.quantile(values, [0.05, 0.95], method="inverted_cdf")
    return float(low), float(high)


@pytest.mark.parametrize("n", [2, 3])
def test_of_few_seeds_it_is_that_of_all_samples(n: int) -> None:
    values = np.exp(2 * RNG.normal(size=n))
    for statistic in (
        lambda drawn: values[drawn].mean(1),
        lambda drawn: values[drawn].min(1) / values[drawn].sum(1),
    ):
        assert interval(statistic, n) == pytest.approx(everywhere(statistic, n))


def test_of_many_seeds_it_is_that_of_the_normal_law() -> None:
    values = RNG.normal(3, 2, 200)
    low, high = interval(lambda drawn: values[drawn].mean(1), 200) or (0, 0)
    error = values.std() / np.sqrt(200)  # n, not n − 1: of the bootstrap's own law
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.15 * error)
    assert (high - low) / 2 == pytest.approx(1.645 * error, rel=0.05)


def test_one_seed_has_none_and_equal_numbers_are_drawn_alike() -> None:
    seen = []

    def statistic(drawn: np.ndarray) -> np.ndarray:
        seen.append(drawn)
        return np.asarray(drawn.mean(1))

    assert interval(statistic, 1) is None
    assert interval(statistic, 4) == interval(statistic, 4)
    assert seen[0].shape == (RESAMPLES, 4)
    np.testing.assert_array_equal(*seen)
    assert interval(statistic, 4, seed=1) is not None
    assert (seen[2] != seen[0]).any()


def test_five_seeds_hold_the_mean_as_often_as_said() -> None:
    held = 0
    for _ in range(500):
        values = RNG.normal(size=5)
        low, high = interval(lambda drawn, of=values: of[drawn].mean(1), 5) or (0, 0)
        held += low <= 0 <= high
    assert held / 500 == pytest.approx(0.79, abs=0.05)
