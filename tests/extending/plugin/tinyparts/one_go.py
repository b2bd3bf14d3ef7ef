"""The recipe: label structures drawn by lot, tune once, finish."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tinyparts.one_go_config import OneGoConfig
from tunesmith import files
from tunesmith.commands.fine_tune import members_of
from tunesmith.commands.training_data import align
from tunesmith.commands.write_model import write_model
from tunesmith.core import Failure, Frame, Members
from tunesmith.data.checks import check_structures
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.errors import DataError, LabellingError, MissingDependencyError
from tunesmith.loop import inputs
from tunesmith.loop.labels import Labels
from tunesmith.loop.recipe import End
from tunesmith.loop.tools import Tools
from tunesmith.run_folder import seal, stamp
from tunesmith.tune.problem import Problem


@dataclass(frozen=True)
class Ready:
    """What the run works on: read, checked, and drawn."""

    config: OneGoConfig
    identity: dict[str, str]
    problem: Problem
    drawn: list[Frame]


class OneGoRecipe:
    """A `tunesmith.loop.recipe.Recipe`."""

    def prepare(self, config: OneGoConfig, say: Callable[[str], None]) -> Ready:
        """Read, refuse what cannot work, draw; nothing is written or paid for."""
        potential, wanted = inputs.opened(config), config.explore.labels
        found = [frame for name in config.explore.files for frame in read_frames(name)[0]]
        frames = [replace(frame, label=None) for frame in found]
        check_structures(frames, potential.elements)
        if len(frames) < wanted:
            raise DataError(
                f"explore.labels: {wanted} are wanted and the files hold {len(frames)} structures; "
                "ask for fewer, or give more files."
            )
        say(f"{wanted} of {len(frames)} structures are drawn")
        order = np.random.default_rng(config.seed).permutation(len(frames))
        problem, replayed = inputs.to_learn(config, potential, config.tune.loss, frames, [], say)
        told = config.reference.identity()  # an engine that is missing says so here
        identity = inputs.identity_of(potential, (frames, replayed), told)
        return Ready(config, identity, problem, [frames[i] for i in order[:wanted]])

    def open(self, ready: Ready, out: Path, tools: Tools) -> "OneGoCourse":
        """Where it stands: finished, or at the labels that are in the store."""
        stamp.claim(out, ready.config, ready.identity)
        return OneGoCourse(ready, out, tools)

    def write(self, course: "OneGoCourse") -> dict[str, Any]:
        """Members, final.model, labels, and summary.json last."""
        assert course.members is not None
        out, judges = course.out, [frame.atoms for frame in course.frames]
        chosen = write_model(out, course.ready.problem, course.members, judges)
        write_frames(out / "labels.extxyz", course.frames)
        summary = {
            "labels": len(course.frames),
            "failed_calls": len(course.ready.drawn) - len(course.frames),
            "final_model": str(out / "final.model"),
            "final_model_is": chosen,
            "as_asked": True,
        }
        files.write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
        return summary

    def show(self, summary: dict[str, Any], screen: Console) -> None:
        screen.print(f"{summary['final_model']}: {summary['labels']} labels learnt", markup=False)

    def estimate(self, ready: Ready, out: Path, tools: Tools) -> dict[str, Any]:
        return {"labels_asked": len(ready.drawn)}

    def show_cost(self, cost: dict[str, Any], screen: Console) -> None:
        screen.print(f"{cost['labels_asked']} labels are asked for")


class OneGoCourse:
    """A `tunesmith.loop.recipe.Course`: a function of the configuration and of labels.

    A run that was killed finds its labels in the store and the fit in its checkpoints, and goes on
    to the same result.
    """

    def __init__(self, ready: Ready, out: Path, tools: Tools) -> None:
        self.ready, self.out, self.tools = ready, out, tools
        self.place = out / "checkpoint" / "fit"
        self.labels = Labels(out, ready.config.reference, tools.watch, self.place)
        self.members: Members | None = None
        self.frames: list[Frame] = []
        self.finished = seal.intact(out)

    def run(self) -> None:
        with self.tools.interrupts.at_once():
            for frame in self.ready.drawn:
                outcome = self.labels.get(frame.atoms, origin=frame.origin)
                if not isinstance(outcome, Failure):
                    self.frames.append(replace(frame, label=outcome))
                elif outcome.kind == "engine-missing":
                    raise MissingDependencyError(outcome.reason)
                else:
                    self.tools.screen.say(f"{frame.origin}: no label ({outcome.reason})")
            if len(self.frames) < 2:
                raise LabellingError("fewer than two structures have labels; draw others.")
            self._learn()

    def _learn(self) -> None:
        tune, problem = self.ready.config.tune, self.ready.problem
        aside = max(1, len(self.frames) // 5)  # they decide the best epoch
        valid, train = self.frames[:aside], self.frames[aside:]
        foundation = inputs.untuned(problem.potential)
        e0s = align(tune.e0, foundation, train, [], fresh=tune.subspace.fresh)
        problem = replace(problem, train=train, valid=valid, e0s=e0s)
        tune.sampler.check(problem)
        screen = self.tools.screen
        fit = tune.sampler.fit(problem, self.place, screen.busy, self.tools.executor)
        self.members, self.finished = members_of(problem, fit, tune.spread), True

    def end(self) -> End | None:
        return End("every label is learnt") if self.finished else None

    def is_of(self, summary: Mapping[str, Any]) -> bool:
        return "labels" in summary
