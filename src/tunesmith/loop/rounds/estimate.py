"""What rounds from a pool will cost: choosing, measuring and a part of one fit, timed."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from tunesmith.core import E0s, Frame
from tunesmith.errors import ModelError
from tunesmith.loop.rounds.choosing import Choice
from tunesmith.loop.rounds.measure import measure
from tunesmith.loop.rounds.prepare import Prepared
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.by_size import BySize

#: structures of each kind that are timed
_SOME = 16


def estimate(ready: Prepared) -> dict[str, Any]:
    """Seconds of a round's parts and of the whole, labels left out; asks for no label.

    choose_s: among all candidates; None where members that do not exist yet would choose. update_s:
    the last fit; None of samplers whose length is not a number of epochs.
    """
    config = ready.config
    rounds, batch, start = config.explore.rounds, config.acquire.batch, config.explore.start
    first = len(ready.initial) + start
    sizes = [first + batch * r for r in range(rounds + 1)]
    epoch = _epoch(ready)
    fits = None if epoch is None else [epoch * _structures(config.tune.sampler, n) for n in sizes]
    choose, measured = _choose(ready), _measure(ready)
    whole = None
    if fits is not None:
        whole = sum(fits) + rounds * (choose or 0.0) + len(sizes) * measured
    return {
        "candidates": len(ready.pool),
        "labels_asked": start + rounds * batch,
        "choose_s": choose,
        "measure_s": measured,
        "update_s": None if fits is None else fits[-1],
        "total_without_labels_s": whole,
    }


def _choose(ready: Prepared) -> float | None:
    some = ready.pool[:_SOME]
    elements = {int(z) for f in (*ready.pool, *ready.initial, *ready.test) for z in f.atoms.numbers}
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    try:
        choice = Choice(ready.config.acquire, ready.foundation, [], elements)
        choice.picks(some, 1, rng)
    except ModelError:
        if ready.config.acquire.score is None:
            raise
        return None
    return (time.perf_counter() - began) / len(some) * len(ready.pool)


def _measure(ready: Prepared) -> float:
    """Of the test structures, and of the validation structures where they are others."""
    both = ready.test if ready.test is ready.valid else [*ready.test, *ready.valid]
    some = both[:_SOME]
    began = time.perf_counter()
    measure(ready.foundation, some, aligned=False)
    return (time.perf_counter() - began) / len(some) * len(both)


def _epoch(ready: Prepared) -> float | None:
    """Seconds of an epoch per structure learnt, validation included."""
    sampler = ready.config.tune.sampler
    if not isinstance(sampler, AdamW | BySize):
        return None
    some: list[Frame] = ready.valid[:_SOME]
    single = sampler.of(len(some)) if isinstance(sampler, BySize) else sampler
    problem = replace(ready.problem, train=some, valid=some, e0s=E0s(ready.potential.e0s))
    began = time.perf_counter()
    single.model_copy(update={"epochs": 1, "patience": 1}).fit(problem)
    return (time.perf_counter() - began) / len(some)


def _structures(sampler: AdamW | BySize, n: int) -> int:
    """Learnt in all epochs of a fit to ``n`` of them."""
    if not n:
        return 0
    return n * (sampler.of(n) if isinstance(sampler, BySize) else sampler).epochs
