"""Low-rank adapters of linear layers (LoRA), for any backend and any sampler.

A linear layer mixes channels irrep by irrep, never across irreps. To the matrix W of one irrep
(inputs × outputs; fine-tuning strategies, eq. 1 and 2, there transposed) an adapter adds

    W + s·A·B,    A (inputs × r),  B (r × outputs),

which is a linear layer again: equivariant, and of the same cost when merged. `LoRA.expand` always
merges; nothing else of the model, its export or its evaluation knows of adapters. Tensor products
and contractions are not linear layers and stay.

Against mace.modules.lora (0.3.16), which has the same matrices: there s = α/r multiplies the
layers' outputs, where e3nn divides by √r once more, so that s is α/r^1.5 in equivariant layers
and α/r in radial ones. Here it is α/r everywhere. The rank there stays r where a layer has fewer
channels, which adds coordinates and no functions; here it is cut to what the layer can use.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tunesmith.contracts import SubspaceRule
from tunesmith.core import Tensor, Weights
from tunesmith.errors import ConfigError
from tunesmith.tune.subspace import rms

if TYPE_CHECKING:
    import torch

_INIT_STD = 1e-3


class LoRA(SubspaceRule):
    """Adapters on every scalar and equivariant linear layer; nothing else moves.

    factors: "both": A ~ N(0, init_std²), B = 0, s = α/r. "outer", for posteriors: A has random
    orthonormal columns and stays, B = 0, s = α. The weights are then affine in B, and at α = 1
    B ↦ A·B keeps lengths: a Gaussian prior on B is the prior on the weights, restricted to them.
    The rank of a layer is at most its number of inputs and, with both factors, of outputs.
    """

    kind: ClassVar[str] = "lora"
    rank: int = Field(4, ge=1, description="rank of the change of every matrix")
    alpha: float = Field(1.0, gt=0, description="scale of the adapters: they add alpha/rank·A·B")
    init_std: float = Field(
        _INIT_STD, gt=0, description="standard deviation of A at the start, with both factors"
    )
    factors: Literal["both", "outer"] = Field(
        "both", description="what moves: both, A and B; outer, B alone (adds alpha·A·B)"
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> LoRA:
        if self.factors == "outer" and self.init_std != _INIT_STD:
            raise ValueError(
                "init_std is not used with factors=outer, where A is orthonormal; leave it out."
            )
        return self

    @property
    def linear(self) -> bool:
        """Whether full weights are an affine function of what moves."""
        return self.factors == "outer"

    @property
    def adapts(self) -> bool:
        return True

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """A and B of every irrep block of every linear layer: "<weight>|<start>|A", "…|B".

        A block that is stored transposed has a T behind its start. Raises `ConfigError` for a
        model without linear layers, or whose layers all have fewer channels than the rank.
        """
        blocks = list(_blocks(model))
        most = max((self._largest(block) for _, _, block in blocks), default=0)
        if self.rank > most:
            raise ConfigError(
                f"tune.subspace.rank: no linear layer of {model.base.source} has a rank over "
                f"{most}; choose a smaller rank, or another subspace."
            )
        weights = model.weights()
        found: Weights = {}
        for weight, place, block in blocks:
            rank = min(self.rank, self._largest(block))
            inputs, outputs = block.shape
            like = weights[weight]
            found[f"{weight}|{place}|A"] = self._first(inputs, rank, generator).to(like)
            found[f"{weight}|{place}|B"] = like.new_zeros(rank, outputs)
        return found

    def _largest(self, block: Any) -> int:
        inputs, outputs = block.shape
        return int(inputs if self.factors == "outer" else min(inputs, outputs))

    def _first(self, inputs: int, rank: int, generator: torch.Generator) -> Tensor:
        import torch

        # in float64 on the CPU: the same start in every precision and on every device
        drawn = torch.randn(inputs, rank, generator=generator, dtype=torch.float64)
        if self.factors == "both":
            return self.init_std * drawn
        q, r = torch.linalg.qr(drawn)
        return q * r.diagonal().sign()  # uniform over directions

    def moves(self, name: str) -> bool:
        """Whether a factor may move."""
        return self.factors == "both" or name.endswith("|B")

    def expand(self, weights: Weights, moved: Weights) -> Weights:
        """The model's weights with all adapters merged."""
        merged = {
            name: self._merge(weights[name], [(at, t, moved[a], moved[b]) for at, t, a, b in own])
            for name, own in _adapters(tuple(moved))
        }
        return {**weights, **merged}

    def _merge(self, weight: Tensor, adapters: list[tuple[int, bool, Tensor, Tensor]]) -> Tensor:
        """One weight plus its adapters (start, transposed, A, B), in the order of the starts."""
        import torch

        flat, parts, end = weight.reshape(-1), [], 0
        for start, transposed, a, b in adapters:
            left, right = (b.T, a.T) if transposed else (a, b)
            shape = (left.shape[0], right.shape[1])
            stop = start + shape[0] * shape[1]
            scale = self.alpha if self.factors == "outer" else self.alpha / a.shape[1]
            block = torch.addmm(flat[start:stop].view(shape), left, right, alpha=scale)
            parts += [flat[end:start], block.view(-1)] if start > end else [block.view(-1)]
            end = stop
        if end < len(flat):
            parts.append(flat[end:])
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(weight.shape)

    def unit(self, model: Any, start: Weights) -> Weights:
        """Of both factors: the rms of the pretrained matrix that they change."""
        weights = model.weights()
        found: Weights = {}
        for weight, place, block in _blocks(model):
            size = block.shape[0] * block.shape[1]
            own = rms([weights[weight].reshape(-1)[block.start : block.start + size]])
            found |= {f"{weight}|{place}|{factor}": own for factor in "AB"}
        return {name: found[name] for name in start}


def _blocks(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Weight, place inside it as written in coordinates, and block, of all linear layers."""
    for linear in model.linears:
        for block in linear.blocks:
            yield linear.weight, f"{block.start}{'T' if block.transposed else ''}", block


@lru_cache
def _adapters(
    names: tuple[str, ...],
) -> tuple[tuple[str, tuple[tuple[int, bool, str, str], ...]], ...]:
    """By weight: start, whether transposed, and the names of A and B, of every adapter."""
    found: dict[str, list[tuple[int, bool, str, str]]] = {}
    for name in names:
        weight, place, factor = name.split("|")
        if factor == "A":
            at = (int(place.removesuffix("T")), place.endswith("T"))
            found.setdefault(weight, []).append((*at, name, f"{weight}|{place}|B"))
    return tuple((weight, tuple(sorted(own))) for weight, own in found.items())
