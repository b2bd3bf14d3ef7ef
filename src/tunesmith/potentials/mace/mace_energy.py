"""MACE's energy and features without what mace computes beside them.

mace's own forward pass also adds E0s, marks the batch for gradients, and sums with in-place
scatters that `torch.func.vmap` refuses. This one computes the same from the same blocks: by `Layer`
where all of them fit, on atoms sorted by element; else by calling them in the same order.
"""

from typing import Any

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.mace.mace_edges import Cutoff, Harmonics
from tunesmith.potentials.mace.mace_files import NativeModule
from tunesmith.potentials.mace.mace_layer import Layer
from tunesmith.potentials.mace.mace_linear import Channels, elements
from tunesmith.potentials.mace.mace_readout import Readout

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


class EnergyPath(torch.nn.Module):
    """The parts of a single-head MACE module under their own names, and its energy.

    model: mace's module; its parts are shared, not copied, its cutoff function is replaced.
    """

    atomic_numbers: Tensor

    def __init__(self, model: NativeModule) -> None:
        super().__init__()
        for name in _PARTS:
            if hasattr(model, name):
                self.add_module(name, getattr(model, name))
        self.register_buffer("atomic_numbers", model.atomic_numbers, persistent=False)
        if Cutoff.fits(model.radial_embedding.cutoff_fn):
            model.radial_embedding.cutoff_fn = Cutoff(model.radial_embedding.cutoff_fn)
        blocks = list(zip(model.interactions, model.products, strict=True))
        self.sorts = (
            all(Layer.fits(*pair) for pair in blocks)
            and Harmonics.fits(model.spherical_harmonics)
            and Channels.fits(model.node_embedding.linear)
        )
        first = model.node_embedding.linear
        self.embedding = Channels(first) if Channels.fits(first) else None
        if self.sorts:
            self.harmonics = Harmonics(model.spherical_harmonics)
            self.layers = torch.nn.ModuleList(Layer(*pair) for pair in blocks)
            irreps = self._read([p.linear.irreps_out for p in model.products])
            pairs = zip(model.readouts, irreps, strict=True)
            self.reads = torch.nn.ModuleList(Readout(*pair) for pair in pairs)

    def forward(self, data: dict[str, Tensor], features: bool) -> tuple[Tensor, Tensor | None]:
        """Energies without E0s (B,) eV; if asked for, scalars of every layer (A, layers × c).

        data: positions (A, 3) Å, species (A,), edge_index (2, e), shifts (e, 3) Å, batch (A,),
        counts (B,), and where each structure has a node embedding of its own embeddings (B, Z·c).
        """
        own: NativeModule = self
        energy, index, described = (self._sorted if self.sorts else self._blocks)(data, features)
        if hasattr(self, "scale_shift"):
            energy = energy * own.scale_shift.scale + own.scale_shift.shift
        total = energy.new_zeros(len(data["counts"]))
        return total.index_add(0, index, energy), described

    def _sorted(
        self, data: dict[str, Tensor], features: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energy and structure of every atom, sorted by element; features in the given order."""
        own: NativeModule = self
        order = data["species"].argsort(stable=True)
        species, back, n = data["species"][order], order.argsort(), len(order)
        present, structure = elements(species), data["batch"][order]
        positions = data["positions"].index_select(0, order)
        senders = back[data["edge_index"][0]].view(n, -1).index_select(0, order).flatten()
        shifts = data["shifts"].view(n, -1, 3).index_select(0, order)
        near = positions.index_select(0, senders).view(n, -1, 3)
        vectors = (positions.unsqueeze(1) - near + shifts).flatten(0, 1)
        lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
        kinds: tuple[Tensor | None, Tensor | None, Tensor] = (None, None, own.atomic_numbers)
        if hasattr(own.radial_embedding, "distance_transform") or self._repels:
            receivers = torch.arange(n, device=order.device).repeat_interleave(
                vectors.shape[0] // n
            )
            kinds = (self._one_hot(species, positions), torch.stack([senders, receivers]), kinds[2])
        harmonics = own.harmonics(vectors / lengths)
        radial, cutoff = own.radial_embedding(lengths, *kinds)
        x = self._embedded(data, species, structure).t().unsqueeze(0)
        layers: list[Tensor] = []
        for layer in own.layers:
            x = layer(x, harmonics, radial, cutoff, senders, present)
            layers.append(x)
        pairs = zip(own.reads, self._read(layers), strict=True)
        energy = sum(read(x) for read, x in pairs)
        if self._repels:
            energy = energy + own.pair_repulsion_fn(lengths, *kinds)
        described = torch.cat([x[0] for x in layers]).t()[back] if features else None
        return energy, structure, described

    def _blocks(
        self, data: dict[str, Tensor], features: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same by mace's own blocks, atoms in the given order."""
        own: NativeModule = self
        edges = data["edge_index"]
        one_hot = self._one_hot(data["species"], data["positions"])
        sender, receiver = (data["positions"].index_select(0, e) for e in edges)
        vectors = receiver - sender + data["shifts"]
        lengths = torch.linalg.norm(vectors, dim=1, keepdim=True)
        harmonics = own.spherical_harmonics(vectors)
        kinds = (one_hot, edges, own.atomic_numbers)
        radial, cutoff = own.radial_embedding(lengths, *kinds)
        if "embeddings" in data:
            x = self._embedded(data, data["species"], data["batch"])
        else:
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
        pairs = zip(own.readouts, self._read(layers), strict=True)
        energy = sum(read(x, None)[:, 0] for read, x in pairs)
        if self._repels:
            energy = energy + own.pair_repulsion_fn(lengths, *kinds)
        # mace lays the node features of a layer out irrep by irrep, scalars first
        scalars = [p.linear.irreps_out.count("0e") for p in own.products]
        parts = [x[:, :width] for x, width in zip(layers, scalars, strict=True)]
        return energy, data["batch"], torch.cat(parts, dim=1) if features else None

    @property
    def _repels(self) -> bool:
        return hasattr(self, "pair_repulsion_fn")

    def _read(self, layers: list[Any]) -> list[Any]:
        """The layers that readouts read: all, or the last one alone."""
        own: NativeModule = self
        return layers if len(own.readouts) > 1 else layers[-1:]

    def _embedded(self, data: dict[str, Tensor], species: Tensor, structure: Tensor) -> Tensor:
        """First features of atoms (n, c), by their element and, where it matters, structure."""
        assert self.embedding is not None
        if "embeddings" not in data:
            return self.embedding.matrices()[0].index_select(0, species)
        n = len(self.atomic_numbers)
        rows = (data["embeddings"] * self.embedding.factor).view(len(data["counts"]) * n, -1)
        return rows.index_select(0, structure * n + species)

    def _one_hot(self, species: Tensor, like: Tensor) -> Tensor:
        n = len(self.atomic_numbers)
        return torch.nn.functional.one_hot(species, n).to(like.dtype)

    def takes_stacks(self) -> bool:
        """Whether it runs under `torch.func.vmap`: nowhere a sum of mace's own, in place."""
        return self.sorts and not self._repels
