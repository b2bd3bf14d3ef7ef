"""Fewer labels to learn from: those that cover all best."""

from collections.abc import Sequence

from tunesmith.acquire.greedy import lcmd
from tunesmith.core import Frame
from tunesmith.features.compute_features import REPRESENTATIONS, compute
from tunesmith.posterior.ensemble import Ensemble


def thinned(frames: Sequence[Frame], most: int, posterior: Ensemble) -> list[Frame]:
    """At most so many frames, in their order: the newest, which is the last one, and beside it
    those that leave the least uncovered (LCMD by the tangent kernel of the posterior).

    A posterior of fewer labels is a wider one: its prior and its noise count for more.

    most: 2 or more.
    """
    if len(frames) <= most:
        return list(frames)
    representation = REPRESENTATIONS.get("ntk")()
    features = compute(representation, frames, posterior)
    chosen = lcmd(features[:-1], features[-1:], most - 1, kernel=representation.kernel)
    return [*(frames[i] for i in sorted(chosen)), frames[-1]]
