"""Labelled frames as the trainer sees them: cached graphs, and targets without E0s."""

from dataclasses import dataclass

import numpy as np
import torch

from tunesmith.core import E0s, Frame, Tensor
from tunesmith.potentials.potential import Batch, Graph, Potential


@dataclass(frozen=True)
class Example:
    """One labelled structure of n atoms.

    energy: E − ΣE0 in eV, subtracted in float64, NaN where unlabelled. forces (n, 3) eV/Å. stress
    (3, 3) eV/Å³ or None.
    """

    graph: Graph
    energy: float
    forces: Tensor
    stress: Tensor | None
    weight: float


@dataclass(frozen=True)
class Targets:
    """energy (B,), forces (A, 3), stress (B, 3, 3), weight (B,); NaN where unlabelled."""

    energy: Tensor
    forces: Tensor
    stress: Tensor
    weight: Tensor


def examples(potential: Potential, frames: list[Frame], e0s: E0s) -> list[Example]:
    """Graphs (once per structure) and targets of labelled frames."""
    made = []
    for frame in frames:
        assert frame.label is not None, frame.origin
        label = frame.label
        graph = potential.graph(frame.atoms)
        stress = label.stress if graph.periodic else None
        made.append(
            Example(
                graph=graph,
                energy=label.energy - e0s.total(graph.numbers),
                forces=torch.as_tensor(np.asarray(label.forces), dtype=potential.dtype),
                stress=None if stress is None else torch.as_tensor(stress, dtype=potential.dtype),
                weight=frame.weight,
            )
        )
    return made


def collate(potential: Potential, chosen: list[Example]) -> tuple[Batch, Targets]:
    """Several examples as one batch on the potential's device."""
    nothing = torch.full((3, 3), torch.nan, dtype=potential.dtype)
    dtype, device = potential.dtype, potential.device
    targets = Targets(
        energy=torch.tensor([e.energy for e in chosen], dtype=dtype, device=device),
        forces=torch.cat([e.forces for e in chosen]).to(potential.device),
        stress=torch.stack([nothing if e.stress is None else e.stress for e in chosen]).to(device),
        weight=torch.tensor([e.weight for e in chosen], dtype=dtype, device=device),
    )
    return potential.batch([e.graph for e in chosen]), targets
