"""SevenNet's way from positions to energies: its own layers, without its forces and its E0s.

sevenn's layers hand a dictionary on. What comes before them (edge vectors, one-hot species) and
after them (scale, sum over atoms) is done here, since there every tensor keeps the precision and
the graph of what it came from; and messages are passed by `convolution`, which takes edges in its
regular layout.
"""

import torch

from tunesmith.core import Tensor
from tunesmith.errors import ModelError
from tunesmith.potentials.convolution import Convolution
from tunesmith.potentials.sevennet.sevennet_files import RESCALE, NativeModule, module

#: layers whose work is done here
_OURS = {
    "onehot_idx_to_onehot",
    "one_hot_modality",
    RESCALE,
    "reduce_total_enegy",  # as sevenn spells it
    "force_output",
}
EMBEDDING = "onehot_to_feature_x"


class EnergyPath(torch.nn.Module):
    """Energies without E0s, and invariant features, of a batch.

    model: sevenn's. head: place of the modality among ``heads`` of them, None where there is one.
    """

    def __init__(self, model: NativeModule, head: int | None, heads: int) -> None:
        super().__init__()
        self.model = model
        self._keys = module("sevenn._keys")
        self._layers = [n for n in model._modules if n not in _OURS]
        self._scalars = self._invariant()
        self._elements = int(model.onehot_idx_to_onehot.num_classes)
        self._head, self._heads = head, heads
        self.cutoff = float(model.cutoff)
        self._convolutions = self._fused()

    def _invariant(self) -> dict[str, list[slice]]:
        """Columns of scalars in what every interaction ends with, by the name of that layer."""
        found = {}
        for name in self._layers:
            if name.endswith("_equivariant_gate"):
                irreps = getattr(self.model, name).gate.irreps_out
                pieces = zip(irreps, irreps.slices(), strict=True)
                # not 0o: a mirror turns its sign, and no energy
                found[name] = [where for (_, irrep), where in pieces if str(irrep) == "0e"]
        return found

    def _fused(self) -> torch.nn.ModuleDict:
        """The fast convolution of every layer, under the name of sevenn's."""
        wigner = module("e3nn.o3").wigner_3j
        found = torch.nn.ModuleDict()
        for name in self._layers:
            if name.endswith("_convolution"):
                product = getattr(self.model, name).convolution
                if not Convolution.fits(product):
                    raise ModelError(
                        f"{name} is no convolution as sevenn 0.13 makes it; use a checkpoint of "
                        "its own layers."
                    )
                found[name] = Convolution(product, wigner)
        return found

    def forward(
        self,
        positions: Tensor,
        images: Tensor,
        edges: Tensor,
        species: Tensor,
        index: Tensor,
        count: int,
        describe: bool,
        embeddings: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Energies (B,) and, if asked for, scalars of every layer (A, layers × c).

        positions (A, 3) Å; images (e, 3) Å, added to the receiver of an edge; edges (2, e), sender
        and receiver, in the regular layout of `convolution`; species (A,); index (A,), the
        structure of each atom; count: B. embeddings (B, Z·c): the species' weights once for every
        structure, to be differentiated.
        """
        keys = self._keys
        # from the receiver, as sevenn has it
        vectors = positions[edges[0]] - positions[edges[1]] - images
        # longer edges, of a skin or of padding, count for nothing, as no cutoff of sevenn's says
        near = vectors.detach().square().sum(1) < self.cutoff**2
        one_hot = torch.nn.functional.one_hot(species, self._elements).to(positions.dtype)
        data = {
            keys.EDGE_VEC: vectors,
            keys.NODE_FEATURE: one_hot,
            keys.NODE_ATTR: one_hot,
            keys.ATOM_TYPE: species,
            keys.BATCH: index,
        }
        if self._head is not None:
            chosen = torch.full((count,), self._head, device=species.device)
            data[keys.MODAL_ATTR] = torch.nn.functional.one_hot(chosen, self._heads)
        described: list[Tensor] = []
        for name in self._layers:
            layer = getattr(self.model, name)
            if name in self._convolutions:
                weights = layer.weight_nn(data[keys.EDGE_EMBEDDING]) * near[:, None]
                passed = self._convolutions[name](
                    data[keys.NODE_FEATURE], data[keys.EDGE_ATTR], weights, edges
                )
                data[keys.NODE_FEATURE] = passed / layer.denominator
                continue
            data = layer(data)
            if describe and name in self._scalars:
                described += [data[keys.NODE_FEATURE][:, where] for where in self._scalars[name]]
            if name == EMBEDDING and embeddings is not None:
                data[keys.NODE_FEATURE] = data[keys.NODE_FEATURE] + self._moved(
                    embeddings, species, index
                )
        scale = getattr(self.model, RESCALE).scale
        atoms = data[keys.SCALED_ATOMIC_ENERGY][:, 0] * self._of(scale, species)
        energy = atoms.new_zeros(count).index_add(0, index, atoms)
        return energy, torch.cat(described, 1) if describe else None

    def _of(self, values: Tensor, species: Tensor) -> Tensor:
        """Numbers of every element, perhaps for every modality, for each atom."""
        return (values if values.dim() == 1 else values[self._head])[species]

    def _moved(self, embeddings: Tensor, species: Tensor, index: Tensor) -> Tensor:
        """What a structure's own weights add to the first features of its atoms: nothing, but
        with their gradient. Scaled as e3nn does."""
        path = self.embedding()
        rows = (embeddings - embeddings.detach()).view(len(embeddings), *path.path_shape)
        return rows[index, species] * path.path_weight

    def embedding(self) -> NativeModule:
        """The matrix (Z, c) inside the embedding layer's weight, where it comes first: rows of a
        modality may follow."""
        return getattr(self.model, EMBEDDING).linear.instructions[0]
