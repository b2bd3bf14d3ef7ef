"""Batches from a pool by configured objects: what they hand on, and what they rate."""

from typing import ClassVar

import numpy as np
import pytest

from tunesmith.acquire.batch import CommitteeScore, Greedy, RandomChoice
from tunesmith.acquire.greedy import Picks, kcenter, lcmd, posterior_variance
from tunesmith.contracts import Acquirer
from tunesmith.core import Settings
from tunesmith.errors import ConfigError

RNG = np.random.default_rng(0)
POOL, LABELLED = RNG.normal(size=(30, 4)), RNG.normal(size=(6, 4))


class Vectors(Settings):
    """A representation of which only the kernel counts here."""

    kind: ClassVar[str] = "vectors"
    kernel: ClassVar[str] = "cosine"


def greedy(**settings: object) -> Greedy:
    return Greedy(representation=Vectors(), **settings)


class Given:
    """Candidates whose features and scores are given."""

    def __init__(self, pool: np.ndarray, labelled: np.ndarray | None = None) -> None:
        self.pool, self.known = pool, labelled

    def __len__(self) -> int:
        return len(self.pool)

    def features(self, representation: Vectors) -> np.ndarray:
        return self.pool

    def labelled(self, representation: Vectors) -> np.ndarray | None:
        return self.known

    def disagreement(self, score: str) -> np.ndarray:
        return self.pool[:, 0]


def chosen(rule: Acquirer, given: Given, n: int, seed: int = 0) -> Picks:
    return rule.choose(given, n, np.random.default_rng(seed))


def test_rules_kernels_and_noise_are_handed_on() -> None:
    found = chosen(greedy(rule="posterior-variance", noise=0.5), Given(POOL, LABELLED), 4).indices
    expected = posterior_variance(POOL, LABELLED, 4, noise=0.5, kernel="cosine")
    np.testing.assert_array_equal(found, expected)
    found = chosen(greedy(rule="kcenter", kernel="linear"), Given(POOL), 4).indices
    np.testing.assert_array_equal(found, kcenter(POOL, None, 4, kernel="linear"))
    found = chosen(greedy(), Given(POOL, LABELLED), 4).indices
    np.testing.assert_array_equal(found, lcmd(POOL, LABELLED, 4, kernel="cosine"))


def test_a_variance_is_rated_as_by_the_joint_distribution() -> None:
    """1 over the last entry of the inverse of the joint covariance, noise on the labelled alone."""
    rule = greedy(rule="posterior-variance", kernel="linear", noise=1e-2)
    rated = rule.rate(Given(POOL, LABELLED))
    assert rated is not None
    for x, variance in zip(POOL, rated, strict=True):
        both = np.vstack([LABELLED, x])
        joint = both @ both.T + np.diag([1e-2] * len(LABELLED) + [0.0])
        joint[-1, -1] += 1e-12
        assert variance == pytest.approx(1 / np.linalg.inv(joint)[-1, -1], rel=1e-3, abs=1e-9)


def test_a_distance_is_rated_as_that_to_the_nearest() -> None:
    apart = np.linalg.norm(POOL[:, None] - LABELLED[None], axis=-1).min(1)
    rated = greedy(kernel="linear").rate(Given(POOL, LABELLED))
    np.testing.assert_allclose(rated, apart, rtol=1e-6)
    assert greedy().rate(Given(POOL)) is None


def test_scores_and_chance() -> None:
    given = Given(np.array([[0.1], [0.5], [0.3]]))
    picks = chosen(CommitteeScore(), given, 2)
    assert (picks.indices.tolist(), picks.scores.tolist()) == ([1, 2], [0.5, 0.3])
    np.testing.assert_array_equal(CommitteeScore().rate(given), [0.1, 0.5, 0.3])
    one, other = (chosen(RandomChoice(), Given(POOL), 5, s) for s in (0, 1))
    assert RandomChoice().rate(Given(POOL)) is None
    assert len(set(one.indices)) == 5
    assert one.indices.tolist() != other.indices.tolist()
    assert np.isnan(one.scores).all()


def test_a_noise_without_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match="kcenter has none"):
        greedy(rule="kcenter", noise=1e-2)
