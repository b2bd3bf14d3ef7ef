"""The network as tunesmith asks for it: `tunesmith.potentials.potential.Potential`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ase import Atoms

from tinyparts import eam_network
from tunesmith.core import Base, Tensor, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials import graphs
from tunesmith.potentials.entries import Compute
from tunesmith.potentials.potential import (
    Batch,
    Block,
    Capabilities,
    Evaluation,
    Graph,
    Linear,
    OneByOne,
    WeightNames,
)
from tunesmith.potentials.saving import save


def untrained() -> tuple[dict[str, Any], str]:
    """H C N O with random weights, always the same; and their sha256."""
    weights = eam_network.drawn(4, torch.Generator().manual_seed(0))
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights.values()))
    elements = [1, 6, 7, 8]
    held = eam_network.content(elements, 4.0, dict.fromkeys(elements, 0.0), weights)
    return held, digest.hexdigest()


class EAMPotential(OneByOne):
    """A `Potential`; members are computed one by one (`OneByOne`)."""

    capabilities = Capabilities(
        float64=True, stress=True, needs_cell=False, embedding=True, native_float64=True
    )
    names = WeightNames(
        embedding=("embedding",),
        interactions=(("radial",),),
        products=(("mix",),),
        readouts=("readout",),
        scale=("scale",),
    )
    #: layers that LoRA adapts, as matrices of scalars
    linears: tuple[Linear, ...] = (
        Linear("mix", (Block(0, (eam_network.CHANNELS, eam_network.CHANNELS), "0e"),)),
    )

    def __init__(self, held: dict[str, Any], base: Base, compute: Compute) -> None:
        self.base, self.dtype, self.device = base, compute.dtype, compute.device
        self.elements = tuple(held["elements"])
        self.cutoff: float = held["cutoff"]
        self.e0s: dict[int, float] = held["e0s"]
        self._weights = {k: w.to(self.device, self.dtype) for k, w in held["weights"].items()}

    def weights(self) -> Weights:
        return {name: weight.clone() for name, weight in self._weights.items()}

    def untaught(self, generator: torch.Generator) -> Weights:
        fresh = eam_network.drawn(len(self.elements), generator)
        return {k: w.to(self.device, self.dtype) for k, w in fresh.items()} | {
            "scale": self._weights["scale"].clone()
        }

    def graph(self, atoms: Atoms, skin: float = 0.0) -> Graph:
        return graphs.graph_of(
            atoms,
            elements=self.elements,
            source=self.base.source,
            reach=self.cutoff + skin,
            dtype=self.dtype,
        )

    def batch(self, graphs_: list[Graph]) -> Batch:
        return graphs.batch_of(graphs_, self.device, self.dtype)

    def _energies(
        self, weights: Weights, batch: Batch, rows: Tensor, positions: Tensor, strain: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B,), and features; rows: (A, c), the atoms' embeddings."""
        places, images = graphs.placed(batch, positions, strain)
        sender, receiver = batch.edges
        lines = places[receiver] + images - places[sender]
        atomic, features = eam_network.atomic(weights, rows, batch.edges, lines, self.cutoff)
        return atomic.new_zeros(len(batch)).index_add(0, batch.index, atomic), features

    def evaluate(
        self,
        weights: Weights,
        batch: Batch,
        *,
        forces: bool = True,
        stress: bool = False,
        features: bool = False,
        create_graph: bool = False,
    ) -> Evaluation:
        rows = weights["embedding"][batch.species]

        def energies(positions: Tensor, strain: Tensor | None) -> tuple[Tensor, Tensor | None]:
            energy, described = self._energies(weights, batch, rows, positions, strain)
            return energy, described if features else None

        return graphs.evaluated(
            energies, batch, forces=forces, stress=stress, create_graph=create_graph
        )

    def features(self, weights: Weights, batch: Batch) -> Tensor:
        rows = weights["embedding"][batch.species]
        return self._energies(weights, batch, rows, batch.positions, None)[1].detach()

    def embedding_gradient(self, weights: Weights, batch: Batch) -> Tensor:
        # a table of its own for every structure
        table = weights["embedding"].detach().repeat(len(batch), 1, 1).requires_grad_()
        rows = table[batch.index, batch.species]
        energy, _ = self._energies(weights, batch, rows, batch.positions, None)
        (gradient,) = torch.autograd.grad(energy.sum(), table)
        return gradient

    def export(
        self,
        path: Path,
        weights: Weights,
        e0s: dict[int, float],
        others: Mapping[str, tuple[Weights, dict[int, float]]] | None = None,
    ) -> None:
        if others:
            self.check_heads()
        save(eam_network.content(list(self.elements), self.cutoff, e0s, weights), path)

    def check_heads(self) -> None:
        raise ModelError("a file of tinyparts has one head; set tune.anchor.keep_head to false.")

    def native(self, path: Path) -> eam_network.EAMCalculator:
        return eam_network.EAMCalculator(path)
