"""What rounds will cost: proposing, measuring and a part of one fit, timed."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from rich.console import Console

from tunesmith.attack.adversary import COST
from tunesmith.contracts import Sampler
from tunesmith.core import E0s, Frame, Label
from tunesmith.errors import ModelError
from tunesmith.loop.rounds.choosing import SeenBy
from tunesmith.loop.rounds.measure import measure
from tunesmith.loop.rounds.rounds_prepare import RoundsPrepared
from tunesmith.loop.screen import duration_or_ms

#: structures of each kind that are timed; predictions of each start structure
_SOME, _CALLS = 16, 3


def of_pool(ready: RoundsPrepared) -> dict[str, Any]:
    """Seconds of a round's parts and of the whole, labels left out; asks for no label.

    choose_s: among all candidates; None where members that do not exist yet would choose. update_s:
    the last fit; None of samplers whose length is not a number of epochs.
    """
    config = ready.config
    rounds, batch, start = config.explore.rounds, config.acquire.batch, config.explore.start
    first = len(ready.initial) + start
    sizes = [first + batch * r for r in range(rounds + 1)]
    epoch = _epoch(ready, ready.valid[:_SOME])
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


def of_dynamics(ready: RoundsPrepared) -> dict[str, Any]:
    """As `of_pool`; md_s and attack_s: of the last round, the latter at most.

    Timed with the untuned model: members cost as much each, and rounds end where it explodes.
    """
    config, starts = ready.config, ready.starts
    explore, acquire, members = config.explore, config.acquire, config.tune.sampler.count
    md = explore.dynamics(explore.rounds)
    call = [_call(ready, atoms, md.needs_stress) for atoms in starts]
    systems, rounds = len(starts), range(1, explore.rounds + 1)
    asked = len(ready.initial) + systems * (1 + explore.rattled)
    asked += sum(explore.frames_for(n, systems) for n in rounds) * systems
    attack_s = None
    if acquire.attacked is not None:
        # at most: where an error has to fall all members attack
        each = explore.frames_for(explore.rounds, systems) * acquire.attacked.evaluations
        attack_s = COST * members * each * sum(call)
    epoch = _epoch(ready, [Frame(a, _nothing(a), "start") for a in starts], one=True)
    sampler = config.tune.sampler
    fit = None if epoch is None else members * epoch * _structures(sampler, asked)
    return {
        "labels_asked": asked,
        "choose_s": None,
        "md_s": members * sum(call) * md.total_steps * explore.walkers,
        "attack_s": attack_s,
        "measure_s": members * _measure(ready) if ready.test else 0.0,
        "update_s": fit,
        "total_without_labels_s": None,
    }


def _call(ready: RoundsPrepared, atoms: Atoms, stress: bool) -> float:
    """Seconds of energy and forces of one member."""
    ready.foundation.predict([atoms], stress=stress)
    began = time.perf_counter()
    for _ in range(_CALLS):
        ready.foundation.predict([atoms], stress=stress)
    return (time.perf_counter() - began) / _CALLS


def _nothing(atoms: Atoms) -> Label:
    return Label(0.0, np.zeros((len(atoms), 3)))


def _choose(ready: RoundsPrepared) -> float | None:
    some = ready.pool[:_SOME]
    elements = {int(z) for f in (*ready.pool, *ready.initial, *ready.test) for z in f.atoms.numbers}
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    try:
        ready.config.acquire.choose(SeenBy(some, ready.foundation, [], elements), 1, rng)
    except ModelError:
        if not ready.config.acquire.asks_members:
            raise
        return None
    return (time.perf_counter() - began) / len(some) * len(ready.pool)


def _measure(ready: RoundsPrepared) -> float:
    """Of the test structures, of the validation structures where they are others, and of the rest
    of the pool."""
    valid = [] if ready.test is ready.valid else ready.valid
    everything = [*ready.test, *valid, *ready.rest.values()]
    some = everything[:_SOME]
    began = time.perf_counter()
    measure(ready.foundation, some, aligned=False)
    return (time.perf_counter() - began) / len(some) * len(everything)


def _epoch(ready: RoundsPrepared, some: list[Frame], *, one: bool = False) -> float | None:
    """Seconds of an epoch per structure learnt, validation included; one: of one member only."""
    trial = ready.config.tune.sampler.trial(len(some), one=one)
    if trial is None:
        return None
    problem = replace(ready.problem, train=some, valid=some, e0s=E0s(ready.potential.e0s))
    began = time.perf_counter()
    trial.fit(problem)
    return (time.perf_counter() - began) / len(some)


def _structures(sampler: Sampler, n: int) -> int:
    """Learnt in all epochs of a fit to ``n`` of them."""
    return n * (sampler.epochs_for(n) or 0) if n else 0


def show(cost: dict[str, Any], screen: Console) -> None:
    """For people."""
    if (there := cost.get("candidates")) is not None:
        screen.print(f"{there} candidates, {cost['labels_asked']} labels asked for")
    else:
        screen.print(f"at most {cost['labels_asked']} labels asked for")
    parts = {
        "choosing once": cost["choose_s"],
        "dynamics of the last round": cost.get("md_s"),
        "attacks of the last round, at most": cost.get("attack_s"),
        "measuring once": cost["measure_s"],
        "the last fit": cost["update_s"],
        "all rounds, labels left out,": cost["total_without_labels_s"],
    }
    for what, seconds in parts.items():
        if seconds is None and what not in ("choosing once", "the last fit"):
            continue
        said = "not measured" if seconds is None else f"about {duration_or_ms(seconds)}"
        screen.print(f"{what} {said}")
