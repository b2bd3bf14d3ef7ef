"""What tunesmith asks of a model package: the protocol every backend implements.

| call | gives | shape and unit |
|---|---|---|
| ``graph(atoms)`` | neighbour list and types, once per structure | `Graph` |
| ``batch(graphs)`` | several graphs as one disconnected graph | `Batch` |
| ``evaluate(weights, batch)`` | energy without E0s, forces, stress | eV, eV/Å, eV/Å³ |
| ``features(weights, batch)`` | rotation-invariant features of every atom | (A, d) |
| ``weights()`` | every weight by name, a copy | |
| ``export(path, weights, e0s)`` | a plain model file of the package | |
| ``native(path)`` | the package's own ASE calculator of such a file | |

The energy an evaluation returns is E − ΣE0: float32 resolves it however large the E0s are. Total
energies are formed outside in float64. Stress: ASE's sign, positive under tension; NaN for
structures without three periodic directions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from tunesmith.core import Base, Tensor, Weights


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do; contract tests and tolerances are chosen by it.

    float64: computes in double precision when asked. stress: predicts it. needs_cell: cannot take
    a structure without a cell. vmap: ``evaluate`` works under `torch.func.vmap` over weights.
    """

    float64: bool
    stress: bool
    needs_cell: bool
    vmap: bool


@dataclass(frozen=True)
class Graph:
    """One structure with its neighbour list (n atoms, e directed edges), on the CPU.

    positions (n, 3) Å; species (n,) index into the model's elements; edges (2, e) sender and
    receiver; unit_shifts (e, 3) periodic images in cell vectors; cell (3, 3) Å; numbers (n,).
    """

    positions: Tensor
    species: Tensor
    edges: Tensor
    unit_shifts: Tensor
    cell: Tensor
    periodic: bool
    numbers: np.ndarray

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

    shape: (inputs, outputs); irrep: its name ("0e", "1o", …).
    """

    start: int
    shape: tuple[int, int]
    irrep: str


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

    def graph(self, atoms: Atoms) -> Graph:
        """Raises `DataError` for an element the model does not know."""
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
        """What is asked for, in one pass; ``features`` are those of `features`."""
        ...

    def features(self, weights: Weights, batch: Batch) -> Tensor: ...

    def native(self, path: Path) -> Calculator:
        """The package's own ASE calculator of a file that `export` wrote, as precise as it can."""
        ...

    def export(self, path: Path, weights: Weights, e0s: dict[int, float]) -> None:
        """Write a model file of the backend's own package, in float64 where it can."""
        ...
