"""How far a number over a few seeds can be trusted: the percentile bootstrap.

Seeds of one pool, one test set and one model are all it knows: of other pools it says nothing.
"""

from collections.abc import Callable

import numpy as np

#: samples that are drawn, and the share of their values in an interval's middle
RESAMPLES, CENTRAL = 2000, 0.9


def interval(
    statistic: Callable[[np.ndarray], np.ndarray], seeds: int, seed: int = 0
) -> tuple[float, float] | None:
    """Central 90 % of a statistic over seeds drawn with replacement; None of one seed.

    statistic: places of the drawn seeds (K, seeds) → its values (K,). seed: of the drawing, from
    which equal numbers of seeds are drawn alike.

    Few seeds give too narrow ones: five have 126 different samples, and of a mean a share 1/n of
    the variance is missing, so that of normal values those of five hold the mean in 79 % of
    cases; those of two are little more than the range of the two.
    """
    if seeds < 2:
        return None
    drawn = np.random.default_rng(seed).integers(seeds, size=(RESAMPLES, seeds))
    low, high = np.quantile(statistic(drawn), [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2])
    return float(low), float(high)
