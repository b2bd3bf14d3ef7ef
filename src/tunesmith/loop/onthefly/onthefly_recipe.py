"""Molecular dynamics that asks the reference where an error has become too likely: the recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tunesmith.config import RunConfig
from tunesmith.core import E0s
from tunesmith.loop import checkpoint
from tunesmith.loop.labels import Labels
from tunesmith.loop.onthefly import (
    begin,
    onthefly_estimate,
    onthefly_outputs,
    onthefly_prepare,
)
from tunesmith.loop.onthefly.onthefly_course import OnTheFlyCourse
from tunesmith.loop.onthefly.onthefly_prepare import DynamicsPrepared
from tunesmith.loop.onthefly.onthefly_standing import unpack
from tunesmith.loop.tools import Tools
from tunesmith.run_folder import stamp
from tunesmith.words import counted


class OnTheFly:
    """A `Recipe`; one step at a time, one label at a time."""

    def prepare(self, config: RunConfig, say: Callable[[str], None]) -> DynamicsPrepared:
        return onthefly_prepare.prepare(config, say)

    def open(self, ready: DynamicsPrepared, out: Path, tools: Tools) -> OnTheFlyCourse:
        """At its checkpoint, else after its first labels and update."""
        config = ready.config
        labels = Labels(out, ready.reference, tools.watch, checkpoint.state(out))
        if checkpoint.exists(out):
            at, seconds = checkpoint.load(
                out, ready.potential, lambda packed: unpack(packed, config.explore)
            )
            tools.watch.add(seconds)
            frames = labels.frames(at.keys)
            known = counted(len(at.keys), "label")
            tools.screen.say(f"going on at {1e-3 * at.clock:.4f} ps with {known} ({out})")
            if remark := labels.store.remark():
                tools.screen.say(remark)
            stamp.claim(out, config, ready.identity)
            return OnTheFlyCourse(ready, labels, frames, at, out, tools)
        keys = begin.first_labels(ready, labels, tools)
        frames = labels.frames(keys)
        e0s = begin.alignment(ready, frames)
        stamp.claim(out, config, ready.identity)
        _announce(ready, e0s, tools)
        at = begin.first_standing(ready, keys, frames, e0s, tools)
        course = OnTheFlyCourse(ready, labels, frames, at, out, tools)
        course.save()
        return course

    def write(self, course: OnTheFlyCourse) -> dict[str, Any]:
        return onthefly_outputs.write(course)

    def show(self, summary: dict[str, Any], screen: Console) -> None:
        onthefly_outputs.show(summary, screen)

    def estimate(self, ready: DynamicsPrepared, out: Path, tools: Tools) -> dict[str, Any]:
        return onthefly_estimate.estimate(ready, out, tools)

    def show_cost(self, cost: dict[str, Any], screen: Console) -> None:
        onthefly_estimate.show(cost, screen)


def _announce(ready: DynamicsPrepared, e0s: E0s, tools: Tools) -> None:
    """What is asked for, in other units too."""
    target, acquire = ready.config.target, ready.config.acquire
    tools.screen.say(e0s.reason)
    for formula, atoms in {a.get_chemical_formula(): a for a in ready.starts}.items():
        when = []
        if (k := target.energy_of(atoms)) is not None:
            sizes = [f"{1e3 * k:.4g} meV", f"{1e3 * k / len(atoms):.3g} meV/atom"]
            said = [str(target.energy), *(size for size in sizes if size != target.energy)]
            when.append(f"|energy error| > {' = '.join(said)}")
        if (forces := acquire.limits(target, atoms, acquire.start_labels).forces) is not None:
            judged = 1e3 * forces[np.isfinite(forces)]
            size = " to ".join(f"{x:.4g}" for x in sorted({judged.min(), judged.max()}))
            when.append(f"the force error of any of {len(judged)} atoms > {size} meV/Å")
        limit = f"is over {100 * target.probability:g} %"
        tools.screen.say(f"{formula}: a label where P({') or P('.join(when)}) {limit}")
