"""Rounds: a batch is proposed, labelled and learnt at a time. Two recipes, and one course.

They differ in who proposes: a pool its candidates (`from_pool`), dynamics and attacks structures
that they make (`from_dynamics`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from tunesmith.config import CagoConfig, PoolConfig
from tunesmith.errors import RunFolderError
from tunesmith.explore.pool import RoundsState
from tunesmith.loop import checkpoint
from tunesmith.loop.labels import Labels
from tunesmith.loop.rounds import (
    prepare_cago,
    rounds_estimate,
    rounds_outputs,
    rounds_prepare,
)
from tunesmith.loop.rounds.from_dynamics import FromDynamics
from tunesmith.loop.rounds.from_pool import FromPool
from tunesmith.loop.rounds.proposing import Proposer
from tunesmith.loop.rounds.rounds_course import RoundsCourse
from tunesmith.loop.rounds.rounds_prepare import RoundsPrepared
from tunesmith.loop.rounds.rounds_standing import RoundsStanding, clean, unpack
from tunesmith.loop.tools import Tools
from tunesmith.run_folder import stamp
from tunesmith.words import counted


class _Rounds(ABC):
    """A `Recipe`, but for who proposes and what can be checked of that."""

    @abstractmethod
    def prepare(self, config: Any, say: Callable[[str], None]) -> RoundsPrepared: ...

    @abstractmethod
    def proposer(self, ready: RoundsPrepared, out: Path, tools: Tools) -> Proposer: ...

    @abstractmethod
    def estimate(self, ready: RoundsPrepared, out: Path, tools: Tools) -> dict[str, Any]: ...

    def open(self, ready: RoundsPrepared, out: Path, tools: Tools) -> RoundsCourse:
        """At its checkpoint, else before round 0.

        Raises `RunFolderError` where more rounds are done than are asked for now.
        """
        config, at = ready.config, RoundsStanding(RoundsState())
        if checkpoint.exists(out):
            at, seconds = checkpoint.load(out, ready.potential, unpack)
            clean(out, at.rounds[-1].round)
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
        labels = Labels(out, ready.reference, tools.watch, checkpoint.state(out))
        course = RoundsCourse(ready, self.proposer(ready, out, tools), labels, at, out, tools)
        if remark := labels.store.remark():
            tools.screen.say(remark)
        return course

    def write(self, course: RoundsCourse) -> dict[str, Any]:
        return rounds_outputs.write(course)

    def show(self, summary: dict[str, Any], screen: Console) -> None:
        rounds_outputs.show(summary, screen)

    def show_cost(self, cost: dict[str, Any], screen: Console) -> None:
        rounds_estimate.show(cost, screen)


class PoolRounds(_Rounds):
    """Candidates that stand in files, chosen by the model of the last round."""

    def prepare(self, config: PoolConfig, say: Callable[[str], None]) -> RoundsPrepared:
        return rounds_prepare.prepare(config, say)

    def proposer(self, ready: RoundsPrepared, out: Path, tools: Tools) -> Proposer:
        return FromPool(ready, tools)

    def estimate(self, ready: RoundsPrepared, out: Path, tools: Tools) -> dict[str, Any]:
        return rounds_estimate.of_pool(ready)


class CagoRounds(_Rounds):
    """Frames of a committee's own dynamics, attacked or as they are."""

    def prepare(self, config: CagoConfig, say: Callable[[str], None]) -> RoundsPrepared:
        return prepare_cago.prepare(config, say)

    def proposer(self, ready: RoundsPrepared, out: Path, tools: Tools) -> Proposer:
        return FromDynamics(ready, out, tools)

    def estimate(self, ready: RoundsPrepared, out: Path, tools: Tools) -> dict[str, Any]:
        return rounds_estimate.of_dynamics(ready)
