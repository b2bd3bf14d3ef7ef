"""Rounds, from where they stand in a run folder to their results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.config import CagoConfig, PoolConfig
from tunesmith.errors import RunFolderError
from tunesmith.explore.pool import State
from tunesmith.loop.labels import Labels
from tunesmith.loop.rounds import prepare_cago, rounds_outputs, rounds_standing
from tunesmith.loop.rounds.from_dynamics import FromDynamics
from tunesmith.loop.rounds.from_pool import FromPool
from tunesmith.loop.rounds.proposing import Proposer
from tunesmith.loop.rounds.rounds_course import Course
from tunesmith.loop.rounds.rounds_prepare import Prepared
from tunesmith.loop.rounds.rounds_prepare import prepare as prepare_pool
from tunesmith.loop.rounds.rounds_standing import Standing
from tunesmith.loop.tools import Tools
from tunesmith.run_folder import seal, stamp
from tunesmith.words import counted


def prepare(config: PoolConfig | CagoConfig, say: Callable[[str], None]) -> Prepared:
    """What rounds work on, read and checked; writes nothing."""
    if isinstance(config, CagoConfig):
        return prepare_cago.prepare(config, say)
    return prepare_pool(config, say)


def run(ready: Prepared, out: Path, tools: Tools) -> dict[str, Any]:
    """From where the rounds stand to their end; the summary."""
    course = opened(ready, out, tools)
    if (done := _finished(out, course)) is not None:
        tools.screen.say(f"{out} is finished: {done['ended']}.")
        return done
    course.run()
    tools.screen.busy("writing results")
    seal.put_aside(out, tools.screen.say)
    summary = rounds_outputs.write(course)
    seal.seal(out)
    return summary


def opened(ready: Prepared, out: Path, tools: Tools) -> Course:
    """The course where it stands: at its checkpoint, else before round 0.

    Raises `RunFolderError` where more rounds are done than are asked for now.
    """
    config, model = ready.config, ready.config.model
    at = Standing(State())
    if rounds_standing.exists(out):
        at, seconds = rounds_standing.load(out, dtype=model.dtype, device=model.device)
        tools.watch.add(seconds)
        if (done := at.explorer.rounds) > config.explore.rounds:
            raise RunFolderError(
                f"{out} has done {done} rounds, more than explore.rounds = "
                f"{config.explore.rounds}; ask for at least {done}, or choose another folder."
            )
        tools.screen.say(
            f"going on after round {done} with {counted(len(at.keys), 'label')} ({out})"
        )
    stamp.claim(out, config, ready.identity)
    labels = Labels(out, ready.reference, tools.watch, rounds_standing.state(out))
    course = Course(ready, _proposer(ready, out, tools), labels, at, out, tools)
    if remark := labels.store.remark():
        tools.screen.say(remark)
    return course


def _proposer(ready: Prepared, out: Path, tools: Tools) -> Proposer:
    if isinstance(ready.config, CagoConfig):
        return FromDynamics(ready, out, tools)
    return FromPool(ready, tools)


def _finished(out: Path, course: Course) -> dict[str, Any] | None:
    """The summary of just this end, where all rounds are done and it is written."""
    if not course.at.rounds or not course.explorer.finished(course.at.explorer):
        return None
    try:
        summary = dict(json.loads((out / "summary.json").read_text()))
    except (OSError, ValueError):
        return None
    same = len(summary.get("rounds", ())) == len(course.at.rounds)
    return summary if same and seal.intact(out) else None
