"""The noise head: how large the forces' noise is at each atom, from its own surroundings.

σ_i = scale · exp(MLP(features of atom i)), features being the rotation-invariant scalars of every
interaction layer (on-the-fly paper, B.2): the noise of an atom is learnt with the weights, and
sampled with them.
"""

import math
from itertools import pairwise

import torch

from tunesmith.core import Tensor, Weights
from tunesmith.errors import ModelError


def start(width: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Weights:
    """Weights of an untrained head on (A, width) features: a constant noise of the base scale.

    Layers width → width/4 (at least 32) → 16 → 1. The paper starts every weight at zero; but then
    all hidden units are alike and only the last bias ever gets a gradient (SiLU(0) = 0) until
    noise breaks the tie. Only the last layer is zero here: the same function to begin with.
    """
    sizes = (width, max(32, width // 4), 16, 1)
    weights = {}
    for i, (before, after) in enumerate(pairwise(sizes)):
        scale = 0.0 if after == 1 else 1 / math.sqrt(before)
        drawn = torch.randn(after, before, generator=generator, dtype=torch.float64)
        weights[f"{i}.weight"] = (scale * drawn).to(dtype)
        weights[f"{i}.bias"] = torch.zeros(after, dtype=dtype)
    return weights


def log_ratio(noise: Weights, features: Tensor) -> Tensor:
    """ln(σ_i / scale) of each atom (A,) from features (A, width).

    Raises `ModelError` for a head of other features, as of a run of before SevenNet's were those of
    all its layers.
    """
    if (width := noise["0.weight"].shape[1]) != features.shape[1]:
        raise ModelError(
            f"the noise heads were sampled on {width} features of an atom, but the model has "
            f"{features.shape[1]}: the run is of another version of tunesmith; tune again."
        )
    x = features
    layers = len(noise) // 2
    for i in range(layers):
        x = torch.nn.functional.linear(x, noise[f"{i}.weight"], noise[f"{i}.bias"])
        if i < layers - 1:
            x = torch.nn.functional.silu(x)
    return x[:, 0]


def variance(noise: Weights, features: Tensor, scale: float) -> Tensor:
    """σ_i² (A,) in eV²/Å², of every force component of each atom; scale: base, eV/Å."""
    return scale**2 * torch.exp(2 * log_ratio(noise, features))
