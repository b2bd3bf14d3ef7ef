"""Which weights may move."""

from typing import Any, ClassVar

import torch

from tunesmith.core import Settings, Weights


class All(Settings):
    """Every weight of the network; scale, shift and E0s stay."""

    kind: ClassVar[str] = "all"

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """The model's own weights by name."""
        weights = model.weights()
        return {name: weights[name] for name in model.names.trainable()}

    def expand(self, weights: Weights, moved: Weights) -> Weights:
        """The moved weights in place of the model's own."""
        return {**weights, **moved}
