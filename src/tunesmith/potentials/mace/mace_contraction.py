"""MACE's symmetric contraction as matrix products: the same polynomial in less time.

mace contracts features x (n atoms, c channels, i of (l+1)²) with generalised Clebsch-Gordan
coefficients U and with weights W of the atom's element, up to three factors,

    out[n, c, m] = Σ_ν Σ_(i…, k) U_ν[m, i…, k] W_ν[e(n), k, c] x[n, c, i] …   (ν factors),

and picks the element by a product with a one-hot vector, so that every atom pays for every
element of the model. Here U and W are joined once for each element *present*, and lower orders
are treated as the highest, some factors being 1: with x̃ = (x, 1) and its products
p = (x̃_i x̃_j for i ≤ j) for three factors, or p = x̃ for two,

    out[n, c, m] = Σ_a x[n, c, a] Σ_b A[e(n), c, m, a, b] p[n, c, b],

a matrix product per element and channel and a short sum; so are its derivatives of any order.
"""

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace.mace_files import NativeModule
from tunesmith.potentials.mace.mace_linear import Elements, elements


class Contraction(torch.nn.Module):
    """Takes the place of a ``SymmetricContraction`` of two or three factors.

    product: mace's module, whose weights stay where they are, under their names.
    """

    first: Tensor
    second: Tensor

    def __init__(self, product: NativeModule) -> None:
        super().__init__()
        self.contractions: NativeModule = product.contractions
        width = _coupling(product.contractions[0], 2).shape[1]
        # p[b] = x̃[first[b]] x̃[second[b]], and which b belongs to two factors; x̃[width] is 1
        if product.contractions[0].correlation == 3:
            first, second = torch.triu_indices(width + 1, width + 1)
        else:
            first, second = torch.arange(width + 1), torch.full((width + 1,), width)
        place = torch.zeros(width + 1, width + 1, dtype=torch.long)
        place[first, second] = place[second, first] = torch.arange(len(first))
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.dims = [len(_coupling(part, part.correlation)) for part in product.contractions]
        couplings = [_joined(part, place) for part in product.contractions]
        # outputs of two factors go together, three would make long rows of zeros
        self.together = product.contractions[0].correlation == 2
        if self.together:
            couplings = [torch.block_diag(*couplings)]
        for k, coupling in enumerate(couplings):
            self.register_buffer(f"joined_{k}", coupling, persistent=False)

    @staticmethod
    def fits(product: NativeModule) -> bool:
        """Whether a module is of the form this class computes."""
        parts = getattr(product, "contractions", ())
        return len(parts) > 0 and all(
            getattr(p, "correlation", None) in (2, 3) and _weights(p) for p in parts
        )

    def forward(self, x: Tensor, one_hot: Tensor) -> Tensor:
        """x (n, c, (l+1)²) and one-hot elements to (n, c·m), output irreps one after the other."""
        species = one_hot.argmax(1)
        order = species.argsort(stable=True)
        out = self.of_sorted(x.permute(2, 1, 0).index_select(2, order), elements(species[order]))
        # gathered before it is turned, so that gradients come with atoms last: `bmm` would take
        # other layouts matrix by matrix
        out = torch.cat([part.transpose(0, 1).flatten(0, 1) for part in out.split(self.dims)])
        return out.gather(1, order.argsort().expand(len(out), len(x))).t()

    def of_sorted(self, x: Tensor, elements: Elements) -> Tensor:
        """x ((l+1)², c, n) to (m, c, n), all irreps' components; atoms sorted by element."""
        _, channels, n = x.shape
        p = torch.cat([x, x.new_ones(1, channels, n)])
        if len(p) != len(self.first):
            p = p.index_select(0, self.first) * p.index_select(0, self.second)
        # rows of atoms are contiguous
        xs = x.transpose(0, 1).unsqueeze(1).split(elements.counts, dim=3)
        ps = p.transpose(0, 1).split(elements.counts, dim=2)
        weights = [_weights(part) for part in self.contractions]
        if self.together:
            weights = [[w for own in weights for w in own]]
        outs = []
        for k, own in enumerate(weights):
            coupling = getattr(self, f"joined_{k}")
            w = torch.cat(own, dim=1).index_select(0, elements.present)
            a = w.transpose(1, 2).reshape(-1, coupling.shape[0]) @ coupling
            a = a.view(len(elements.counts), channels, -1, len(self.first))
            blocks = [
                (torch.bmm(ae, pe).view(channels, -1, *xe.shape[2:]) * xe).sum(2)
                for ae, pe, xe in zip(a, ps, xs, strict=True)
            ]
            outs.append(torch.cat(blocks, dim=2))
        out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)
        return out.transpose(0, 1)


def join(model: NativeModule) -> NativeModule:
    """Give every product block of a MACE module this contraction where it fits, in place."""
    for block in model.products:
        if Contraction.fits(block.symmetric_contractions):
            block.symmetric_contractions = Contraction(block.symmetric_contractions)
    return model


def _coupling(part: NativeModule, order: int) -> Tensor:
    """mace's U of some order as (m, i…, k): it drops m for scalars."""
    u = getattr(part, f"U_matrix_{order}")
    return u if u.dim() == order + 2 else u.unsqueeze(0)


def _weights(part: NativeModule) -> list[Tensor]:
    """Weights (elements, k, c) from the highest order down, without those of empty couplings."""
    return [w for w in (part.weights_max, *part.weights) if w.numel()]


def _joined(part: NativeModule, place: Tensor) -> Tensor:
    """U of all orders as a matrix (k, m·a·b), rows in the order of `_weights`."""
    width, blocks = place.shape[0] - 1, []
    weights = (part.weights_max, *part.weights)
    for order, weight in zip(range(part.correlation, 0, -1), weights, strict=True):
        if not weight.numel():
            continue
        u = _coupling(part, order)
        m, *pair, a, k = u.nonzero(as_tuple=True)
        i, j = (*pair, *[torch.full_like(m, width)] * (3 - order))
        rows = u.new_zeros(u.shape[-1], u.shape[0], width, int(place.max()) + 1)
        rows.index_put_((k, m, a, place[i, j]), u[u != 0], accumulate=True)
        blocks.append(rows.flatten(1))
    return torch.cat(blocks)
