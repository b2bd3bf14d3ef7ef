"""The weights a MACE module starts from before any training.

By the rules of mace-torch 0.3.16 and e3nn, part by part, and from a generator of our own: building
the module anew would draw from torch's global one, and not every architecture can be rebuilt.
"""

import math

import torch

from tunesmith.core import Tensor, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials.mace.mace_files import NativeModule

#: e3nn's layers whose weights are normal with unit variance: fan-in is in their constants
_NORMAL = ("Linear", "TensorProduct", "FullyConnectedTensorProduct", "_Layer")
#: layers of the non-linear interaction block that start (almost) without effect
_SMALL = ("source_embedding", "target_embedding")


def fresh(
    model: NativeModule, names: tuple[str, ...], own: Weights, generator: torch.Generator
) -> Weights:
    """Weights with fresh ones under the given names of a module's parameters, others as they are.

    Drawn in float64 on the CPU. Raises `ModelError` for a parameter whose start is not known.
    """
    return own | {name: _drawn(model, name, generator).to(own[name]) for name in names}


def _drawn(model: NativeModule, name: str, generator: torch.Generator) -> Tensor:
    path, _, leaf = name.rpartition(".")
    if leaf.isdigit():  # a contraction's weights are a list
        path, _, leaf = path.rpartition(".")
    owner = model.get_submodule(path)
    kind, shape = type(owner).__name__, model.get_parameter(name).shape

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def uniform(width: float) -> Tensor:
        return width * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)

    if isinstance(owner, torch.nn.Linear):
        return uniform(1 / math.sqrt(owner.in_features))
    if isinstance(owner, torch.nn.LayerNorm) or (kind == "Linear" and leaf == "bias"):
        return torch.full(shape, float(leaf == "weight"), dtype=torch.float64)
    if leaf == "weight" and path.endswith(_SMALL):
        return uniform(1e-3)
    if leaf == "weight" and kind in _NORMAL:
        return normal()
    if leaf in ("weights", "weights_max") and kind == "Contraction":
        return normal() / shape[1]  # (elements, paths, channels)
    if leaf in ("alpha", "beta") and kind == "RealAgnosticResidualNonLinearInteractionBlock":
        return torch.full(shape, 20.0 if leaf == "alpha" else 0.0, dtype=torch.float64)
    raise ModelError(
        f"it is not known how {name} of this model (a {kind}) starts; keep the pretrained "
        "weights, or train from scratch with mace-torch itself."
    )
