"""CHGNet as a backend: every use of chgnet in the package is in this folder.

Energies are summed over atoms and computed from our own neighbour lists, without a cell where the
structure has none, in float32 as chgnet does or in float64 as it cannot. The weights of magnetic
moments play no part in energies: they are neither offered nor changed.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch.func import functional_call

from tunesmith.core import Base, Tensor, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials.chgnet import chgnet_files
from tunesmith.potentials.chgnet.chgnet_calculator import BoxedCalculator
from tunesmith.potentials.chgnet.chgnet_energy import EnergyPath
from tunesmith.potentials.chgnet.chgnet_files import Checkpoint, NativeModule
from tunesmith.potentials.chgnet.chgnet_graph import BondGraph, bond_batch_of, bond_graph_of
from tunesmith.potentials.chgnet.chgnet_weights import weight_names
from tunesmith.potentials.graphs import batch_of, evaluated, graph_of, placed
from tunesmith.potentials.linears import linears
from tunesmith.potentials.potential import (
    Batch,
    Capabilities,
    Evaluation,
    Graph,
    OneByOne,
    WeightNames,
)

#: elements that have a row in every CHGNet and were in no training data: Po, At, Rn, Fr, Ra
_UNTRAINED = range(84, 89)
#: the weights by element
EMBEDDING = "atom_embedding.embedding.weight"


class CHGNetPotential(OneByOne):
    """A CHGNet behind the `Potential` protocol.

    checkpoint: read by `chgnet_files.load`; it is copied to ``dtype`` and ``device``. base: where
    it came from.
    """

    capabilities = Capabilities(
        float64=True,
        stress=True,
        needs_cell=False,
        embedding=True,
        native_float64=False,
        native_needs_cell=True,
    )

    def __init__(
        self,
        checkpoint: Checkpoint,
        base: Base,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.base = base
        self.dtype, self.device = dtype, torch.device(device)
        e0s = [float(e) for e in checkpoint.e0s.double()]
        self.elements = tuple(
            z for z, e0 in enumerate(e0s, start=1) if z not in _UNTRAINED and not _unfitted(e0)
        )
        self.e0s = {z: e0s[z - 1] for z in self.elements}
        self._checkpoint = checkpoint
        self.cutoff = float(checkpoint.module.graph_converter.atom_graph_cutoff)
        self._path = self._path_of(copy.deepcopy(checkpoint.module)).to(self.device)
        self.names = weight_names(self._path)
        self.linears = tuple(linears(self._path))

    @property
    def _rows(self) -> Tensor:
        """The rows of our elements in the file's embedding, which starts at hydrogen."""
        return torch.tensor(self.elements) - 1

    def _path_of(self, module: NativeModule) -> EnergyPath:
        return EnergyPath(module, self._rows).to(self.dtype).eval().requires_grad_(False)

    def weights(self) -> Weights:
        """Every weight that the energy depends on by name, as fresh tensors without gradient."""
        return _weights(self._path, self.names)

    def untaught(self, generator: torch.Generator) -> Weights:
        """Weights of a new CHGNet, which chgnet draws from a seed that ``generator`` gives."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = chgnet_files.build(self._checkpoint.args)
        return _weights(self._path_of(fresh).to(self.device), self.names)

    def graph(self, atoms: Atoms, skin: float = 0.0) -> Graph:
        plain = graph_of(
            atoms,
            elements=self.elements,
            source=self.base.source,
            reach=self.cutoff + skin,
            dtype=self.dtype,
        )
        return bond_graph_of(plain, self._path.bond_cutoff + skin)

    def batch(self, graphs: list[Graph]) -> Batch:
        plain = batch_of(graphs, self.device, self.dtype)
        return bond_batch_of(plain, cast(list[BondGraph], graphs))

    def evaluate(
        self,
        weights: Weights,
        batch: Batch,
        *,
        forces: bool = True,
        stress: bool = False,
        features: bool = False,
        create_graph: bool = False,
    ) -> Evaluation:
        """Energy without E0s, forces, stress, features of a batch from the given weights."""
        return evaluated(
            lambda positions, strain: self._call(weights, batch, positions, strain, features),
            batch,
            forces=forces,
            stress=stress,
            create_graph=create_graph,
        )

    def features(self, weights: Weights, batch: Batch) -> Tensor:
        """Atom features after every layer, concatenated (A, layers × 64 in the published models).

        The last layer's too as its convolution leaves them: their normalisation is the readout's.
        """
        _, described = self._call(weights, batch, batch.positions, None, True)
        assert described is not None
        return described

    def embedding_gradient(self, weights: Weights, batch: Batch) -> Tensor:
        """dE/dW (B, Z, c) by one backward pass: every structure has a copy of W of its own."""
        own = weights[EMBEDDING].detach()
        with torch.enable_grad():
            copies = own.expand(len(batch), -1, -1).clone().requires_grad_()
            energy, _ = self._call(weights, batch, batch.positions, None, False, copies)
            (gradient,) = torch.autograd.grad(energy.sum(), copies)
        return gradient

    def _call(
        self,
        weights: Weights,
        batch: Batch,
        positions: Tensor,
        strain: Tensor | None,
        features: bool,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Energies (B,) and, if asked for, features from weights and moved positions.

        embeddings (B, Z, c): of the elements, one for every structure.
        """
        inputs = (batch, *placed(batch, positions, strain), features, embeddings)
        return functional_call(self._path, weights, inputs, tie_weights=False)

    def native(self, path: Path) -> Calculator:
        """`CHGNetCalculator` of an exported file, float32, in a box where there is no cell."""
        checkpoint, _ = chgnet_files.load(path)
        return BoxedCalculator(checkpoint)

    def export(
        self,
        path: Path,
        weights: Weights,
        e0s: dict[int, float],
        others: Mapping[str, tuple[Weights, dict[int, float]]] | None = None,
    ) -> None:
        """Write a checkpoint that `CHGNet.from_file` and `CHGNetCalculator.from_file` load.

        In the precision of ``weights``; chgnet reads it as float32.
        """
        if others:
            self.check_heads()
        own = weights[EMBEDDING].detach().cpu()
        table = self._checkpoint.module.state_dict()[EMBEDDING].to(own.dtype, copy=True)
        table[self._rows] = own
        chgnet_files.write(self._checkpoint, path, {**weights, EMBEDDING: table}, e0s)

    def check_heads(self) -> None:
        """Raises `ModelError`: a CHGNet file has a single head."""
        raise ModelError(
            f"{self.base.source}: a CHGNet file cannot keep several heads; replay into one head, "
            "or use a MACE model."
        )


def _weights(path: EnergyPath, names: WeightNames) -> Weights:
    state = path.state_dict()
    return {name: state[name].detach().clone() for name in names.trainable()}


def _unfitted(e0: float) -> bool:
    """Whether a fit of reference energies saw nothing of an element: its solution is zero, up to
    rounding, as for Yb in MP-r2SCAN. Zeros that somebody chose are exact."""
    return 0.0 < abs(e0) < 1e-9
