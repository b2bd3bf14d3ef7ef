"""MACE's readouts on features x[k, c, n], the layout of `mace_layer`."""

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace.mace_files import NativeModule
from tunesmith.potentials.mace.mace_linear import Channels


class Readout(torch.nn.Module):
    """Energies of atoms from one layer's features: mace's block, or its linear layers alone.

    irreps: of the features, all with the same number of channels.
    """

    def __init__(self, block: NativeModule, irreps: NativeModule) -> None:
        super().__init__()
        self.block = (block,)  # in a tuple: weights stay under one name only
        self.dims = [ir.dim for _, ir in irreps]
        names = {
            "LinearReadoutBlock": ("linear",),
            "NonLinearReadoutBlock": ("linear_1", "linear_2"),
        }.get(type(block).__name__, ())
        linears = [getattr(block, name) for name in names]
        fits = all(Channels.fits(x) and str(x.irreps_out[-1].ir) == "0e" for x in linears)
        self.linears = torch.nn.ModuleList(Channels(x) for x in linears if fits)

    def forward(self, x: Tensor) -> Tensor:
        """x (k, c, n) to (n,)."""
        (block,) = self.block
        if not len(self.linears):
            n = x.shape[2]
            parts = [p.permute(2, 1, 0).reshape(n, -1) for p in x.split(self.dims)]
            return block(torch.cat(parts, dim=1), None)[:, 0]
        first, *rest = self.linears
        x = first(x)
        for linear in rest:
            x = linear(block.non_linearity(x, dim=1))
        return x.flatten()
