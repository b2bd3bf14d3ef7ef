"""A whole run, on the fly or in rounds, from a configuration to a run folder; the same call
resumes it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tunesmith.config import CagoConfig, PoolConfig, RunConfig
from tunesmith.core import E0s
from tunesmith.engines.processes import executor
from tunesmith.loop import rounds
from tunesmith.loop.interrupts import Interrupts
from tunesmith.loop.labels import Labels
from tunesmith.loop.onthefly import begin, onthefly_checkpoint, onthefly_outputs
from tunesmith.loop.onthefly.onthefly_course import Loop
from tunesmith.loop.onthefly.onthefly_prepare import Prepared, prepare
from tunesmith.loop.screen import Screen
from tunesmith.loop.stopwatch import Stopwatch
from tunesmith.loop.tools import Tools
from tunesmith.references.engine import NO_NUMBERS
from tunesmith.run_folder import seal, stamp
from tunesmith.words import counted


def run(
    config: RunConfig | PoolConfig | CagoConfig, out: str | Path, console: Console | None = None
) -> dict[str, Any]:
    """Explore, label what the model should learn, learn; returns the run's summary.

    The folder ``out`` then holds labels, the tuned model, its committee, a picture, and of
    dynamics the trajectory. Called again it resumes, to the same result to the bit at the same
    number of threads, or, when finished, only returns the summary. A longer ``explore.time``, or
    more ``explore.rounds``, extend a finished run.

    What happens is said on ``console``, stderr where none is given. Raises `TunesmithError`s of one
    sentence; what was done by then is kept.
    """
    out = Path(out)
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    known = stamp.stored(out, config, may_change(config))
    ready = prepared(config, console.print)
    if known is not None:
        stamp.require_same(out, known["identity"], ready.identity)
    screen, settings = Screen(console), config.execute
    try:
        with (
            stamp.alone(out),
            Interrupts() as interrupts,
            executor(settings.processes, settings.threads) as pool,
        ):
            tools = Tools(Stopwatch(), interrupts, screen, pool)
            go = rounds.run if isinstance(config, PoolConfig | CagoConfig) else _run
            return go(ready, out, tools)
    finally:
        screen.close()


def prepared(config: RunConfig | PoolConfig | CagoConfig, say: Callable[[str], None]) -> Any:
    """What a run works on, read and checked; writes nothing."""
    if isinstance(config, PoolConfig | CagoConfig):
        return rounds.prepare(config, say)
    return prepare(config, say)


def show(summary: dict[str, Any], screen: Console) -> None:
    """For people: what was done, how good it is, where the time went, what there is now."""
    (rounds.show if "rounds" in summary else onthefly_outputs.show)(summary, screen)


def may_change(config: RunConfig | PoolConfig | CagoConfig) -> tuple[str, ...]:
    """Starts of the paths of settings that may differ when a run is resumed."""
    free = (f"reference.{name}" for name in (*NO_NUMBERS, "max_memory"))
    return (*config.MAY_CHANGE, *free)


def _run(ready: Prepared, out: Path, tools: Tools) -> dict[str, Any]:
    loop = opened(ready, out, tools)
    if (end := loop.end()) is not None and (done := _finished(out, loop)) is not None:
        tools.screen.say(f"{out} is finished: {end.reason}.")
        return done
    end = loop.run()
    tools.screen.say(f"{end.reason}.")
    tools.screen.busy("writing results")
    seal.put_aside(out, tools.screen.say)
    summary = onthefly_outputs.write(ready, loop, end)
    seal.seal(out)
    return summary


def opened(ready: Prepared, out: Path, tools: Tools) -> Loop:
    """The loop where it stands: at its checkpoint, else after its first labels and update."""
    config = ready.config
    labels = Labels(out, config.reference, tools.watch, onthefly_checkpoint.state(out))
    if onthefly_checkpoint.exists(out):
        start = begin.untaught(ready, E0s(ready.potential.e0s))
        at, seconds = onthefly_checkpoint.load(out, config.explore, start)
        tools.watch.add(seconds)
        frames = labels.frames(at.keys)
        tools.screen.say(
            f"going on at {1e-3 * at.clock:.4f} ps with {counted(len(at.keys), 'label')} ({out})"
        )
        if remark := labels.store.remark():
            tools.screen.say(remark)
        stamp.claim(out, config, ready.identity)
        return Loop(config, ready.problem, labels, frames, at, out, tools)
    keys = begin.first_labels(ready, labels, tools)
    frames = labels.frames(keys)
    e0s = begin.alignment(ready, frames)
    stamp.claim(out, config, ready.identity)
    _announce(ready, e0s, tools)
    at = begin.first_standing(ready, keys, frames, e0s, tools)
    loop = Loop(config, ready.problem, labels, frames, at, out, tools)
    loop.save()
    return loop


def _announce(ready: Prepared, e0s: E0s, tools: Tools) -> None:
    """What is asked for, in other units too."""
    target, acquire = ready.config.target, ready.config.acquire
    tools.screen.say(e0s.reason)
    for formula, atoms in {a.get_chemical_formula(): a for a in ready.structures}.items():
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


def _finished(out: Path, loop: Loop) -> dict[str, Any] | None:
    """The summary of just this end, where it is written."""
    try:
        summary = dict(json.loads((out / "summary.json").read_text()))
    except (OSError, ValueError):
        return None
    same = (summary.get("steps"), summary.get("updates")) == (loop.at.steps, loop.at.updates)
    return summary if same and seal.intact(out) else None
