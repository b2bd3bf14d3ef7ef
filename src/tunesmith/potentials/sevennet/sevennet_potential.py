"""SevenNet as a backend: every use of sevenn in the package is in this folder.

Weights are passed in, never stored: `torch.func.functional_call` runs the module on any set of
them, double backward included. A model of several modalities is taken with one of them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch.func import functional_call

from tunesmith.core import Base, Tensor, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials.convolution import regular_layout
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
from tunesmith.potentials.sevennet import sevennet_files
from tunesmith.potentials.sevennet.sevennet_energy import EMBEDDING, EnergyPath
from tunesmith.potentials.sevennet.sevennet_files import RESCALE, Checkpoint, NativeModule

_LAYER = re.compile(r"(\d+)_")


class SevenNetPotential(OneByOne):
    """A SevenNet model, with one of its modalities, behind the `Potential` protocol.

    checkpoint: as read; the model is built of it in ``dtype`` on ``device``. head: the modality,
    None where there is one. base: where it came from.
    """

    capabilities = Capabilities(
        float64=True, stress=True, needs_cell=False, embedding=True, native_float64=False
    )

    def __init__(
        self,
        checkpoint: Checkpoint,
        head: str | None,
        base: Base,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.base = base
        self.dtype, self.device = dtype, torch.device(device)
        self._checkpoint, self._head = checkpoint, head
        model = checkpoint.build()
        model.load_state_dict(checkpoint.state)
        model.set_is_batch_data(True)
        types = sorted(model.type_map.items(), key=lambda item: item[1])
        self.elements = tuple(int(z) for z, _ in types)
        self.cutoff = float(model.cutoff)
        self.e0s = dict(zip(self.elements, self._shift(checkpoint.state).tolist(), strict=True))
        self.names = _names(model)
        self._module = model.to(device=self.device, dtype=dtype).eval()
        for parameter in self._module.parameters():
            parameter.requires_grad_(False)
        known = set(self.names.trainable())
        self.linears = tuple(layer for layer in linears(self._module) if layer.weight in known)
        heads = checkpoint.heads
        place = None if head is None else int(checkpoint.config["_modal_map"][head])
        path = EnergyPath(self._module, place, len(heads))
        self._path = path.to(device=self.device, dtype=dtype)

    def _shift(self, state: Weights) -> Tensor:
        """E0s of a state by element, eV: the modality's own where it has its own; a view."""
        shift = state[f"{RESCALE}.shift"]
        if shift.dim() == 1:
            return shift
        return shift[self._checkpoint.config["_modal_map"][self._head]]

    def weights(self) -> Weights:
        """Every weight of the model by name, as fresh tensors that require no gradient."""
        return self._known(self._module.state_dict())

    def _known(self, state: Weights) -> Weights:
        names = (*self.names.trainable(), *self.names.scale)
        return {n: state[n].detach().clone().to(self.device, self.dtype) for n in names}

    def untaught(self, generator: torch.Generator) -> Weights:
        """Weights as sevenn starts from, drawn from ``generator``; the scale is kept."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = self._known(self._checkpoint.build().state_dict())
        own = self.weights()
        return fresh | {name: own[name] for name in self.names.scale}

    def graph(self, atoms: Atoms, skin: float = 0.0) -> Graph:
        return graph_of(
            atoms,
            elements=self.elements,
            source=self.base.source,
            reach=self.cutoff + skin,
            dtype=self.dtype,
        )

    def batch(self, graphs: list[Graph]) -> Batch:
        return batch_of(graphs, self.device, self.dtype, regular_layout)

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
        """Scalars after every interaction, concatenated (A, layers × channels).

        The last layer's are those that the readout reads.
        """
        _, described = self._call(weights, batch, batch.positions, None, True)
        assert described is not None
        return described

    def embedding_gradient(self, weights: Weights, batch: Batch) -> Tensor:
        """dE/dW (B, Z, c) by one backward pass: every structure has a copy of W of its own."""
        rows, channels = self._path.embedding().path_shape
        own = weights[f"{EMBEDDING}.linear.weight"].detach()[: rows * channels]
        with torch.enable_grad():
            copies = own.expand(len(batch), -1).clone().requires_grad_()
            energy, _ = self._call(weights, batch, batch.positions, None, False, copies)
            (gradient,) = torch.autograd.grad(energy.sum(), copies)
        return gradient.view(len(batch), rows, channels)

    def _call(
        self,
        weights: Weights,
        batch: Batch,
        positions: Tensor,
        strain: Tensor | None,
        features: bool,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Energies (B,) and, if asked for, features from weights and moved positions."""
        positions, images = placed(batch, positions, strain)
        # padding leads from an atom to itself; made longer than the cutoff
        images = images + 2 * self.cutoff * batch.padding[:, None]
        edges, species, index = batch.edges, batch.species, batch.index
        inputs = (positions, images, edges, species, index, len(batch), features, embeddings)
        named = {f"model.{name}": value for name, value in weights.items()}
        # TorchScript would rewrite its pieces after their first run, to other last bits
        with torch.jit.optimized_execution(False):
            return functional_call(self._path, named, inputs, tie_weights=False)

    def native(self, path: Path) -> Calculator:
        """`SevenNetCalculator` of an exported file, float32."""
        return sevennet_files.calculator(path, self._head)

    def export(
        self,
        path: Path,
        weights: Weights,
        e0s: dict[int, float],
        others: Mapping[str, tuple[Weights, dict[int, float]]] | None = None,
    ) -> None:
        """Write a float32 checkpoint that `SevenNetCalculator` and sevenn's tools load.

        One of several modalities stays so, and is the one to be named; the others are no longer
        what they were, since they share its weights.
        """
        if others:
            self.check_heads()
        state = {k: v.clone() for k, v in self._checkpoint.state.items()}
        state |= {k: v.detach().cpu().float() for k, v in weights.items()}
        self._shift(state).copy_(torch.tensor([e0s[z] for z in self.elements]))
        sevennet_files.write(self._checkpoint, path, state, self._head)

    def check_heads(self) -> None:
        """Raises `ModelError`: a checkpoint has one set of readouts."""
        raise ModelError(
            f"{self.base.source}: a SevenNet file cannot keep a replay head; leave keep_head out."
        )


def _names(model: NativeModule) -> WeightNames:
    """Names of all weights by part; those that sevenn holds fixed are left out."""
    trained = [n for n, p in model.named_parameters() if p.numel() and p.requires_grad]
    trained = [n for n in trained if not n.startswith(f"{RESCALE}.")]
    layers: dict[int, list[str]] = {}
    for name in trained:
        if match := _LAYER.match(name):
            layers.setdefault(int(match[1]), []).append(name)
    before = ("edge_embedding.", f"{EMBEDDING}.")
    return WeightNames(
        embedding=tuple(n for n in trained if n.startswith(before)),
        interactions=tuple(tuple(layers[i]) for i in sorted(layers)),
        # sevenn's blocks have no products of their own
        products=tuple(() for _ in layers),
        readouts=tuple(n for n in trained if n.startswith(("reduce_", "readout_"))),
        scale=(f"{RESCALE}.scale",),
    )
