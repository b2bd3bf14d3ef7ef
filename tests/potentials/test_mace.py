"""MACE behind the protocol: closed forms, names of layers, the embedded model's files."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import networks
from tunesmith.errors import ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.potential import Potential
from tunesmith.testing import compute


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    return networks.build(hidden_irreps="4x0e+4x1o")


def test_a_lone_atom_has_its_e0_and_the_shift(module: torch.nn.Module) -> None:
    """No neighbour, no message: what is left of the formula is the shift."""
    potential = networks.potential(module)
    assert list(potential.e0s.values()) == networks.E0S
    frames = [Atoms([z]) for z in potential.elements]
    compute.close(compute.energies(potential, frames), np.full(3, -0.5), 1e-12, "energy")


def test_e0s_never_meet_float32(module: torch.nn.Module) -> None:
    single, double = (networks.potential(module, d) for d in (torch.float32, torch.float64))
    assert single.e0s == double.e0s
    atoms = molecule("CH3CH2OH")
    found, expected = (compute.energies(p, [atoms])[0] for p in (single, double))
    # total energies of −4100 eV would differ by 2e-4
    assert found == pytest.approx(expected, abs=2e-6)


def test_blocks_of_linear_layers_are_their_matrices(module: torch.nn.Module) -> None:
    """Each layer computed from its blocks alone, irrep by irrep: y = xW / √(number of inputs)."""
    potential = networks.potential(module)
    native = dict(module.named_modules())
    weights = potential.weights()
    assert {"readouts.0.linear.weight", "interactions.1.linear_up.weight"} <= {
        linear.weight for linear in potential.linears
    }
    generator = torch.Generator().manual_seed(0)
    for linear in potential.linears:
        layer = native[linear.weight.removesuffix(".weight")]
        if not hasattr(layer, "irreps_in"):  # a radial layer: one scalar block, as it stands
            assert [b.shape for b in linear.blocks] == [tuple(weights[linear.weight].shape)]
            continue
        x = torch.randn(5, layer.irreps_in.dim, generator=generator, dtype=torch.float64)
        expected = layer(x)
        inputs, wanted = _by_irrep(layer.irreps_in, x), _by_irrep(layer.irreps_out, expected)
        found = {irrep: torch.zeros_like(values) for irrep, values in wanted.items()}
        for block in linear.blocks:
            rows, columns = block.shape
            matrix = weights[linear.weight][block.start :][: rows * columns].view(rows, columns)
            found[block.irrep] += (
                torch.einsum("nic,ij->njc", inputs[block.irrep], matrix) / rows**0.5
            )
        for irrep, values in wanted.items():
            torch.testing.assert_close(found[irrep], values)


def _by_irrep(irreps: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Channels of each irrep (n, channels, components), several pieces one after another."""
    parts: dict[str, list[torch.Tensor]] = {}
    for (count, irrep), where in zip(irreps, irreps.slices(), strict=True):
        parts.setdefault(str(irrep), []).append(x[:, where].view(len(x), count, irrep.dim))
    return {irrep: torch.cat(pieces, dim=1) for irrep, pieces in parts.items()}


def test_a_bias_is_no_block_of_the_weight() -> None:
    readout = mace_files.module("mace.modules").blocks.NonLinearBiasReadoutBlock
    potential = networks.potential(networks.native(readout_cls=readout))
    assert any(n.endswith("linear_mid.bias") for n in potential.names.readouts)
    linear = next(x for x in potential.linears if x.weight.endswith("linear_mid.weight"))
    assert [b.shape for b in linear.blocks] == [(4, 4)]


@pytest.mark.parametrize(
    ("made", "layers", "channels"),
    [
        (lambda: networks.build(hidden_irreps="4x0e+4x1o"), 2, 4),
        (lambda: networks.build(hidden_irreps="4x0e+4x1o", num_interactions=1), 1, 4),
        (lambda: networks.build(hidden_irreps="4x0e+4x1o+4x2e", num_interactions=3), 3, 4),
        # computed by mace's own blocks
        (lambda: networks.native(**networks.ATTENTION), 2, 4),
        (None, 2, 32),
    ],
    ids=["two", "one", "three", "blocks", "organic-xs"],
)
def test_features_are_the_descriptors_of_the_package(
    tmp_path: Path, made: Callable[[], torch.nn.Module] | None, layers: int, channels: int
) -> None:
    """The scalars of all layers, from mace's own pass over a molecule and a crystal."""
    if made is None:
        potential: Potential = zoo.load("organic-xs", dtype="float64")
    else:
        potential = networks.potential(made())
    potential.export(tmp_path / "a.model", potential.weights(), potential.e0s)
    native: Any = potential.native(tmp_path / "a.model")
    frames = [molecule("CH3CH2OH"), bulk("CO", "zincblende", 3.4).repeat((2, 1, 1))]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, rng=np.random.default_rng(i))
        found = compute.features(potential, [atoms])
        assert found.shape == (len(atoms), layers * channels)
        right = native.get_descriptors(atoms, invariants_only=True, num_layers=layers)
        compute.close(found, right, 1e-9, "features")


def test_precision_and_device_must_exist() -> None:
    with pytest.raises(ModelError, match="float32 or float64"):
        zoo.load("organic-xs", dtype="float16")
    with pytest.raises(ModelError, match="use cpu"):
        zoo.load("organic-xs", device="nowhere")


def test_the_embedded_model_in_the_precision_most_users_run() -> None:
    atoms = molecule("CH3CH2OH")
    single, double = (
        compute.predict(zoo.load("organic-xs", dtype=d), [atoms]) for d in ("float32", "float64")
    )
    compute.close(single.energy / 9, double.energy / 9, 1e-5, "energy per atom")
    compute.close(single.forces, double.forces, 1e-4, "forces")


def test_what_is_embedded_is_no_pickle() -> None:
    folder = resources.files("tunesmith.potentials") / "organic_xs"
    assert not [f.name for f in folder.iterdir() if f.name.endswith((".model", ".pt", ".pkl"))]
