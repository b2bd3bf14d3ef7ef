"""Errors of a batch, and what losses make of them."""

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.potential import Batch, Evaluation
from tunesmith.tune.examples import Targets


def huber(size: Tensor, delta: float | Tensor) -> Tensor:
    """Huber's function of non-negative sizes, any shape and unit: quadratic to ``delta``, linear
    beyond, in the unit squared."""
    return torch.where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta))


def norm(vectors: Tensor) -> Tensor:
    """(…,) lengths of vectors (…, k), with a zero gradient, not NaN, at zero."""
    squared = vectors.square().sum(-1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def energy(out: Evaluation, batch: Batch, targets: Targets) -> Tensor:
    """(B,) errors of the energy per atom, eV; zero where there is no label (NaN)."""
    labelled = ~targets.energy.isnan()
    return torch.where(labelled, out.energy - targets.energy, 0.0) / batch.counts


def mean_over_atoms(values: Tensor, batch: Batch) -> Tensor:
    """(B,) means over each structure's atoms of values (A,)."""
    total = torch.zeros(len(batch), dtype=values.dtype, device=values.device)
    return total.index_add(0, batch.index, values) / batch.counts


def stress(predicted: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """(B, 3, 3) errors of the stress, eV/Å³, zero where there is no label; and (B,) where one is.

    predicted: (B, 3, 3).
    """
    labelled = ~targets.stress.isnan().any(-1).any(-1)
    return torch.where(labelled[:, None, None], predicted - targets.stress, 0.0), labelled
