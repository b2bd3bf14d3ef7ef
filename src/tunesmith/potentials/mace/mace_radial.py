"""MACE's radial networks with their constants in the weights: the same function, fewer passes.

e3nn's layers divide weights by the root of their fan-in and multiply every activation by a number
that keeps its variance, in passes of their own over all edges, and so again in every derivative.
Here both numbers go into the next layer's weights, which are small.
"""

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace.mace_files import NativeModule


class RadialNetwork(torch.nn.Module):
    """Takes the place of an e3nn ``FullyConnectedNet`` whose last layer is linear.

    net: its layers stay children of this module under their names; their forward is not used.
    """

    def __init__(self, net: NativeModule) -> None:
        super().__init__()
        self.factors: list[float] = []
        before = 1.0
        for name, layer in net.named_children():
            self.add_module(name, layer)
            scale = (layer.h_in * layer.var_in) ** -0.5
            if layer.act is None:
                before *= layer.var_out**0.5
            self.factors.append(before * scale)
            if layer.act is not None:
                before = _gain(layer.act) * layer.var_out**0.5

    @staticmethod
    def fits(net: NativeModule) -> bool:
        """Whether a module is of the form this class computes."""
        layers = list(net.children()) if type(net).__name__ == "FullyConnectedNet" else []
        return (
            bool(layers)
            and all(type(x).__name__ == "_Layer" for x in layers)
            and all(hasattr(x.act, "f") and hasattr(x.act, "cst") for x in layers[:-1])
            and layers[-1].act is None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (e, h) of edges or atoms to (e, outputs)."""
        for layer, factor in zip(self.children(), self.factors, strict=True):
            own: NativeModule = layer
            x = x @ (own.weight * factor)
            if own.act is not None:
                x = own.act.f(x)
        return x


def fold(model: NativeModule) -> NativeModule:
    """Give every interaction block of a MACE module this network where it fits, in place."""
    for block in model.interactions:
        for name in ("conv_tp_weights", "density_fn"):
            if RadialNetwork.fits(getattr(block, name, None)):
                setattr(block, name, RadialNetwork(getattr(block, name)))
    return model


def _gain(activation: NativeModule) -> float:
    """What e3nn multiplies an activation's values by; nothing where that is 1 to four digits."""
    return 1.0 if activation._is_id else activation.cst
