"""What tunesmith asks of a model package: the protocol every backend implements.

| call | gives | shape and unit |
|---|---|---|
| ``graph(atoms, skin)`` | neighbour list and types, once per structure | `Graph` |
| ``batch(graphs)`` | several graphs as one disconnected graph | `Batch` |
| ``evaluate(weights, batch)`` | energy without E0s, forces, stress | eV, eV/Å, eV/Å³ |
| ``evaluate_members(shared, stacked, batch)`` | the same of M sets of weights | (M, …) |
| ``features(weights, batch)`` | invariant scalars of every atom after every interaction | (A, d) |
| ``embedding_gradient(weights, batch)`` | dE/d(species embedding) of every structure | (B, Z, c) |
| ``weights()`` | every weight by name, a copy | |
| ``untaught(generator)`` | fresh random weights of the same architecture | |
| ``export(path, weights, e0s)`` | a plain model file of the package | |
| ``check_heads()`` | refuses where such a file cannot hold several heads | |
| ``native(path)`` | the package's own ASE calculator of such a file | |

The energy an evaluation returns is E − ΣE0: float32 resolves it however large the E0s are. Total
energies are formed outside in float64. Stress: ASE's sign, positive under tension; NaN for
structures without three periodic directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

if TYPE_CHECKING:
    import torch

    from tunesmith.core import Base, Tensor, Weights

#: how an exported file that keeps several heads calls the one that is not among the ``others``
MAIN_HEAD = "Default"
#: mace's word for the head of replayed structures: its tools drop it where none is named
REPLAY_HEAD = "pt_head"


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do; contract tests and tolerances are chosen by it.

    float64: computes in double precision when asked. stress: predicts it. needs_cell: cannot take
    a structure without a cell. embedding: every atom enters by its element's row of a matrix of
    weights, so that `Potential.embedding_gradient` has a meaning. native_float64: exported files
    and the package's own calculator compute in double precision. native_needs_cell: that calculator
    takes only structures with a cell, which `Potential.native` gives them.
    """

    float64: bool
    stress: bool
    needs_cell: bool
    embedding: bool
    native_float64: bool
    native_needs_cell: bool = False


@dataclass(frozen=True)
class Graph:
    """One structure with its neighbour list (n atoms, e directed edges), on the CPU.

    positions (n, 3) Å; species (n,) index into the model's elements; edges (2, e) sender and
    receiver; unit_shifts (e, 3) periodic images in cell vectors; cell (3, 3) Å; numbers (n,).
    reach: Å, up to which all edges stand in the list.
    """

    positions: Tensor
    species: Tensor
    edges: Tensor
    unit_shifts: Tensor
    cell: Tensor
    periodic: bool
    numbers: np.ndarray
    reach: float

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Batch:
    """B structures as one disconnected graph.

    padding (e,): 1 for edges that only fill up a regular layout, else 0. index (A,): structure of
    each atom. counts (B,): atoms per structure. periodic (B,).
    """

    positions: Tensor
    species: Tensor
    edges: Tensor
    unit_shifts: Tensor
    padding: Tensor
    cell: Tensor
    index: Tensor
    counts: Tensor
    periodic: Tensor

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Evaluation:
    """Energy without E0s (B,), forces (A, 3), stress (B, 3, 3), features (A, d); None = not asked.

    With ``create_graph`` every tensor can be differentiated again.
    """

    energy: Tensor
    forces: Tensor | None = None
    stress: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class Block:
    """One irrep's matrix inside a linear layer's flat weight: ``weight[start:start+r*c]``.

    shape: (inputs, outputs), over all channels of the irrep; irrep: its name ("0e", "1o", …).
    transposed: whether it is stored as (outputs, inputs), as torch's own layers do.
    """

    start: int
    shape: tuple[int, int]
    irrep: str
    transposed: bool = False


@dataclass(frozen=True)
class Linear:
    """A linear layer: the name of its weight, and its irrep blocks (one "0e" block if scalar)."""

    weight: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class WeightNames:
    """Names of weights by part: one tuple per layer for interactions and products.

    scale: fixed scale and shift of the energy, never trained unless asked by name.
    """

    embedding: tuple[str, ...]
    interactions: tuple[tuple[str, ...], ...]
    products: tuple[tuple[str, ...], ...]
    readouts: tuple[str, ...]
    scale: tuple[str, ...]

    def trainable(self) -> tuple[str, ...]:
        layers = zip(self.interactions, self.products, strict=True)
        middle = tuple(n for pair in layers for part in pair for n in part)
        return (*self.embedding, *middle, *self.readouts)


class Potential(Protocol):
    """A foundation model. Attributes are read-only."""

    base: Base
    capabilities: Capabilities
    elements: tuple[int, ...]
    cutoff: float
    e0s: dict[int, float]
    dtype: torch.dtype
    device: torch.device
    names: WeightNames
    linears: tuple[Linear, ...]

    def weights(self) -> Weights: ...

    def untaught(self, generator: torch.Generator) -> Weights:
        """Weights as the architecture starts from before any training; scale and shift are kept.

        generator: on the CPU, the only source of chance. Raises `ModelError` where it is not
        known how a part of the model starts.
        """
        ...

    def graph(self, atoms: Atoms, skin: float = 0.0) -> Graph:
        """Raises `DataError` for an element the model does not know.

        skin: Å beyond the cutoff, up to which edges may stand in the list and count for nothing,
        so that it serves for structures near this one. A backend may do without: see ``reach``.
        """
        ...

    def batch(self, graphs: list[Graph]) -> Batch: ...

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
        """What is asked for, in one pass; ``features`` are those of `features`.

        With ``create_graph`` differentiable in the weights, and in ``batch.positions`` and
        ``batch.cell`` where these require gradients.
        """
        ...

    def evaluate_members(
        self,
        shared: Weights,
        stacked: Weights,
        batch: Batch,
        *,
        each: bool = True,
        stress: bool = False,
        features: bool = False,
        create_graph: bool = False,
    ) -> Evaluation:
        """Energy, forces and what else is asked for, of M sets of weights.

        shared: weights that all members have in common. stacked: name → (M, …), the others, at
        least one. Energies (M, B) and features (M, A, d) are every member's; so are forces
        (M, A, 3) and stress (M, B, 3, 3), or, without ``each``, those of the mean energy: (A, 3)
        and (B, 3, 3). With ``create_graph`` differentiable in ``shared``, ``stacked`` and what
        `evaluate` is.
        `OneByOne` will do for any backend.
        """
        ...

    def features(self, weights: Weights, batch: Batch) -> Tensor:
        """Rotation-invariant features of every atom (A, d): what activations and noise heads read.

        The scalars after every interaction, layer by layer, as no readout has changed them: eq. 6
        of the paper on pretrained representations, before its mean over atoms.
        """
        ...

    def embedding_gradient(self, weights: Weights, batch: Batch) -> Tensor:
        """Gradient of every structure's energy with respect to the species-embedding weights.

        (B, Z, c), eV per unit of weight: structures, elements in the order of ``elements``,
        channels. The weights that give an atom its first features, by its element; wherever else
        the network knows elements, they are held. One backward pass for the whole batch. Raises
        `ModelError` where the model has no such weights.
        """
        ...

    def native(self, path: Path) -> Calculator:
        """The package's own ASE calculator of a file that `export` wrote, as precise as it can."""
        ...

    def export(
        self,
        path: Path,
        weights: Weights,
        e0s: dict[int, float],
        others: Mapping[str, tuple[Weights, dict[int, float]]] | None = None,
    ) -> None:
        """Write a model file of the backend's own package, in float64 where it can.

        others: heads that the file keeps beside this one, which is then `MAIN_HEAD`: name → full
        weights, which may differ in ``names.readouts`` and ``names.scale`` alone, and E0s. Raises
        `ModelError` for other differences, and where `check_heads` does.
        """
        ...

    def check_heads(self) -> None:
        """Raise `ModelError` where a file of this model cannot keep several heads.

        To be asked before a training whose second head is to be kept.
        """
        ...


def one_by_one(
    potential: Potential,
    shared: Weights,
    stacked: Weights,
    batch: Batch,
    *,
    each: bool = True,
    stress: bool = False,
    features: bool = False,
    create_graph: bool = False,
) -> Evaluation:
    """`Potential.evaluate_members` by one evaluation after the other."""
    options = {"stress": stress, "features": features, "create_graph": create_graph}
    outs = [potential.evaluate({**shared, **own}, batch, **options) for own in unstack(stacked)]

    def together(tensors: list[Tensor | None], mean: bool) -> Tensor | None:
        found = [t if create_graph else t.detach() for t in tensors if t is not None]
        if not found:
            return None
        import torch

        return torch.stack(found).mean(0) if mean else torch.stack(found)

    energy = together([o.energy for o in outs], mean=False)
    assert energy is not None
    return Evaluation(
        energy,
        together([o.forces for o in outs], mean=not each),
        together([o.stress for o in outs], mean=not each),
        together([o.features for o in outs], mean=False),
    )


class OneByOne:
    """What a backend that has no faster way inherits: `Potential.evaluate_members`."""

    def evaluate_members(
        self,
        shared: Weights,
        stacked: Weights,
        batch: Batch,
        *,
        each: bool = True,
        stress: bool = False,
        features: bool = False,
        create_graph: bool = False,
    ) -> Evaluation:
        """One member after the other."""
        options = {"stress": stress, "features": features, "create_graph": create_graph}
        return one_by_one(cast(Potential, self), shared, stacked, batch, each=each, **options)


def stack(members: list[Weights]) -> tuple[Weights, Weights]:
    """Weights that are the same tensors in every member, and the others (≥ 1) stacked (M, …)."""
    import torch

    first = members[0]
    same = [k for k, v in first.items() if all(m[k] is v for m in members)]
    if len(same) == len(first):
        same.pop()
    shared = {k: first[k] for k in first if k in same}
    return shared, {k: torch.stack([m[k] for m in members]) for k in first if k not in same}


def unstack(stacked: Weights) -> list[Weights]:
    """Every member's own weights, as views of the stacked ones (M, …)."""
    members = len(next(iter(stacked.values())))
    return [{k: v[i] for k, v in stacked.items()} for i in range(members)]


def unstack_evaluation(out: Evaluation) -> list[Evaluation]:
    """Every member's own, of what `Potential.evaluate_members` gives with ``each``."""
    parts = (out.energy, out.forces, out.stress, out.features)
    columns = [len(out.energy) * [None] if part is None else part.unbind() for part in parts]
    return [Evaluation(*row) for row in zip(*columns, strict=True)]
