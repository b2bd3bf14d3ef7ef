"""Which labels of a growing set no member learns: error bars are calibrated on them."""

from collections.abc import Sequence

import numpy as np

from tunesmith.contracts import Sampler
from tunesmith.core import Frame, derived_seed

#: one label of so many is set apart (method page 4)
_OF = 10
#: fewest that calibrate: from one or two structures a law of two parameters is a guess, and out of
#: the bag every label says something
_FEWEST = 5


def set_apart(
    frames: Sequence[Frame], sampler: Sampler, seed: int
) -> tuple[list[Frame], list[Frame]]:
    """Labels to learn, and the common test set: one by lot of every ten, so that what was set apart
    stays so when more labels come.

    Below 50 labels there is none where members can be judged out of the bag, each on what it has
    not seen. Of other samplers at least the last label is one.
    """
    n = len(frames)
    chosen = {
        _OF * block + int(np.random.default_rng(derived_seed(seed, "apart", block)).integers(_OF))
        for block in range(n // _OF)
    }
    if sampler.judges_itself:
        chosen = chosen if len(chosen) >= _FEWEST else set()
    elif not chosen and n > 1:
        chosen = {n - 1}
    rest = [frame for i, frame in enumerate(frames) if i not in chosen]
    return rest, [frames[i] for i in sorted(chosen)]
