"""e3nn's linear layers as one batched matrix product each: the same function, few operations.

Features are here x[k, c, n]: component k of the irreps, one after the other, channel c, atom n;
every irrep has the same number of channels, as in MACE. A layer is a matrix per component,

    y[k, c', n] = Σ_c W[irrep of k, c, c'] x[k, c, n],

and where the matrix depends on the atom's element, atoms come element by element.
"""

from dataclasses import dataclass

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace.mace_files import NativeModule, module


@dataclass(frozen=True)
class Elements:
    """Atoms sorted by element: the elements present (E,), and how many atoms each has."""

    present: Tensor
    counts: list[int]


def elements(species: Tensor) -> Elements:
    """Of sorted species (n,)."""
    present, counts = species.unique_consecutive(return_counts=True)
    return Elements(present, counts.tolist())


class Channels(torch.nn.Module):
    """An e3nn ``Linear`` of irreps with one number of channels, which keeps its weight."""

    index: Tensor
    factor: Tensor

    def __init__(self, linear: NativeModule) -> None:
        super().__init__()
        self.owner = (linear,)  # in a tuple: its weight stays under one name only
        paths = _by_output(linear)
        self.shape = (len(paths), *paths[0].path_shape)
        # a tensor of its own: torch makes one of a number every time
        factor = torch.tensor(paths[0].path_weight, dtype=torch.float64)
        self.register_buffer("factor", factor, persistent=False)
        self.inputs = _components(linear.irreps_in, [p.i_in for p in paths])
        order = [linear.instructions.index(p) for p in paths]
        self.register_buffer("index", _repeated(order, linear.irreps_out), persistent=False)

    @staticmethod
    def fits(linear: NativeModule) -> bool:
        """Whether a module is of the form this class computes."""
        return (
            type(linear).__name__ == "Linear"
            and type(linear).__module__.startswith("e3nn.")
            and linear.weight.dim() == 1
            and not linear.bias.numel()
            and _one_path_each(linear)
        )

    def matrices(self) -> Tensor:
        """(components, c, c') of the weights that the layer has now."""
        weight: Tensor = self.owner[0].weight
        return (weight.view(self.shape) * self.factor).index_select(0, self.index)

    def select(self, x: Tensor) -> Tensor:
        """Those components (k, …) that the layer reads."""
        start, end = self.inputs
        return x if end - start == len(x) else x[start:end]

    def forward(self, x: Tensor) -> Tensor:
        """x (k, c, n) to (k', c', n)."""
        return torch.bmm(self.matrices().transpose(1, 2), self.select(x))


class ElementChannels(torch.nn.Module):
    """An e3nn tensor product with one-hot elements: a `Channels` layer per element."""

    index: Tensor
    factors: Tensor

    def __init__(self, product: NativeModule) -> None:
        super().__init__()
        self.owner = (product,)
        paths = _by_output(product)
        self.shape = (len(paths), *paths[0].path_shape)
        self.inputs = _components(product.irreps_in1, [p.i_in1 for p in paths])
        order = [product.instructions.index(p) for p in paths]
        self.register_buffer("index", _repeated(order, product.irreps_out), persistent=False)
        o3 = module("e3nn.o3")
        ls = [ir.l for _, ir in product.irreps_out]
        factors = [
            p.path_weight * float(o3.wigner_3j(x, 0, x, dtype=torch.float64)[0, 0, 0])
            for p, x in zip(paths, ls, strict=True)
        ]
        by_weight = torch.tensor(factors, dtype=torch.float64)[torch.tensor(order).argsort()]
        self.register_buffer("factors", by_weight.view(-1, 1, 1, 1), persistent=False)

    @staticmethod
    def fits(product: NativeModule) -> bool:
        """Whether a module is of the form this class computes."""
        return (
            type(product).__name__ == "FullyConnectedTensorProduct"
            and type(product).__module__.startswith("e3nn.")
            and product.weight.dim() == 1
            and len(product.irreps_in2) == 1
            and str(product.irreps_in2[0].ir) == "0e"
            and _one_path_each(product, "i_in1")
        )

    def forward(self, x: Tensor, elements: Elements) -> Tensor:
        """x (k, c, n) to (k', c', n), atoms sorted by element."""
        start, end = self.inputs
        x = x if end - start == len(x) else x[start:end]
        weight: Tensor = self.owner[0].weight
        chosen = weight.view(self.shape).index_select(2, elements.present) * self.factors
        matrices = chosen.permute(2, 0, 3, 1).index_select(1, self.index)
        parts = zip(matrices, x.split(elements.counts, dim=2), strict=True)
        return torch.cat([torch.bmm(w, part) for w, part in parts], dim=2)


def channels(irreps: NativeModule) -> int:
    """The number of channels of every irrep, 0 where they differ."""
    found = {mul for mul, _ in irreps}
    return found.pop() if len(found) == 1 else 0


def _by_output(layer: NativeModule) -> list[NativeModule]:
    return sorted(layer.instructions, key=lambda path: path.i_out)


def _one_path_each(layer: NativeModule, source: str = "i_in") -> bool:
    """Every output has one path, all of one shape, from inputs in a row, in the same order."""
    paths = _by_output(layer)
    read = [getattr(p, source) for p in paths]
    irreps = layer.irreps_in1 if source == "i_in1" else layer.irreps_in
    return (
        bool(paths)
        and [p.i_out for p in paths] == list(range(len(layer.irreps_out)))
        and read == list(range(read[0], read[0] + len(read)))
        and len({p.path_shape for p in paths}) == 1
        and channels(irreps) > 0
        and channels(layer.irreps_out) > 0
    )


def _components(irreps: NativeModule, read: list[int]) -> tuple[int, int]:
    """The components of consecutive irreps, from and to."""
    dims = [ir.dim for _, ir in irreps]
    return sum(dims[: read[0]]), sum(dims[: read[-1] + 1])


def _repeated(values: list[int], irreps: NativeModule) -> Tensor:
    """One value per irrep as one per component."""
    return torch.tensor(values).repeat_interleave(torch.tensor([ir.dim for _, ir in irreps]))
