"""Batches from a pool by configured objects: what they hand on, and what they rate."""

from typing import ClassVar

import numpy as np
import pytest

from tunesmith.acquire.batch import CommitteeScore, Greedy, RandomChoice
from tunesmith.acquire.greedy import kcenter, lcmd, posterior_variance
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


def test_rules_kernels_and_noise_are_handed_on() -> None:
    found = greedy(rule="posterior-variance", noise=0.5).choose(POOL, LABELLED, 4).indices
    expected = posterior_variance(POOL, LABELLED, 4, noise=0.5, kernel="cosine")
    np.testing.assert_array_equal(found, expected)
    found = greedy(rule="kcenter", kernel="linear").choose(POOL, None, 4).indices
    np.testing.assert_array_equal(found, kcenter(POOL, None, 4, kernel="linear"))
    found = greedy().choose(POOL, LABELLED, 4).indices
    np.testing.assert_array_equal(found, lcmd(POOL, LABELLED, 4, kernel="cosine"))


def test_a_variance_is_rated_as_by_the_joint_distribution() -> None:
    """1 over the last entry of the inverse of the joint covariance, noise on the labelled alone."""
    rated = greedy(rule="posterior-variance", kernel="linear", noise=1e-2).rate(POOL, LABELLED)
    for x, variance in zip(POOL, rated, strict=True):
        both = np.vstack([LABELLED, x])
        joint = both @ both.T + np.diag([1e-2] * len(LABELLED) + [0.0])
        joint[-1, -1] += 1e-12
        assert variance == pytest.approx(1 / np.linalg.inv(joint)[-1, -1], rel=1e-3, abs=1e-9)


def test_a_distance_is_rated_as_that_to_the_nearest() -> None:
    apart = np.linalg.norm(POOL[:, None] - LABELLED[None], axis=-1).min(1)
    np.testing.assert_allclose(greedy(kernel="linear").rate(POOL, LABELLED), apart, rtol=1e-6)


def test_scores_and_chance() -> None:
    picks = CommitteeScore().choose(np.array([0.1, 0.5, 0.3]), 2)
    assert (picks.indices.tolist(), picks.scores.tolist()) == ([1, 2], [0.5, 0.3])
    one, other = (RandomChoice().choose(30, 5, np.random.default_rng(s)) for s in (0, 1))
    assert len(set(one.indices)) == 5
    assert one.indices.tolist() != other.indices.tolist()
    assert np.isnan(one.scores).all()


def test_a_noise_without_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match="kcenter has none"):
        greedy(rule="kcenter", noise=1e-2)
