"""A small trusted model file, and members that differ from it."""

from functools import cache
from pathlib import Path

import torch

from tunesmith.core import E0s, Members
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.trust import trust
from tunesmith.tune.subspace import All

NETWORK = {
    "r_max": 4.0,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 1,
    "hidden_irreps": "4x0e+4x1o",
    "MLP_irreps": "4x0e",
    "correlation": 2,
    "num_interactions": 2,
    "radial_MLP": [8],
    "elements": [1, 6, 8],
    "e0s": [-13.5, -1030.25, -2040.125],
    "avg_num_neighbors": 6.0,
    "scale": 0.8,
    "shift": 0.1,
}
#: not the base's
ALIGNED = E0s(
    {1: -14.0, 6: -1031.5, 8: -2042.0},
    method="reestimate",
    reason="because",
    elements=(1, 6, 8),
    compositions=((4, 1, 0), (6, 2, 1)),
)


@cache
def _module(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return mace_files.build(NETWORK)


def base_file(path: Path, seed: int = 3) -> Path:
    with mace_files.quiet():
        torch.save(_module(seed), path)
    trust(path)
    return path


def members(base: Path, n: int, spread: float = 0.05) -> Members:
    """n members around the base, float64."""
    potential = zoo.load(str(base), dtype="float64")
    generator = torch.Generator().manual_seed(7)
    weights = potential.weights()
    moved = {}
    for name in potential.names.trainable():
        shape = (n, *weights[name].shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        moved[name] = weights[name] + spread * noise
    noise = {"noise.bias": torch.arange(float(n), dtype=torch.float64)[:, None]}
    return Members(potential.base, weights, All(), moved, ALIGNED, noise=noise)
