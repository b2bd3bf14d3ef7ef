"""One long chain on a fixed data set: M samples of the posterior, a cycle of the step size apart.

The on-the-fly paper's way where all labels are there from the start (5.1, appendix A): the step
size first decays to a converged sample, then falls and rises in cycles, whose ends are samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tunesmith.tune import annealing
from tunesmith.tune.plans import Cycles, Dynamics

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from tunesmith.tune.problem import Fit, Problem, Report


class Cyclical(Dynamics):
    """Samples of one long chain, the step size in cycles (B.5.1).

    The paper's chain, for GPUs, converges in 10⁶ steps from γ = 1e-2 to 1e-5 (fine-tuned: from
    3e-3) and then has cycles of 50 000 steps from γ = 1e-3, with 15 to 30 structures per step.
    The mass stays as it is after nine tenths of the convergence phase.
    """

    kind: ClassVar[str] = "cyclical"
    members: int = Field(8, ge=2, description="cycles, and samples")
    converge: int = Field(4000, ge=20, description="steps of the convergence phase")
    cycle: int = Field(1000, ge=20, description="steps of a cycle; 50 000 in the paper")
    learning_rate: float = Field(2e-3, gt=0, description="γ at the start of the convergence phase")
    last_rate: float = Field(1e-5, gt=0, description="γ at its end")
    cycle_rate: float = Field(1e-3, gt=0, description="γ at the start of every cycle")
    batch_size: int = Field(5, ge=1, description="structures per step; 15 to 30 in the paper")
    beta: float = Field(annealing.BETA, gt=0, lt=1, description="decay of the mass")

    @property
    def count(self) -> int:
        return self.members

    def plan(self) -> Cycles:
        """Every step of the chain."""
        return Cycles(
            self.converge,
            self.cycle,
            self.members,
            self.learning_rate,
            self.last_rate,
            self.cycle_rate,
            self.beta,
        )

    def fit(
        self,
        problem: Problem,
        place: Path | None = None,
        report: Report | None = None,
        executor: Executor | None = None,
    ) -> Fit:
        """Sample the posterior of all training labels, or go on from the checkpoint in ``place``.

        report takes a line of progress every few seconds. One chain uses one worker of an
        executor. Raises `ConfigError` where the loss is no likelihood, `TrainingError` when the
        chain diverges, `CheckpointError` when the checkpoint is damaged or of another problem.
        """
        from tunesmith.tune import fixed
        from tunesmith.tune.density import begun, task_of

        start = begun(problem, 1, self.kind)
        task = task_of(self, start, problem, (0,), self.plan())
        return fixed.sampled([task], place, report, executor)
