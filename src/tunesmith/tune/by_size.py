"""AdamW as long as it takes: batch size, learning rate and epochs by the number of labels.

The published schedules of choosing from a pool with a pretrained model (appendix B): with few
labels about a thousand steps whatever their number, with many so many epochs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tunesmith.contracts import Sampler
from tunesmith.errors import ConfigError
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.committee import Committee

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from tunesmith.tune.problem import Fit, Problem, Report

#: of small sets (eq. 16): up to so many structures, batch size and learning rate
TIERS = ((20, 1, 1e-3), (100, 2, 5e-3), (math.inf, 4, 5e-3))
#: steps of a fit to a small set (eq. 17), and epochs it has at least
STEPS, LEAST = 1000, 10
#: of large sets: epochs, batch size and learning rate
LARGE = (50, 16, 1e-2)


class BySize(Sampler):
    """AdamW, once or as a committee, on the published schedule for as many labels as there are.

    small: batch size and learning rate (1, 1e-3) up to 20 structures, (2, 5e-3) up to 100 and
    (4, 5e-3) beyond; max(10, ⌈1000 · batch size / structures⌉) epochs. large: 50 epochs of batches
    of 16 at 1e-2. All epochs are done; the best by validation counts. max_rate: of the rates, which
    were chosen for one architecture and may be too fast for another.
    """

    kind: ClassVar[str] = "by-size"
    sets: Literal["small", "large"] = Field(
        "small", description="small: grown by a few labels at a time; large: by hundreds"
    )
    max_rate: float | None = Field(
        None, gt=0, description="largest learning rate; null: as published"
    )
    members: int = Field(1, ge=1, description="1: a single fit; more: a committee")
    vary: Literal["seeds", "shuffles", "bootstraps"] | None = Field(
        None, description="what tells members apart; null: shuffles, where there are several"
    )
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: any")
    checkpoint_every: str = Field("30 s", description="wall time between checkpoints")

    @model_validator(mode="after")
    def _check(self) -> BySize:
        if self.vary is not None and self.members == 1:
            raise ConfigError(
                "tune.sampler.vary: tells members apart, and there is one; give members too, as 3."
            )
        self.of(1)  # what AdamW refuses is refused here
        return self

    def of(self, n: int) -> AdamW | Committee:
        """The settings for ``n`` structures to learn from."""
        if self.sets == "large":
            epochs, batch, rate = LARGE
        else:
            batch, rate = next((b, r) for most, b, r in TIERS if n <= most)
            epochs = max(LEAST, math.ceil(STEPS * batch / n))
        values: dict[str, Any] = {
            "learning_rate": min(rate, self.max_rate or rate),
            "epochs": epochs,
            "patience": epochs,
            "batch_size": batch,
            "ema": self.ema,
            "clip": self.clip,
            "checkpoint_every": self.checkpoint_every,
        }
        if self.members == 1:
            return AdamW(**values)
        return Committee(**values, members=self.members, vary=self.vary or "shuffles")

    def trial(self, n: int, *, one: bool = False) -> AdamW:
        return self.of(n).trial(n, one=one)

    @property
    def count(self) -> int:
        return self.members

    @property
    def rate_limit(self) -> tuple[str, float] | None:
        """The lowest, as it follows from the number of structures."""
        return "max_rate", min(TIERS[0][2], self.max_rate or math.inf)

    @property
    def judges_itself(self) -> bool:
        return self.members > 1 and self.vary == "bootstraps"

    def epochs_for(self, n: int) -> int | None:
        return self.of(n).epochs

    def check(self, problem: Problem) -> None:
        """Raise `TrainingError` where members of a committee would all be the same."""
        self.of(len(problem.train)).check(problem)

    def fit(
        self,
        problem: Problem,
        place: Path | None = None,
        report: Report | None = None,
        executor: Executor | None = None,
    ) -> Fit:
        """As `AdamW.fit` or `Committee.fit`, on the schedule for ``problem.train``."""
        return self.of(len(problem.train)).fit(problem, place, report, executor)
