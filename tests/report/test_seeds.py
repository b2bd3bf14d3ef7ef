"""Intervals over seeds, against every sample there is and against the normal law."""

import itertools
from collections import Counter

import numpy as np
import pytest

from tunesmith.report.seeds import RESAMPLES, interval


@pytest.mark.parametrize("n", [2, 3, 5])
def test_of_few_seeds_it_is_that_of_all_samples(n: int) -> None:
    """Walked through in order of value, one by one: 5 % are passed at its ends."""
    values = [float(v) for v in np.exp(2 * np.random.default_rng(n).normal(size=n))]
    array = np.array(values)
    for plain, statistic in (
        (lambda v: sum(v) / n, lambda drawn: array[drawn].mean(1)),
        (lambda v: min(v) / max(v), lambda drawn: array[drawn].min(1) / array[drawn].max(1)),
    ):
        each = Counter(plain(v) for v in itertools.product(values, repeat=n))
        ends, passed = [], 0
        for value in sorted(each):
            before, passed = passed, passed + each[value]
            ends += [value for share in (0.05, 0.95) if before < share * n**n <= passed]
        assert interval(statistic, n) == pytest.approx(ends)


def test_of_many_seeds_it_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(3, 2, 200)
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
    assert interval(statistic, 6) == interval(statistic, 6)
    assert seen[0].shape == (RESAMPLES, 6)
    np.testing.assert_array_equal(*seen)
    assert interval(statistic, 6, seed=1) is not None
    assert (seen[2] != seen[0]).any()


def test_five_seeds_hold_the_mean_as_often_as_said() -> None:
    rng, held = np.random.default_rng(2), 0
    for _ in range(500):
        values = rng.normal(size=5)
        low, high = interval(lambda drawn, of=values: of[drawn].mean(1), 5) or (0, 0)
        held += low <= 0 <= high
    assert held / 500 == pytest.approx(0.79, abs=0.05)
