"""Which weights may move: all of them, or whole weights by their place in the network.

The fine-tuning strategies paper freezes in two ways (2.3): everything but the readouts, and the
embedding with the first interaction block. mace-torch's ``--freeze`` means something else: 1–4
freezes the embedding alone, 5 also *all* interactions, 6 also all products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from tunesmith.contracts import SubspaceRule
from tunesmith.core import Tensor, Weights
from tunesmith.potentials.weight_names import weights_named
from tunesmith.settings import one_or_more

if TYPE_CHECKING:
    import torch


def weight_of(coordinate: str) -> str:
    """The weight that a coordinate moves: its name, up to a bar."""
    return coordinate.partition("|")[0]


def rms(values: list[Tensor]) -> Tensor:
    """Root mean square of all numbers in some tensors, a scalar in float64."""
    import torch

    return torch.cat([v.reshape(-1) for v in values]).double().square().mean().sqrt()


class _Whole(SubspaceRule):
    """Coordinates that are weights of the network themselves; the others stay."""

    def selected(self, model: Any) -> tuple[str, ...]:
        """Names of the weights that move."""
        raise NotImplementedError

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """The model's own weights by name."""
        weights = model.weights()
        return {name: weights[name] for name in self.selected(model)}

    def expand(self, weights: Weights, moved: Weights) -> Weights:
        """The moved weights in place of the model's own."""
        return {**weights, **moved}

    def unit(self, model: Any, start: Weights) -> Weights:
        """One for all: the rms of the model's own weights that move."""
        own = model.weights()
        return dict.fromkeys(start, rms([own[name] for name in start]))


class All(_Whole):
    """Every weight of the network; scale, shift and E0s stay."""

    kind: ClassVar[str] = "all"
    initial: Literal["pretrained", "random"] = Field(
        "pretrained", description="weights to start from; random: fresh ones, nothing is reused"
    )

    @property
    def fresh(self) -> bool:
        return self.initial == "random"

    def selected(self, model: Any) -> tuple[str, ...]:
        found: tuple[str, ...] = model.names.trainable()
        return found

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """The model's own weights by name, or fresh ones of its architecture.

        Raises `ModelError` where it is not known how a part of the model starts.
        """
        weights = model.weights() if self.initial == "pretrained" else model.untaught(generator)
        return {name: weights[name] for name in self.selected(model)}


class FreezeFirst(_Whole):
    """All but the embedding and the first interaction block (fine-tuning strategies, 2.3).

    The first layer's product moves, as the paper counts products apart from message passing; to
    freeze it as well, name the `Blocks` that move.
    """

    kind: ClassVar[str] = "freeze-first"

    def selected(self, model: Any) -> tuple[str, ...]:
        frozen = {*model.names.embedding, *model.names.interactions[0]}
        return tuple(n for n in model.names.trainable() if n not in frozen)


class FreezeReadout(_Whole):
    """Only the readouts move; all that describes atoms and their surroundings stays (2.3)."""

    kind: ClassVar[str] = "freeze-readout"

    @property
    def only_readouts(self) -> bool:
        return True

    def selected(self, model: Any) -> tuple[str, ...]:
        found: tuple[str, ...] = model.names.readouts
        return found


class Blocks(_Whole):
    """Named parts of the network move, the others stay.

    Scale and shift of the energy move only where they are named.
    """

    kind: ClassVar[str] = "blocks"
    names: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        min_length=1,
        description="parts (embedding, interactions, products.1, readouts, …), weights, "
        "beginnings of weights up to a dot, or patterns of weights with * and ?",
    )

    @property
    def only_readouts(self) -> bool:
        return all(name.partition(".")[0] == "readouts" for name in self.names)

    def selected(self, model: Any) -> tuple[str, ...]:
        """Names of the weights that move. Raises `ConfigError` for a name that fits none."""
        return weights_named(model, self.names, "tune.subspace.names")
