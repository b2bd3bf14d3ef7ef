"""What a run will cost: one step, one label and a part of one update, timed."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from tunesmith.attack.adversary import COST
from tunesmith.explore.state import Answer
from tunesmith.loop import checkpoint
from tunesmith.loop.labels import Labels
from tunesmith.loop.onthefly import adversaries, begin
from tunesmith.loop.onthefly.onthefly_prepare import DynamicsPrepared
from tunesmith.loop.onthefly.onthefly_standing import OnTheFlyStanding
from tunesmith.loop.screen import duration, duration_or_ms
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble

#: MD steps timed; steps of each chain timed at most, and how many seconds they may take
_STEPS, _CHAIN, _BUDGET = 20, 120, 60.0
_LEAST = 10  # steps of a chain that its schedule makes sense for
#: numbers of labels the total is estimated for
LABELS = (20, 50, 100)


def estimate(ready: DynamicsPrepared, out: Path, tools: Tools) -> dict[str, Any]:
    """Label the start, and time a step, a label and a part of an update.

    The label is kept in the run's store, where the run will find it. With attacks every label that
    is asked for costs one attack and one label more.
    """
    config = ready.config
    labels = Labels(out, ready.reference, tools.watch, checkpoint.state(out))
    keys = begin.first_labels(ready, labels, tools)
    frames = labels.frames(keys)
    seconds = [e.seconds for e in labels.store.entries() if e.seconds > 0]
    members = begin.untaught(ready, begin.alignment(ready, frames))
    tools.screen.say("timing a step of dynamics")
    step = _step(ready, Ensemble.of(ready.potential, members))
    tools.screen.say("timing a part of an update, about a minute at most")
    at = OnTheFlyStanding(ready.state, (ready.state, ready.state), members)
    update = _update(ready, at, frames, tools)
    walkers = len(ready.state.walkers)
    md = step * config.explore.total_steps * walkers
    label = seconds[-1] if seconds else None
    per_label, attack = update + (label or 0.0), None
    if adversaries.on(config):  # at most
        attack = COST * step * config.attack.evaluations
        per_label += attack + (label or 0.0)
    return {
        "step_s": step,
        "label_s": label,
        "attack_s": attack,
        "update_s": update,
        "md_s": md,
        "total_s": {str(n): md + n * per_label for n in LABELS},
        "labels_kept_in": str(labels.path),
    }


def _step(ready: DynamicsPrepared, ensemble: Ensemble) -> float:
    """Seconds of one step, the criterion left out."""
    explorer, state = ready.config.explore, ready.state

    def answer(walker: int, atoms: Any) -> Answer:
        mean = ensemble.predict([atoms], stress=explorer.needs_stress, spread="energy").mean
        stress = None if mean.stress is None else mean.stress[0]
        return Answer(float(mean.energy[0]), mean.forces, stress)

    state = explorer.step(state, answer)
    began = time.perf_counter()
    for _ in range(_STEPS):
        state = explorer.step(state, answer)
    return (time.perf_counter() - began) / _STEPS


def _update(
    ready: DynamicsPrepared, at: OnTheFlyStanding, frames: list[Any], tools: Tools
) -> float:
    """Seconds of one update, from a part of its steps on the batches of a longer run."""
    sampler = ready.config.tune.sampler
    full = (frames * sampler.batch_size)[: max(sampler.batch_size, 1)]
    problem = replace(ready.problem, train=full, e0s=at.members.e0s)

    def seconds(steps: int) -> float:
        settings = sampler.model_copy(update={"steps": steps, "first_steps": None})
        began = time.perf_counter()
        with tools.interrupts.at_once():
            settings.update(at.members, problem, number=1, executor=tools.executor)
        return time.perf_counter() - began

    return whole_update(seconds, sampler.steps)


def whole_update(
    seconds: Callable[[int], float], steps: int, *, budget: float = _BUDGET, most: int = _CHAIN
) -> float:
    """Seconds of so many steps, by timing no more of them than there are, ``most`` and ``budget``
    seconds allow.

    seconds: does so many steps, ten at least, and says how long they took. The first ten start
    workers, so that ten more tell what steps take where there is time for them; the difference of a
    short and a long part leaves out what every update begins and ends with.
    """
    first = seconds(_LEAST)
    done, spent = _LEAST, first
    if 2 * first < budget:  # they may have been the start and little else
        first = seconds(_LEAST)
        done, spent = done + _LEAST, spent + first
    each = first / _LEAST
    left = min(min(steps, most) - done, int((budget - spent) / max(each, 1e-6)))
    if left < 3 * _LEAST:  # hardly more than that, or so slow that a start does not count
        return each * steps
    short = left // 3
    some, more = seconds(short), seconds(left - short)
    each = max((more - some) / (left - 2 * short), 0.0)
    return more + each * (steps - (left - short))


def show(cost: dict[str, Any], screen: Console) -> None:
    """For people."""
    label = cost["label_s"]
    said = duration_or_ms(label) if label is not None else "not measured (none was needed)"
    screen.print(f"one MD step {duration_or_ms(cost['step_s'])}, in all {duration(cost['md_s'])}")
    screen.print(f"one label {said}")
    screen.print(f"one update {duration_or_ms(cost['update_s'])}")
    asked = ""
    if (attack := cost["attack_s"]) is not None:
        screen.print(f"one attack at most {duration_or_ms(attack)}, and one label more")
        asked = " asked for"
    for n, total in cost["total_s"].items():
        screen.print(f"with {n} labels{asked} the run takes about {duration(total)}")
    screen.print(f"labels made by now are kept in {cost['labels_kept_in']}", markup=False)
