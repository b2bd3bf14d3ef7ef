"""CHGNet's energy and features, without what chgnet computes beside them.

chgnet's own forward pass starts from graphs of its own making, adds E0s, and computes magnetic
moments and, after the last bond convolution, angle features that no energy depends on.
"""

from dataclasses import dataclass, replace

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.chgnet.chgnet_files import NativeModule
from tunesmith.potentials.chgnet.chgnet_graph import BondBatch
from tunesmith.potentials.chgnet.chgnet_layers import (
    angle_update,
    atom_convolution,
    bond_convolution,
)


class EnergyPath(torch.nn.Module):
    """The parts of a CHGNet module that its energy depends on, under their own names.

    model: chgnet's module, with the elements' embedding cut to the rows (Z,) of the elements that
    count; its other parts are shared, not copied.
    """

    atom_embedding: torch.nn.ModuleDict
    atom_conv_layers: torch.nn.ModuleList
    bond_basis_expansion: NativeModule
    bond_embedding: NativeModule
    bond_weights_ag: NativeModule
    bond_weights_bg: NativeModule
    angle_basis_expansion: NativeModule
    angle_embedding: NativeModule
    mlp: NativeModule

    def __init__(self, model: NativeModule, rows: Tensor) -> None:
        super().__init__()
        table = model.atom_embedding.embedding.weight[rows].detach().clone()
        self.atom_embedding = torch.nn.ModuleDict(
            {"embedding": torch.nn.Embedding.from_pretrained(table, freeze=False)}
        )
        layers = len(model.atom_conv_layers)
        convolves = [c for c in model.bond_conv_layers if c is not None]
        parts = ["bond_basis_expansion", "bond_embedding", "bond_weights_ag", "atom_conv_layers"]
        if convolves:
            parts += ["bond_weights_bg", "angle_basis_expansion", "angle_embedding"]
        for name in (*parts, "mlp"):
            self.add_module(name, getattr(model, name))
        self.bond_conv_layers = torch.nn.ModuleList(convolves)
        # what the last one updates is not used
        turns = [a for a in model.angle_layers if a is not None] if convolves else []
        self.angle_layers = torch.nn.ModuleList(turns[: layers - 2])
        self.readout_norm = model.readout_norm or torch.nn.Identity()
        self.bond_cutoff = float(model.graph_converter.bond_graph_cutoff)
        #: whether a bond convolution changes bonds that are part of no angle
        self.shifts_all = any(
            c.mlp_out.layers[-1].bias is not None or c.bond_norm is not None for c in convolves
        )

    def forward(
        self,
        batch: BondBatch,
        positions: Tensor,
        images: Tensor,
        describe: bool,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Energies without E0s (B,) and, if asked for, features (A, d).

        positions (A, 3); images (e, 3): added to the receiver's place. Features: the atoms' after
        every layer. embeddings (B, Z, c): of the elements, one table for every structure.
        """
        sender, centre = batch.edges
        vectors = positions[centre] + images - positions[sender]
        lengths = torch.linalg.vector_norm(vectors[batch.edge_of], dim=1)
        basis = self.bond_basis_expansion.rbf_expansion_ag(lengths)
        bonds, weights = self.bond_embedding(basis), self.bond_weights_ag(basis)
        if embeddings is None:
            atoms = self.atom_embedding["embedding"](batch.species)
        else:
            atoms = embeddings[batch.index, batch.species]
        turned = self._angles(batch, vectors, lengths) if len(self.bond_conv_layers) else None
        described = []
        for i, layer in enumerate(self.atom_conv_layers):
            atoms = atom_convolution(layer, atoms, bonds, weights, batch.edges, batch.bond_of)
            if turned is not None and i < len(self.bond_conv_layers):
                bonds = self._convolved(i, atoms, bonds, turned)
                if i < len(self.angle_layers):
                    update = self.angle_layers[i]
                    features = angle_update(update, atoms, bonds, turned.features, turned.graph)
                    turned = replace(turned, features=features)
            described.append(atoms)
        sites = self.mlp(self.readout_norm(atoms))[:, 0]
        energy = sites.new_zeros(len(batch)).index_add(0, batch.index, sites)
        return energy, torch.cat(described, 1) if describe else None

    def _angles(self, batch: BondBatch, vectors: Tensor, lengths: Tensor) -> "_Angles | None":
        """None where no structure has an angle."""
        one, other = batch.angles
        if not len(one):
            return None
        units = vectors / lengths[batch.bond_of][:, None]
        basis = self.bond_basis_expansion.rbf_expansion_bg(lengths)
        centre, bond_one, bond_other = batch.edges[1][one], batch.bond_of[one], batch.bond_of[other]
        turns = None
        if self.shifts_all:
            short = (lengths[bond_one] < self.bond_cutoff) & (
                lengths[bond_other] < self.bond_cutoff
            )
            bent = short.new_zeros(len(batch)).index_fill(0, batch.index[centre[short]], True)
            turns = bent[batch.index[batch.edges[1][batch.edge_of]]][:, None]
        return _Angles(
            self.angle_embedding(self.angle_basis_expansion(units[one], units[other])),
            torch.stack([centre, bond_one, bond_other]),
            self.bond_weights_bg(basis),
            turns,
        )

    def _convolved(self, i: int, atoms: Tensor, bonds: Tensor, angles: "_Angles") -> Tensor:
        layer = self.bond_conv_layers[i]
        moved = bond_convolution(layer, atoms, bonds, angles.weights, angles.features, angles.graph)
        # chgnet leaves this step out for a structure without angles: so in a batch as alone
        return moved if angles.turns is None else torch.where(angles.turns, moved, bonds)


@dataclass(frozen=True)
class _Angles:
    """Of a batch: features (a, c), graph (3, a) atom and two bonds, weights of bonds (u, c), and
    which bonds are of a structure with an angle (u, 1), None where that does not matter."""

    features: Tensor
    graph: Tensor
    weights: Tensor
    turns: Tensor | None
