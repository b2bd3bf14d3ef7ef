"""A pool as an explorer: what is left, and how many may be asked for."""

import numpy as np
import pytest

from tunesmith.errors import DataError
from tunesmith.explore.pool import Pool, RoundsState


def pool(**settings: int) -> Pool:
    return Pool(files=("pool.xyz",), **settings)


def test_every_candidate_is_taken_once() -> None:
    explorer, state, rng = pool(rounds=3, start=2), RoundsState(), np.random.default_rng(0)
    state = explorer.begin(11, rng)
    seen = list(state.taken)
    for _ in range(3):
        assert not explorer.finished(state)
        left = explorer.left(state, 11)
        assert set(left) == set(range(11)) - set(seen)
        state = explorer.step(state, left[:3])
        seen += left[:3].tolist()
    assert explorer.finished(state)
    assert sorted(seen) == sorted(state.taken) == list(range(11))


def test_the_start_is_as_likely_anywhere() -> None:
    counts = np.zeros(5)
    for seed in range(400):
        counts[list(pool(start=2).begin(5, np.random.default_rng(seed)).taken)] += 1
    # binomial with mean 160 and standard deviation 9.8
    assert np.all(np.abs(counts - 160) < 4 * 9.8)


def test_more_than_there_are_is_refused() -> None:
    pool(rounds=3, start=2).check(11, 3)
    with pytest.raises(DataError, match="at most 2 rounds"):
        pool(rounds=3, start=2).check(10, 3)
    with pytest.raises(DataError, match="at most 0 rounds"):
        pool(rounds=1, start=9).check(5, 3)
