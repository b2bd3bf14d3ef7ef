"""One layer of MACE, interaction and product, on features that stay in one layout.

e3nn lays features out irrep by irrep, so that every step of a layer cuts them apart and turns
them. Here they are x[k, c, n] throughout (components, channels, atoms sorted by element), and
edges are in the regular layout of `convolution`, D per atom. The paths of the convolution
that start from one irrep are computed together, outputs padded to the longest; all constants
(paths, neighbours) are in one small matrix that adds paths up after the linear layer.
"""

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.convolution import Convolution
from tunesmith.potentials.mace.mace_contraction import Contraction
from tunesmith.potentials.mace.mace_files import NativeModule
from tunesmith.potentials.mace.mace_linear import Channels, ElementChannels, Elements, channels

#: interaction blocks computed here, and whether the elements' matrices act on messages
_ON_MESSAGES = {
    "RealAgnosticInteractionBlock": True,
    "RealAgnosticResidualInteractionBlock": False,
    "RealAgnosticDensityInteractionBlock": True,
    "RealAgnosticDensityResidualInteractionBlock": False,
}


class Layer(torch.nn.Module):
    """Computes what an interaction block and its product block compute, from their weights."""

    add: Tensor
    grouped: Tensor

    def __init__(self, interaction: NativeModule, product: NativeModule) -> None:
        super().__init__()
        self.blocks = (interaction, product)  # in a tuple: weights stay under one name only
        self.up = Channels(interaction.linear_up)
        self.skip = ElementChannels(interaction.skip_tp)
        self.down = Channels(product.linear)
        self.on_messages = _ON_MESSAGES[type(interaction).__name__]
        self.dense = hasattr(interaction, "density_fn")
        self.agnostic = bool(getattr(product, "use_agnostic_product", False))
        convolution: Convolution = interaction.conv_tp
        self.dims = [d for _, d in convolution.irreps_in]
        # paths by the irrep they start from
        paths = sorted(range(len(convolution.paths)), key=lambda k: convolution.paths[k][0])
        starts = [convolution.paths[k][0] for k in paths]
        self.groups = [starts.count(i) for i in range(len(self.dims))]
        self.register_buffer("grouped", torch.tensor(paths), persistent=False)
        couplings = [getattr(convolution, f"coupling_{k}") for k in paths]
        self.longest = max(c.shape[2] for c in couplings)
        ends = torch.tensor(convolution.harmonics).cumsum(0)
        wide = [c.new_zeros(int(ends[-1]), c.shape[0], self.longest) for c in couplings]
        for k, c, w in zip(paths, couplings, wide, strict=True):
            j = convolution.paths[k][1]
            w[int(ends[j]) - c.shape[1] : int(ends[j]), :, : c.shape[2]] = c.transpose(0, 1)
        for i in range(len(self.dims)):
            own = [w.flatten(1) for w, start in zip(wide, starts, strict=True) if start == i]
            stacked = torch.stack(own) if own else torch.zeros(0)
            self.register_buffer(f"coupling_{i}", stacked, persistent=False)
        # the slot of the convolution's output that a path fills, in the order of the weights
        slots = [convolution.order.index(k) for k in paths]
        self.register_buffer("slots", torch.tensor(slots), persistent=False)
        self.regroups = not paths == slots == sorted(paths)
        self.register_buffer("add", self._sums(interaction, slots), persistent=False)

    def _sums(self, interaction: NativeModule, slots: list[int]) -> Tensor:
        """Which path's component goes where, times the constants (components, paths × longest)."""
        linear = interaction.linear
        dims = [ir.dim for _, ir in linear.irreps_out]
        sums = torch.zeros(sum(dims), len(slots), self.longest, dtype=torch.float64)
        outputs = _outputs(linear, channels(interaction.linear_up.irreps_out))
        neighbours = 1.0 if self.dense else float(interaction.avg_num_neighbors)
        for p, slot in enumerate(slots):
            out, factor = outputs[slot]
            for m in range(dims[out]):
                sums[sum(dims[:out]) + m, p, m] = factor / neighbours
        return sums.flatten(1)

    @staticmethod
    def fits(interaction: NativeModule, product: NativeModule) -> bool:
        """Whether two blocks are of the form this class computes."""
        if type(interaction).__name__ not in _ON_MESSAGES or not (
            isinstance(getattr(interaction, "conv_tp", None), Convolution)
            and isinstance(product.symmetric_contractions, Contraction)
        ):
            return False
        linear, convolution = interaction.linear, interaction.conv_tp
        width = channels(interaction.linear_up.irreps_out)
        return (
            all(Channels.fits(x) for x in (interaction.linear_up, product.linear))
            and ElementChannels.fits(interaction.skip_tp)
            and {m for m, _ in convolution.irreps_in} == {width}
            and all(p.i_in >= 0 and p.path_shape[0] % width == 0 for p in linear.instructions)
            and len({p.path_shape[1] for p in linear.instructions}) == 1
            and len(_outputs(linear, width)) == len(convolution.paths)
            and channels(linear.irreps_out) > 0
        )

    def forward(
        self,
        x: Tensor,
        harmonics: Tensor,
        radial: Tensor,
        cutoff: Tensor | None,
        senders: Tensor,
        elements: Elements,
    ) -> Tensor:
        """x (k, c, n), Y and radial features of n·D edges, to the next layer's (k', c', n)."""
        interaction, product = self.blocks
        messages = self._convolve(x, harmonics, radial, cutoff, senders)
        n = x.shape[2]
        if self.dense:
            density = torch.tanh(interaction.density_fn(radial).square())
            density = density if cutoff is None else density * cutoff
            messages = messages / (density.view(n, -1).sum(1) + 1)
        if self.on_messages:
            messages = self.skip(messages, elements)
        # one set of contraction weights for all elements, or one each
        kinds = Elements(elements.present[:1] * 0, [n]) if self.agnostic else elements
        out = self.down(product.symmetric_contractions.of_sorted(messages, kinds))
        return out if self.on_messages or not product.use_sc else out + self.skip(x, elements)

    def _convolve(
        self, x: Tensor, harmonics: Tensor, radial: Tensor, cutoff: Tensor | None, senders: Tensor
    ) -> Tensor:
        """Messages after the linear layer (k', c', n)."""
        interaction, _ = self.blocks
        n, edges, paths = x.shape[2], len(senders), len(self.grouped)
        up = torch.bmm(self.up.select(x).transpose(1, 2), self.up.matrices())  # (k, n, c)
        sent = up.transpose(0, 1).index_select(0, senders).split(self.dims, dim=1)
        w = interaction.conv_tp_weights(radial)
        w = w if cutoff is None else w * cutoff
        w = w.view(edges, paths, -1).transpose(0, 1)
        w = w.index_select(0, self.grouped) if self.regroups else w.contiguous()
        messages = []
        for i, (start, own) in enumerate(zip(sent, w.split(self.groups), strict=True)):
            if not len(own):
                continue
            coupling: Tensor = getattr(self, f"coupling_{i}")
            angular = torch.bmm(harmonics.expand(len(own), -1, -1), coupling)
            moved = (start * own.unsqueeze(2)).view(len(own) * n, -1, start.shape[2])
            angular = angular.view(len(own) * n, moved.shape[1], -1)
            messages.append(torch.bmm(angular.transpose(1, 2), moved))
        joined = messages[0] if len(messages) == 1 else torch.cat(messages)
        matrices = interaction.linear.weight.view(paths, joined.shape[2], -1)
        matrices = matrices.index_select(0, self.slots) if self.regroups else matrices
        out = torch.bmm(joined.view(paths, n * self.longest, -1), matrices)
        out = out.view(paths, n, self.longest, -1).permute(0, 2, 3, 1)
        return (self.add @ out.reshape(self.add.shape[1], -1)).view(len(self.add), -1, n)


def _outputs(linear: NativeModule, width: int) -> list[tuple[int, float]]:
    """Output irrep and factor of every block of ``width`` rows of the weight, in order."""
    return [
        (p.i_out, float(p.path_weight))
        for p in linear.instructions
        for _ in range(p.path_shape[0] // width)
    ]
