"""Adapters against mace's own: unmerged layers, in every kind of block."""

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

import networks
from tunesmith.core import Weights
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.testing.compute import predict
from tunesmith.tune.lora import LoRA

#: e3nn's linear layers and radial networks; and torch's own linear layers beside them
KINDS: dict[str, dict[str, Any]] = {
    "vectors": {"radial_MLP": [6, 6]},
    "nonlinear": networks.NONLINEAR,
}


@cache
def network(kind: str) -> torch.nn.Module:
    return networks.native(seed=4, max_ell=1, **KINDS[kind])


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def adapted(potential: MACEPotential, subspace: LoRA, seed: int = 5) -> Weights:
    """Adapters with nothing small and nothing zero."""
    generator = torch.Generator().manual_seed(seed)
    start = subspace.start(potential, generator)
    return {
        k: torch.randn(w.shape, generator=generator, dtype=torch.float64) for k, w in start.items()
    }


def put_into(layer: Any, factors: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give one of mace's adapters our A and B of each of its irreps.

    mace has rank columns everywhere, and lets e3nn divide by the root of the rank where the layer
    is equivariant.
    """
    rank = round(1 / layer.scaling)
    equivariant = type(layer).__name__ == "LoRAO3Linear"
    firsts, seconds = [], []
    for a, b in factors:
        own = a.shape[1]  # ours is cut to what the layer can use, and α = 1 divided by that
        wide, tall = torch.zeros(len(a), rank), torch.zeros(rank, b.shape[1])
        wide[:, :own] = a
        tall[:own] = b * rank / own * (rank**0.5 if equivariant else 1)
        firsts.append(wide)
        seconds.append(tall)
    if equivariant:
        layer.lora_A.weight.data = torch.cat([x.flatten() for x in firsts])
        layer.lora_B.weight.data = torch.cat([x.flatten() for x in seconds])
    elif type(layer).__name__ == "LoRADenseLinear":
        layer.lora_A.weight.data, layer.lora_B.weight.data = firsts[0].T, seconds[0].T
    else:
        layer.lora_A.data, layer.lora_B.data = firsts[0], seconds[0]


@pytest.mark.parametrize(("kind", "rank"), [("vectors", 1), ("vectors", 3), ("nonlinear", 3)])
def test_same_function_as_mace(kind: str, rank: int) -> None:
    module = network(kind)
    potential = networks.potential(module)
    subspace = LoRA(rank=rank)
    moved = adapted(potential, subspace)
    lora = mace_files.module("mace.modules.lora")
    torch.set_default_dtype(torch.float64)
    try:
        theirs = copy.deepcopy(module)
        with mace_files.quiet():
            lora.inject_LoRAs(theirs, rank=rank, alpha=1)
        layers = {n: m for n, m in theirs.named_modules() if type(m).__name__.startswith("LoRA")}
        assert {f"{n}.weight" for n in layers} == {linear.weight for linear in potential.linears}
        for name, layer in layers.items():
            keys = [k for k in moved if k.startswith(f"{name}.weight|") and k.endswith("|A")]
            put_into(layer, [(moved[k], moved[k[:-1] + "B"]) for k in keys])
        calculators = mace_files.module("mace.calculators")
        atoms = ethanol()
        # with gradients, as here for the forces, mace's equivariant layers are not merged
        with mace_files.quiet():
            atoms.calc = calculators.MACECalculator(
                models=theirs, device="cpu", default_dtype="float64"
            )
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    finally:
        torch.set_default_dtype(torch.float32)
    ours = predict(potential, [ethanol()], weights=subspace.expand(potential.weights(), moved))
    zero = sum(potential.e0s[z] for z in atoms.numbers)
    before = predict(potential, [ethanol()])
    assert np.abs(ours.forces - before.forces).max() > 0.01, "the adapters do nothing"
    assert ours.energy[0] + zero == pytest.approx(energy, abs=1e-9 * abs(zero))
    np.testing.assert_allclose(ours.forces, forces, atol=1e-9 * np.abs(forces).max())


@pytest.mark.parametrize("kind", KINDS)
def test_each_irrep_changes_by_one_matrix_of_the_rank(kind: str) -> None:
    """As e3nn cuts its weights into irreps: over all channels of one, the change has rank r."""
    module = network(kind)
    potential = networks.potential(module)
    subspace = LoRA(rank=2, alpha=3.0)
    merged = subspace.expand(potential.weights(), adapted(potential, subspace))
    for linear in potential.linears:
        layer = module.get_submodule(linear.weight.removesuffix(".weight"))
        change = (merged[linear.weight] - potential.weights()[linear.weight]).reshape(-1)
        if not hasattr(layer, "instructions"):
            matrices = [change.view(layer.weight.shape)]
        else:
            outputs: dict[int, list[torch.Tensor]] = {}
            for _, path, view in layer.weight_views(change, yield_instruction=True):
                outputs.setdefault(path.i_out, []).append(view)
            matrices = [torch.cat(views) for views in outputs.values()]
        assert len(matrices) == len(linear.blocks)
        for matrix, block in zip(matrices, linear.blocks, strict=True):
            assert matrix.numel() == block.shape[0] * block.shape[1]
            assert torch.linalg.matrix_rank(matrix) == min(2, *matrix.shape), linear.weight
