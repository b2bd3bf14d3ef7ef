"""What a fit by AdamW is told."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from tunesmith import units
from tunesmith.contracts import Sampler


class AdamWSettings(Sampler):
    """AdamW (Loshchilov and Hutter) with exponential moving average and best epoch by validation.

    The average's decay warms up as min(ema, (1 + t) / (10 + t)). Validation, the best epoch and
    the result all use the average.
    """

    kind: ClassVar[str] = "adamw"
    begins_at_members: ClassVar[bool] = True
    learning_rate: float = Field(1e-3, gt=0, description="step size")
    epochs: int = Field(200, ge=1, description="passes over the training set at most")
    patience: int = Field(50, ge=1, description="epochs without a better validation loss to stop")
    batch_size: int = Field(5, ge=1, description="structures per step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of the weights")
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: any")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of the two moments")
    amsgrad: bool = Field(False, description="divide by the largest second moment so far")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="course of the learning rate: constant or cosine (to zero)"
    )
    warmup_steps: int = Field(0, ge=0, description="steps of linear increase at the start")
    checkpoint_every: str = Field("30 s", description="wall time between checkpoints")

    def model_post_init(self, context: Any) -> None:
        units.parse(self.checkpoint_every, "wall time", field="checkpoint_every")
        if not all(0 <= b < 1 for b in self.betas):
            raise ValueError("betas must lie in [0, 1).")

    @property
    def rate_limit(self) -> tuple[str, float] | None:
        return "learning_rate", self.learning_rate

    @property
    def decay(self) -> float:
        return self.weight_decay

    def epochs_for(self, n: int) -> int | None:
        """Epochs of a fit to ``n`` structures."""
        return self.epochs

    def rate(self, step: int, total: int) -> float:
        """Learning rate of a step."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
        return rate
