"""MACE as a backend: every use of mace-torch and e3nn in the package is in this folder.

Weights are passed in, never stored: `torch.func.functional_call` runs the module on any set of
them, double backward included.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch.func import functional_call, vmap

from tunesmith.core import Base, Tensor, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials.convolution import regular_layout
from tunesmith.potentials.graphs import (
    batch_of,
    evaluated,
    graph_of,
    moving,
    placed,
    stress_of,
)
from tunesmith.potentials.linears import linears
from tunesmith.potentials.mace import mace_files, mace_multihead
from tunesmith.potentials.mace.mace_contraction import join
from tunesmith.potentials.mace.mace_energy import EnergyPath
from tunesmith.potentials.mace.mace_files import NativeModule
from tunesmith.potentials.mace.mace_interactions import can_fuse, fuse
from tunesmith.potentials.mace.mace_radial import fold
from tunesmith.potentials.mace.mace_untaught import fresh
from tunesmith.potentials.mace.mace_weights import weight_names
from tunesmith.potentials.potential import (
    Batch,
    Capabilities,
    Evaluation,
    Graph,
    one_by_one,
)

#: edges × channels up to which a CPU computes all members at once in less time than one by one
#: (measured: 8 members of 32 and 64 channels; above, their arrays no longer fit its caches)
_SMALL = 32_000


class MACEPotential:
    """A single-head MACE or ScaleShiftMACE module behind the `Potential` protocol.

    module: in its own precision; it is copied to ``dtype`` and ``device``. base: where it came
    from. E0s are taken in the file's precision before that.
    """

    capabilities = Capabilities(
        float64=True, stress=True, needs_cell=False, embedding=True, native_float64=True
    )

    def __init__(
        self,
        module: NativeModule,
        base: Base,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.base = base
        self.dtype, self.device = dtype, torch.device(device)
        self.elements = tuple(int(z) for z in module.atomic_numbers)
        self.cutoff = float(module.r_max)
        e0s = module.atomic_energies_fn.atomic_energies.detach().double().cpu().reshape(-1)
        self.e0s = {z: float(e) for z, e in zip(self.elements, e0s, strict=True)}
        self._native = module.cpu()
        with mace_files.quiet():
            copied = copy.deepcopy(module)
        # a module that cannot be fused runs as it is, on edges without padding
        self._fused = can_fuse(module)
        fused = fold(join(fuse(copied) if self._fused else copied))
        self._module = fused.to(device=self.device, dtype=dtype).eval()
        for parameter in self._module.parameters():
            parameter.requires_grad_(False)
        self.names = weight_names(self._module)
        self.linears = tuple(linears(self._module))
        self._path = EnergyPath(self._module).to(device=self.device, dtype=dtype)
        self._stacks = self._path.takes_stacks()
        self._joins = False  # not known yet

    def weights(self) -> Weights:
        """Every weight of the model by name, as fresh tensors that require no gradient."""
        state = self._module.state_dict()
        wanted = (*self.names.trainable(), *self.names.scale)
        return {name: state[name].detach().clone() for name in wanted}

    def untaught(self, generator: torch.Generator) -> Weights:
        """Weights as mace starts from, drawn from ``generator``; scale and shift are kept."""
        return fresh(self._native, self.names.trainable(), self.weights(), generator)

    def graph(self, atoms: Atoms, skin: float = 0.0) -> Graph:
        return graph_of(
            atoms,
            elements=self.elements,
            source=self.base.source,
            # what is fused takes edges longer than the cutoff for padding
            reach=self.cutoff + (skin if self._fused else 0.0),
            dtype=self.dtype,
        )

    def batch(self, graphs: list[Graph]) -> Batch:
        layout = regular_layout if self._fused else None
        return batch_of(graphs, self.device, self.dtype, layout)

    def _inputs(self, batch: Batch, positions: Tensor, strain: Tensor | None) -> dict[str, Tensor]:
        positions, images = placed(batch, positions, strain)
        return {
            "positions": positions,
            "species": batch.species,
            "edge_index": batch.edges,
            # padding is longer than the cutoff, where radial weights are exactly zero
            "shifts": images + 2 * self.cutoff * batch.padding[:, None],
            "batch": batch.index,
            "counts": batch.counts,
        }

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

    def evaluate_members(
        self,
        shared: Weights,
        stacked: Weights,
        batch: Batch,
        *,
        each: bool = True,
        stress: bool = False,
        features: bool = False,
        create_graph: bool = False,
    ) -> Evaluation:
        """All members in one pass where that takes less time, else one by one."""
        members = len(next(iter(stacked.values())))
        options = {"stress": stress, "features": features, "create_graph": create_graph}
        if members == 1 or not self._stacks or not self._is_small(batch):
            return one_by_one(self, shared, stacked, batch, each=each, **options)
        return self._in_one_pass(shared, stacked, batch, members if each else None, **options)

    def _in_one_pass(
        self,
        shared: Weights,
        stacked: Weights,
        batch: Batch,
        members: int | None,
        *,
        stress: bool,
        features: bool,
        create_graph: bool,
    ) -> Evaluation:
        """All members at once; members: how many, None for the gradient of their mean energy."""
        moved = {"positions": moving(batch, create_graph)}
        if stress:
            moved["strain"] = torch.zeros_like(batch.cell)
        if members:
            moved = {k: v.expand(members, *v.shape) for k, v in moved.items()}

        def one(own: Weights, moved: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            weights = {**shared, **own}
            places = (moved["positions"], moved.get("strain"))
            energy, described = self._call(weights, batch, *places, features)
            return energy, energy if described is None else described

        with torch.enable_grad():
            moved = {k: v.clone().requires_grad_() for k, v in moved.items()}
            run = vmap(one, in_dims=(0, 0 if members else None))
            energy, described = run(stacked, moved)
            summed = energy.sum() if members else energy.mean(0).sum()
            gradients = torch.autograd.grad(
                summed, list(moved.values()), create_graph=create_graph, materialize_grads=True
            )
        if not create_graph:
            energy, described = energy.detach(), described.detach()
        tensor = stress_of(gradients[1], batch) if stress else None
        return Evaluation(energy, -gradients[0], tensor, described if features else None)

    def _is_small(self, batch: Batch) -> bool:
        """Whether the members' arrays fit a CPU's caches together; a GPU takes all it holds."""
        channels = self._module.node_embedding.linear.irreps_out.dim
        return self.device.type != "cpu" or batch.edges.shape[-1] * channels <= _SMALL

    def features(self, weights: Weights, batch: Batch) -> Tensor:
        """Scalars after every interaction layer, concatenated (A, layers × channels)."""
        _, described = self._call(weights, batch, batch.positions, None, True)
        assert described is not None
        return described

    def embedding_gradient(self, weights: Weights, batch: Batch) -> Tensor:
        """dE/dW (B, Z, c) by one backward pass: every structure has a copy of W of its own."""
        if self._path.embedding is None:
            raise ModelError(
                f"{self.base.source}: its node embedding is not mace's own, so there is no "
                "gradient by element; represent structures by activations."
            )
        own = weights["node_embedding.linear.weight"].detach()
        with torch.enable_grad():
            copies = own.expand(len(batch), -1).clone().requires_grad_()
            energy, _ = self._call(weights, batch, batch.positions, None, False, copies)
            (gradient,) = torch.autograd.grad(energy.sum(), copies)
        return gradient.view(len(batch), len(self.elements), -1)

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

        embeddings (B, Z·c): of the node embedding, one for every structure.
        """
        data = self._inputs(batch, positions, strain)
        if embeddings is not None:
            data["embeddings"] = embeddings
        inputs = (data, features)
        # TorchScript would rewrite its pieces after their first run, to other last bits: a resumed
        # process would leave the path of an uninterrupted one.
        with torch.jit.optimized_execution(False):
            # looking for tied weights, of which there are none, would take an eighth of the time
            return functional_call(self._path, weights, inputs, tie_weights=False)

    def native(self, path: Path) -> Calculator:
        """`MACECalculator` of an exported file, float64."""
        return mace_files.calculator(path)

    def export(
        self,
        path: Path,
        weights: Weights,
        e0s: dict[int, float],
        others: Mapping[str, tuple[Weights, dict[int, float]]] | None = None,
    ) -> None:
        """Write a float64 ``.model`` that `MACECalculator` and the LAMMPS exporter load.

        With ``others``, this head is "Default", mace's choice where none is named, and the last.
        """
        if not others:
            mace_files.write(self._native, path, weights, [e0s[z] for z in self.elements])
            return
        self.check_heads()
        mace_multihead.write(self._native, self.names, path, (weights, e0s), others)

    def check_heads(self) -> None:
        """Join two heads and take one out again, once. Raises `ModelError` where that fails."""
        if not self._joins:
            mace_multihead.check(self._native, self.names)
            self._joins = True
