"""A committee: M fits by AdamW that differ in seeds, order or structures, a posterior of M."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunesmith.errors import ConfigError
from tunesmith.tune.adamw import AdamW

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from tunesmith.tune.problem import Fit, Problem, Report

Vary = Literal["seeds", "shuffles", "bootstraps", "bootstrap-splits"]


class Committee(AdamW):
    """M members by AdamW, each with its own best epoch on the same validation set.

    vary: seeds (all that is random: a random start, LoRA's first factor, the order of structures),
    shuffles (the order of structures alone), bootstraps (each member learns as many structures
    as there are, drawn with replacement, and has a seed of its own) or bootstrap-splits (the same,
    but each member first sets a ninth of the structures aside, on which it finds its best epoch).
    In a bootstrap about 37 % of the structures are missing, and on those a member's error is that
    of a prediction. Only bootstrap-splits leave the common validation set alone: errors on it are
    then those of a test (calibrated adversarial geometry optimisation, methods).

    steps: how long members learn by the number of structures there are to learn from, in optimiser
    steps, where sets grow: few structures learnt as long as many would be learnt by heart. A row
    holds from so many structures on. For water 50 000, 150 000 and 400 000 are published, by round
    (two, two, all later ones); with five structures more in the first two and twenty in the others
    we read them as [[1, 50000], [12, 150000], [52, 400000]]. All are made, whatever the validation
    says; its best epoch counts. The defaults of epochs and patience then mean nothing.
    """

    kind: ClassVar[str] = "committee"
    members: int = Field(8, ge=2, description="fits; calibrated error bars want about ten")
    vary: Vary = Field(
        "bootstraps",
        description="what tells members apart: seeds, shuffles, bootstraps or bootstrap-splits",
    )
    steps: tuple[tuple[int, int], ...] | None = Field(
        None,
        description="steps from so many structures on, as [[1, 2000], [50, 8000]], in place of "
        "epochs and patience; null: epochs",
    )

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        if self.steps is None:
            return
        for name in ("epochs", "patience"):  # a written-out configuration has their defaults
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ConfigError(f"{name}: steps say how long members learn; leave {name} out.")
        sizes = [size for size, _ in self.steps]
        none = any(steps < 1 for _, steps in self.steps)
        if not sizes or sizes[0] != 1 or sizes != sorted(set(sizes)) or none:
            raise ConfigError(
                "steps: rows of a number of structures, rising from 1, and of steps, as "
                "[[1, 2000], [50, 8000]]; correct them."
            )

    @property
    def count(self) -> int:
        return self.members

    @property
    def splits(self) -> bool:
        return self.vary == "bootstrap-splits"

    @property
    def judges_itself(self) -> bool:
        return self.vary in ("bootstraps", "bootstrap-splits")

    def trial(self, n: int, *, one: bool = False) -> AdamW:
        whole = self.single(n) if one else self.model_copy(update={"steps": None})
        return AdamW.trial(whole, n)

    def single(self, n: int) -> AdamW:
        """The settings of one member of a fit to ``n`` structures."""
        values = {name: getattr(self, name) for name in AdamW.model_fields}
        if self.steps is not None:
            epochs = self.epochs_for(n)
            values |= {"epochs": epochs, "patience": epochs}
        return AdamW(**values)

    def epochs_for(self, n: int) -> int | None:
        """Epochs of a fit to ``n`` structures, of which members may set some aside."""
        if self.steps is None:
            return self.epochs
        from tunesmith.tune.committee_fit import held_aside

        wanted = [steps for size, steps in self.steps if size <= max(n, 1)][-1]
        learnt = n - held_aside(n) if self.splits else n
        return math.ceil(wanted / math.ceil(max(learnt, 1) / self.batch_size))

    def fit(
        self,
        problem: Problem,
        place: Path | None = None,
        report: Report | None = None,
        executor: Executor | None = None,
    ) -> Fit:
        """All members, each with a checkpoint in a folder of its own below ``place``.

        executor: None fits them one after another here. details: best_epochs and epochs of the
        members; out_of_bag: of bootstraps and their splits, the indices into ``problem.train`` of
        the structures that each member never saw.

        Raises `TrainingError` when a member diverges or all would be the same fit,
        `CheckpointError` when a checkpoint is damaged or of another problem.
        """
        from tunesmith.tune import committee_fit

        self.check(problem)
        single = self.single(len(problem.train))
        return committee_fit.fit(single, problem, self.vary, self.members, place, report, executor)

    def check(self, problem: Problem) -> None:
        """Raise `TrainingError` where members can differ in nothing but rounding."""
        from tunesmith.tune import committee_fit

        committee_fit.check(problem, self.vary, self.members, self.batch_size)
