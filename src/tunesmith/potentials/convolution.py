"""Equivariant message passing as batched matrix products: the same function in less time.

e3nn forms every message edge by edge (E × channels × (l+1)²), then adds them up, and its backward
passes fill and add a full array for every slice. Here the edges come in a *regular layout*: D per
receiving atom, receiver by receiver, the missing ones padded with edges longer than the cutoff,
whose radial weights are exactly zero. The sum over edges is then a matrix product,

    m[i, c, k] = Σ_(e,a) (w[e, c] x[s_e, a, c]) (Σ_b C[a, b, k] Y_b(e)),   e = D edges of atom i,

with C the Wigner 3j symbol of the path; its derivatives of any order are matrix products too.
"""

from collections.abc import Callable
from typing import Any

import torch

from tunesmith.core import Tensor

#: Wigner 3j symbol of three angular momenta, as e3nn's o3.wigner_3j
Wigner = Callable[..., Tensor]


class Convolution(torch.nn.Module):
    """Takes the place of an interaction block's tensor product *and* its sum over edges.

    product: the e3nn tensor product, all of whose paths must be 'uvu' with weights given per edge.
    wigner: the installed e3nn's, whose signs the product has.
    """

    def __init__(self, product: Any, wigner: Wigner) -> None:
        super().__init__()
        self.irreps_in = [(m, ir.dim) for m, ir in product.irreps_in1]
        self.harmonics = [ir.dim for _, ir in product.irreps_in2]
        self.paths: list[tuple[int, int, int]] = []
        slots = []
        for k, path in enumerate(product.instructions):
            irreps = (
                product.irreps_in1[path.i_in1].ir,
                product.irreps_in2[path.i_in2].ir,
                product.irreps_out[path.i_out].ir,
            )
            coupling = wigner(*(ir.l for ir in irreps), dtype=torch.float64)
            self.register_buffer(f"coupling_{k}", coupling * path.path_weight, persistent=False)
            self.paths.append((path.i_in1, path.i_in2, product.irreps_in1[path.i_in1].mul))
            slots.append(path.i_out)
        self.order = [slots.index(i) for i in range(len(slots))]

    @staticmethod
    def fits(product: Any) -> bool:
        """Whether a tensor product is of the form this class computes."""
        paths = getattr(product, "instructions", ())
        outputs = sorted(p.i_out for p in paths)
        return (
            bool(paths)
            and not product.shared_weights
            and all(p.connection_mode == "uvu" and p.has_weight for p in paths)
            and all(product.irreps_in2[p.i_in2].mul == 1 for p in paths)
            and outputs == list(range(len(product.irreps_out)))
        )

    def forward(self, x: Tensor, harmonics: Tensor, weights: Tensor, edges: Tensor) -> Tensor:
        """Messages (n, irreps) from x (n, irreps), Y (n·D, (l+1)²), weights (n·D, paths·c)."""
        n = x.shape[0]
        degree = harmonics.shape[0] // n
        # channels last, so that every product below is a matrix product without a copy
        parts = x.split([m * d for m, d in self.irreps_in], dim=1)
        nodes = torch.cat(
            [
                p.view(n, m, d).transpose(1, 2).reshape(n, d * m)
                for p, (m, d) in zip(parts, self.irreps_in, strict=True)
            ],
            dim=1,
        )
        sent = nodes.index_select(0, edges[0]).split([m * d for m, d in self.irreps_in], dim=1)
        y = harmonics.split(self.harmonics, dim=1)
        w = weights.split([m for _, _, m in self.paths], dim=1)
        messages = []
        for k, (i, j, channels) in enumerate(self.paths):
            d = self.irreps_in[i][1]
            coupling = getattr(self, f"coupling_{k}")
            angular = torch.tensordot(y[j], coupling, dims=([1], [1]))  # (n·D, d, k)
            radial = sent[i].view(-1, d, channels) * w[k].unsqueeze(1)
            message = torch.bmm(
                radial.view(n, degree * d, channels).transpose(1, 2),
                angular.view(n, degree * d, -1),
            )
            messages.append(message.reshape(n, -1))
        return torch.cat([messages[k] for k in self.order], dim=1)


def regular_layout(edges: Tensor, unit_shifts: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edges (2, n·D), unit shifts and padding (n·D,) of n atoms with D edges each.

    edges: (2, e) sender and receiver, sorted by receiver. A padding edge leads from an atom to
    itself; D is the largest number of neighbours, at least 1.
    """
    degrees = torch.bincount(edges[1], minlength=n)
    width = max(1, int(degrees.max()))
    first = torch.repeat_interleave(degrees.cumsum(0) - degrees, degrees)
    place = edges[1] * width + torch.arange(edges.shape[1]) - first
    receivers = torch.repeat_interleave(torch.arange(n), width)
    senders = receivers.clone().index_copy_(0, place, edges[0])
    shifts = unit_shifts.new_zeros(n * width, 3).index_copy_(0, place, unit_shifts)
    padding = unit_shifts.new_ones(n * width).index_fill_(0, place, 0.0)
    return torch.stack([senders, receivers]), shifts, padding
