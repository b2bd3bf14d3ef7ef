"""SGHMC as a sampler: M chains around the pretrained weights, one posterior of M members.

All chains start at the pretrained weights and differ by their seed alone. On the fly (`update`)
each goes on after every label from where it stands; on a fixed data set (`fit`) each makes one
such update on all labels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tunesmith.errors import ConfigError
from tunesmith.tune.plans import Dynamics, Plan, Update

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from tunesmith.core import Members
    from tunesmith.tune.density import ChainTask
    from tunesmith.tune.problem import Fit, Problem, Report


class SGHMC(Dynamics):
    """Samples of the posterior by stochastic-gradient Hamiltonian Monte Carlo.

    The paper's schedule, for a workstation with GPUs, is 8 members and 2000 steps per label.
    """

    kind: ClassVar[str] = "sghmc"
    goes_on: ClassVar[bool] = True
    members: int = Field(
        4, ge=1, description="chains; 8 in the paper; 1 only with tune.spread: ntk"
    )
    steps: int = Field(
        2000, ge=20, description="steps of each chain: after a label, or on a fixed data set in all"
    )
    first_steps: int | None = Field(
        None, ge=20, description="steps after the very first label; null: as after any other"
    )
    learning_rate: float = Field(1e-3, gt=0, description="γ_0, from which the step size falls")
    beta: float | None = Field(
        None, gt=0, lt=1, description="decay of the mass; null: 1 − 2/steps (0.999 for 2000)"
    )
    together: int = Field(
        2, ge=1, description="chains computed in one pass by one process; part of the last bits"
    )

    @property
    def count(self) -> int:
        return self.members

    def start(self, problem: Problem) -> Members:
        """M copies of the pretrained weights, each with a noise head of its own.

        Raises `ConfigError` where the problem's loss is no likelihood.
        """
        from tunesmith.tune.density import begun

        return begun(problem, self.members, self.kind)

    def update(
        self,
        members: Members,
        problem: Problem,
        *,
        number: int,
        executor: Executor | None = None,
        longer: float = 1.0,
    ) -> Members:
        """The members after more sampling on all labels, each going on from where it stands.

        problem: its frames to learn from in the order of their labelling, the newest last.
        number: how many updates there were before; with the seed it decides every random number.
        executor: None runs the chains one after another here. longer: multiplies the steps, and
        σ_TL by its square root: the answer to error bars that stay too small.

        Raises `TrainingError` when a chain diverges.
        """
        import torch

        from tunesmith.tune import walk

        steps = self.first_steps if number == 0 and self.first_steps else self.steps
        if longer != 1:
            problem = replace(problem, anchor=problem.anchor.wider(longer**0.5))
        tasks = self._tasks(members, problem, self.plan(round(steps * longer)), number)
        run = map if executor is None else executor.map
        done = list(run(walk.ends, tasks))
        moved, replay, noise = (
            {name: torch.cat([d[i][name] for d in done]) for name in done[0][i]} for i in range(3)
        )
        scale = problem.loss.scale
        return replace(members, moved=moved, replay=replay, noise=noise, noise_scale=scale)

    def fit(
        self,
        problem: Problem,
        place: Path | None = None,
        report: Report | None = None,
        executor: Executor | None = None,
    ) -> Fit:
        """Sample the posterior of all training labels, or go on from the checkpoints in ``place``.

        Every chain makes one update of ``steps`` steps; no structure is the newest, so minibatches
        draw all alike. report takes a line of progress every few seconds; an executor takes
        ``together`` chains as one task.

        Raises `ConfigError` where the loss is no likelihood or `first_steps` is given,
        `TrainingError` when a chain diverges, `CheckpointError` when a checkpoint is damaged or of
        another problem.
        """
        from tunesmith.tune import fixed

        self.require_fixed()
        start, plan = self.start(problem), self.plan(self.steps, newest=False)
        return fixed.sampled(self._tasks(start, problem, plan, 0), place, report, executor)

    def require_fixed(self) -> None:
        """Raise `ConfigError` for settings that mean nothing on a fixed data set."""
        if self.first_steps is not None:
            raise ConfigError(
                "tune.sampler.first_steps: on a fixed data set all labels are learnt at once, in "
                "tune.sampler.steps; leave first_steps out."
            )

    def plan(self, steps: int, *, newest: bool = True) -> Update:
        """So many steps; newest: with minibatches that favour the last structure."""
        return Update(steps, self.learning_rate, self.beta or 1 - 2 / steps, newest)

    def _tasks(
        self, members: Members, problem: Problem, plan: Plan, number: int
    ) -> list[ChainTask]:
        from tunesmith.tune.density import task_of

        names = range(len(members))
        groups = [tuple(names[i : i + self.together]) for i in names[:: self.together]]
        return [task_of(self, members, problem, group, plan, number) for group in groups]
