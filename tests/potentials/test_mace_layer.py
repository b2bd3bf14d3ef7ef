"""Layers in one layout: which models take them, and the same numbers as mace's own blocks.

Energies, forces, stress and second derivatives are compared in test_mace_convolution, where the
unfused model runs mace's blocks.
"""

from typing import Any

import pytest
import torch

import networks
from test_mace_linear import turned
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_readout import Readout

TAKEN: dict[str, dict[str, Any]] = {
    "usual": {},
    "density": networks.DENSITY,
    "one layer": {"num_interactions": 1},
    "agnostic": {"use_agnostic_product": True, "edge_irreps": "2x0e+2x1o"},
    "all of the last layer": {"keep_last_layer_irreps": True},
}
LEFT: dict[str, dict[str, Any]] = {
    "nonlinear": networks.NONLINEAR,
    "attention": networks.ATTENTION,
    "four factors": {"correlation": 4},
    "different channels": {"hidden_irreps": "4x0e+2x1o"},
}


def _native(changes: dict[str, Any]) -> torch.nn.Module:
    o3 = mace_files.module("e3nn.o3")
    if "edge_irreps" in changes:
        changes = changes | {"edge_irreps": o3.Irreps(changes["edge_irreps"])}
    return networks.native(**changes)


@pytest.mark.parametrize("name", TAKEN)
def test_models_that_take_it(name: str) -> None:
    assert networks.potential(_native(TAKEN[name]))._path.sorts


@pytest.mark.parametrize("name", LEFT)
def test_models_that_do_not(name: str) -> None:
    assert not networks.potential(_native(LEFT[name]))._path.sorts


def test_readouts() -> None:
    """mace's two usual ones by matrices; one with biases as it is."""
    blocks = mace_files.module("mace.modules").blocks
    o3 = mace_files.module("e3nn.o3")
    irreps, scalars, one = o3.Irreps("4x0e+4x1o"), o3.Irreps("3x0e"), o3.Irreps("1x0e")
    gate = torch.nn.functional.silu
    torch.manual_seed(0)
    with mace_files.quiet():
        cases = (
            (blocks.LinearReadoutBlock(irreps, one), 1),
            (blocks.NonLinearReadoutBlock(irreps, scalars, gate, one), 2),
            (blocks.NonLinearBiasReadoutBlock(irreps, scalars, gate, one), 0),
        )
    x = torch.randn(5, irreps.dim)
    for block, matrices in cases:
        ours = Readout(block, irreps)
        assert len(ours.linears) == matrices
        torch.testing.assert_close(ours.float()(turned(x, irreps)), block(x)[:, 0])
