"""AdamW with a moving average of the weights: one fit, a posterior of one member."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.tune.adamw_settings import AdamWSettings

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from tunesmith.tune.problem import Fit, Problem, Report


class AdamW(AdamWSettings):
    """One fit, from the subspace's start."""

    def trial(self, n: int, *, one: bool = False) -> AdamW:
        return self.model_copy(update={"epochs": 1, "patience": 1})

    def fit(
        self,
        problem: Problem,
        place: Path | None = None,
        report: Report | None = None,
        executor: Executor | None = None,
    ) -> Fit:
        """Train from the subspace's start, or go on from the checkpoint in the folder ``place``.

        report takes a line of progress every few seconds; executor is not needed by one fit.
        Raises `TrainingError` when the loss is no longer finite, `CheckpointError` when the
        checkpoint is damaged or of another problem.
        """
        from tunesmith.tune.adamw_fit import STATE, AdamWFit

        return AdamWFit(self, problem, None if place is None else place / STATE).go(report)
