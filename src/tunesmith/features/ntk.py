"""Structures by how a network's energy answers to its weights: the neural tangent kernel.

φ(x) = ∇_θ E(x). With the species embedding as θ, the gradient of all structures of a batch costs
one backward pass (`Potential.embedding_gradient`). Of other weights it is taken structure by
structure, and is too long to keep: a random projection keeps its inner products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from tunesmith.core import Frame, Tensor, derived_seed
from tunesmith.data.checks import symbols
from tunesmith.errors import ConfigError, ModelError
from tunesmith.features.representation import (
    Describe,
    Network,
    Representation,
    numbers_of,
    refuse_others,
)
from tunesmith.potentials.weight_names import weights_named
from tunesmith.settings import one_or_more

Gradient = Callable[[list[Frame]], Tensor]
#: of a projection, where weights are named and nothing else is said
COLUMNS = 1024


class NTK(Representation):
    """Gradient of the energy with respect to weights, by default those of the species embedding:
    (elements × channels) columns, exactly (A.2 of the paper on pretrained representations)."""

    kind: ClassVar[str] = "ntk"
    needs_model: ClassVar[bool] = True

    weights: Annotated[tuple[str, ...] | None, BeforeValidator(one_or_more)] = Field(
        None,
        description="others than the species embedding: parts (readouts, products.1, …), weights, "
        "or patterns of them; one backward pass for every structure",
    )
    columns: int | None = Field(
        None,
        ge=1,
        description=f"of a random projection ({COLUMNS} where weights are named)",
    )
    seed: int | None = Field(None, ge=0, description="of the projection (0)")
    elements: Annotated[tuple[str, ...] | None, BeforeValidator(one_or_more)] = Field(
        None, description="only their rows of the species embedding; None: all of the model's"
    )

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("weights") is not None and values.get("columns") is None:
            values["columns"] = COLUMNS
        if values.get("columns") is not None and values.get("seed") is None:
            values["seed"] = 0
        return values

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.columns is None and self.seed is not None:
            raise ConfigError("seed: nothing is drawn here; give columns to project, or leave it.")
        if self.columns is not None and self.elements is not None:
            raise ConfigError("elements: has no effect on a projection; leave it or columns out.")
        numbers_of(self.elements or ())
        return self

    def describer(self, network: Network | None) -> Describe:
        assert network is not None
        gradient = (
            self._of_embedding(network) if self.weights is None else self._of_weights(network)
        )
        return lambda frames: gradient(frames).cpu().numpy()

    def _of_embedding(self, network: Network) -> Gradient:
        potential = network.potential
        if not potential.capabilities.embedding:
            raise ModelError(
                f"{potential.base.source}: models of {potential.base.package} have no species "
                "embedding, of which ntk is the gradient; use activation, or name weights."
            )
        chosen = numbers_of(self.elements or ()) or potential.elements
        if unknown := set(chosen) - set(potential.elements):
            raise ModelError(
                f"elements: {potential.base.source} does not know {symbols(unknown)}; leave it out."
            )
        rows = [potential.elements.index(z) for z in chosen]
        # how many columns W has shows in its gradient
        project = cache(self._projection)

        def gradient(frames: list[Frame]) -> Tensor:
            refuse_others(frames, chosen, self.kind)
            batch = potential.batch([potential.graph(f.atoms) for f in frames])
            found = potential.embedding_gradient(network.weights, batch)[:, rows].flatten(1)
            return found if self.columns is None else project(found.shape[1])(found)

        return gradient

    def _of_weights(self, network: Network) -> Gradient:
        import torch  # it takes a second, and settings are read without

        potential = network.potential
        names = weights_named(potential, self.weights or (), "weights")
        length = sum(network.weights[n].numel() for n in names)
        project = self._projection(length)

        def one(frame: Frame) -> Tensor:
            batch = potential.batch([potential.graph(frame.atoms)])
            own = {n: network.weights[n].detach().requires_grad_() for n in names}
            weights = {**network.weights, **own}
            out = potential.evaluate(weights, batch, forces=False, create_graph=True)
            parts = torch.autograd.grad(
                out.energy.sum(), list(own.values()), materialize_grads=True
            )
            # at once: gradients of a whole batch may not fit the memory
            return project(torch.cat([p.flatten() for p in parts])[None])

        return lambda frames: torch.cat([one(frame) for frame in frames])

    def _projection(self, length: int) -> Callable[[Tensor], Tensor]:
        assert self.columns is not None
        assert self.seed is not None
        return projection(length, self.columns, self.seed)


def projection(length: int, columns: int, seed: int) -> Callable[[Tensor], Tensor]:
    """A random map (B, length) → (B, columns) that keeps inner products on average.

    Every entry is added to one random column with a random sign (the count sketch of Charikar,
    Chen and Farach-Colton, 2002): of two vectors, the inner product of the images is that of the
    vectors, with variance (‖x‖² ‖y‖² + (x · y)² − 2 Σ xᵢ² yᵢ²) / columns, no more than that of a
    dense Gaussian matrix. It is kept as 5 bytes for every entry.
    """
    import torch

    rng = np.random.default_rng(derived_seed(seed, "projection"))
    column = torch.from_numpy(rng.integers(columns, size=length, dtype=np.int32))
    minus = torch.from_numpy(rng.integers(2, size=length, dtype=np.uint8).astype(bool))

    def project(vectors: Tensor) -> Tensor:
        to, turned = column.to(vectors.device), minus.to(vectors.device)
        signed = torch.where(turned, -vectors, vectors)
        return vectors.new_zeros(len(vectors), columns).index_add(1, to, signed)

    return project
