"""What holds the weights near the foundation model."""

from typing import ClassVar

from tunesmith.core import Settings, Tensor, Weights


class NoAnchor(Settings):
    """Nothing: the naive fine-tuning of the literature."""

    kind: ClassVar[str] = "none"

    def penalty(self, moved: Weights) -> Tensor | None:
        """What is added to the loss of a step; None for nothing."""
        return None
