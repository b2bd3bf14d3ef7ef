"""Which weights may move."""

from typing import Any, ClassVar

import torch

from tunesmith.core import Settings, Weights


def weight_of(coordinate: str) -> str:
    """The weight that a coordinate moves: its name, up to a bar."""
    return coordinate.partition("|")[0]


class All(Settings):
    """Every weight of the network; scale, shift and E0s stay."""

    kind: ClassVar[str] = "all"
    linear: ClassVar[bool] = True

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """The model's own weights by name."""
        weights = model.weights()
        return {name: weights[name] for name in model.names.trainable()}

    def moves(self, name: str) -> bool:
        """All of them."""
        return True

    def expand(self, weights: Weights, moved: Weights) -> Weights:
        """The moved weights in place of the model's own."""
        return {**weights, **moved}

    def unit(self, model: Any, start: Weights) -> Weights:
        """One for all: the rms of the model's own weights that move."""
        own = model.weights()
        flat = torch.cat([own[name].reshape(-1) for name in start])
        rms = flat.double().square().mean().sqrt()
        return dict.fromkeys(start, rms)
