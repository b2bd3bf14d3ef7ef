"""MACE passes the contract: architectures, precisions, and the embedded model."""

from collections.abc import Callable

import pytest
import torch

import networks
from tunesmith.potentials import zoo
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.potentials.potential import Potential
from tunesmith.testing import contract

MODELS: dict[str, Callable[[], Potential]] = {
    "scalar": lambda: networks.potential(networks.build(hidden_irreps="16x0e")),
    "vectors": lambda: networks.potential(networks.build(hidden_irreps="16x0e+16x1o")),
    "vectors-float32": lambda: networks.potential(
        networks.build(hidden_irreps="16x0e+16x1o"), torch.float32
    ),
    "correlation-3": lambda: networks.potential(networks.build(max_ell=3, correlation=3)),
    # as MACE-OMAT: density normalisation, Agnesi transform, ZBL
    "omat-like": lambda: networks.potential(
        networks.native(
            **networks.DENSITY, distance_transform="Agnesi", pair_repulsion=True, max_ell=3
        )
    ),
    "organic-xs": lambda: zoo.load("organic-xs", dtype="float64"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Potential:
    return MODELS[request.param]()


@pytest.mark.parametrize("check", contract.checks(MACEPotential.capabilities))
def test_contract(model: Potential, check: contract.Check) -> None:
    check(model)
