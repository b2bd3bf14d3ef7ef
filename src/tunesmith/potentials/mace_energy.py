"""MACE's energy and features without what mace computes beside them.

mace's own forward pass also adds E0s, marks the batch for gradients, and sums with in-place
scatters that `torch.func.vmap` refuses. This one calls the same blocks in the same order.
"""

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace_contraction import Contraction
from tunesmith.potentials.mace_convolution import Convolution
from tunesmith.potentials.mace_files import NativeModule

#: parts of a MACE or ScaleShiftMACE that the energy without E0s depends on
_PARTS = (
    "node_embedding",
    "radial_embedding",
    "spherical_harmonics",
    "pair_repulsion_fn",
    "interactions",
    "products",
    "readouts",
    "scale_shift",
)
#: interaction blocks that sum over edges in their convolution only
_ONE_SUM = {"RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"}


class EnergyPath(torch.nn.Module):
    """The parts of a single-head MACE module under their own names, and its energy.

    model: mace's module; its parts are shared, not copied.
    """

    def __init__(self, model: NativeModule) -> None:
        super().__init__()
        for name in _PARTS:
            if hasattr(model, name):
                self.add_module(name, getattr(model, name))
        self.register_buffer("atomic_numbers", model.atomic_numbers, persistent=False)

    def forward(self, data: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Energies without E0s (B,) eV, and node features (A, irreps) of every layer.

        data: mace's own inputs.
        """
        own: NativeModule = self
        one_hot, edges = data["node_attrs"], data["edge_index"]
        sender, receiver = (data["positions"].index_select(0, e) for e in edges)
        vectors = receiver - sender + data["shifts"]
        lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
        harmonics = own.spherical_harmonics(vectors)
        kinds = (one_hot, edges, own.atomic_numbers)
        radial, cutoff = own.radial_embedding(lengths, *kinds)
        x = own.node_embedding(one_hot)
        layers: list[Tensor] = []
        for interaction, product in zip(own.interactions, own.products, strict=True):
            x, skipped = interaction(
                node_attrs=one_hot,
                node_feats=x,
                edge_attrs=harmonics,
                edge_feats=radial,
                edge_index=edges,
                cutoff=cutoff,
                first_layer=not layers,
            )
            x = product(node_feats=x, sc=skipped, node_attrs=one_hot)
            layers.append(x)
        read = layers if len(own.readouts) > 1 else layers[-1:]
        energy = sum(r(x, None)[:, 0] for r, x in zip(own.readouts, read, strict=True))
        if hasattr(self, "pair_repulsion_fn"):
            energy = energy + own.pair_repulsion_fn(lengths, *kinds)
        if hasattr(self, "scale_shift"):
            energy = energy * own.scale_shift.scale + own.scale_shift.shift
        total = energy.new_zeros(data["ptr"].numel() - 1)
        return total.index_add(0, data["batch"], energy), layers

    def takes_stacks(self) -> bool:
        """Whether it runs under `torch.func.vmap`: nowhere a sum of mace's own, in place."""
        own: NativeModule = self
        return not hasattr(self, "pair_repulsion_fn") and all(
            type(i).__name__ in _ONE_SUM
            and isinstance(i.conv_tp, Convolution)
            and isinstance(p.symmetric_contractions, Contraction)
            for i, p in zip(own.interactions, own.products, strict=True)
        )
