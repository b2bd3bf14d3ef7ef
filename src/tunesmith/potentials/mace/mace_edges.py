"""What MACE computes of every edge alone, in few operations: harmonics and the cutoff."""

import math

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace.mace_files import NativeModule, module


class Harmonics(torch.nn.Module):
    """e3nn's real spherical harmonics, each order from the one before.

    Y_{l+1} is, up to a number, the part of order l+1 of the product of Y_l with the direction:
    two operations for every order, and derivatives of the same kind.
    """

    def __init__(self, native: NativeModule) -> None:
        super().__init__()
        o3 = module("e3nn.o3")
        self.highest = len(native._ls_list) - 1
        direction = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8]).double(), dim=0)
        for order in range(1, self.highest):
            known, wanted = (
                o3.spherical_harmonics(x, direction, normalize=False, normalization="component")
                for x in (order, order + 1)
            )
            coupling = o3.wigner_3j(1, order, order + 1, dtype=torch.float64).flatten(0, 1)
            found = torch.outer(direction, known).reshape(-1) @ coupling
            scale = (found @ wanted) / (found @ found)
            self.register_buffer(f"step_{order}", coupling * scale, persistent=False)

    @staticmethod
    def fits(native: NativeModule) -> bool:
        """Whether a module is of the form this class computes."""
        return (
            type(native).__name__ == "SphericalHarmonics"
            and native.normalize
            and native.normalization == "component"
            and native._ls_list == list(range(len(native._ls_list)))
            and len(native._ls_list) > 1
        )

    def forward(self, directions: Tensor) -> Tensor:
        """Unit vectors (e, 3) to (e, (l+1)²)."""
        y = directions * math.sqrt(3)
        found = [torch.ones_like(directions[:, :1]), y]
        for order in range(1, self.highest):
            step: Tensor = getattr(self, f"step_{order}")
            y = (directions.unsqueeze(2) * y.unsqueeze(1)).flatten(1) @ step
            found.append(y)
        return torch.cat(found, dim=1)


class Cutoff(torch.nn.Module):
    """mace's ``PolynomialCutoff``: from 1 at 0 to 0 at r_max, with two smooth derivatives there.

    Where it ends it is exactly 0, being a sum of whole numbers.
    """

    def __init__(self, native: NativeModule) -> None:
        super().__init__()
        self.r_max, self.p = float(native.r_max), int(native.p)

    @staticmethod
    def fits(native: NativeModule) -> bool:
        """Whether a module is of the form this class computes."""
        return type(native).__name__ == "PolynomialCutoff"

    def forward(self, lengths: Tensor) -> Tensor:
        """Lengths Å, any shape, to values in 0 … 1."""
        p = self.p
        x = (lengths / self.r_max).clamp(max=1)
        inner = (x * (-p * (p + 1) / 2) + p * (p + 2)) * x - (p + 1) * (p + 2) / 2
        return x.pow(p) * inner + 1
