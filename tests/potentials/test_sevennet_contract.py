"""SevenNet passes the contract: architectures, precisions, and a public model."""

from collections.abc import Callable

import pytest
import torch

pytest.importorskip("sevenn", reason="needs sevenn, which is not in this environment")

import sevennets
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential
from tunesmith.potentials.sevennet.sevennet_potential import SevenNetPotential
from tunesmith.testing import contract

MODELS: dict[str, Callable[[], Potential]] = {
    "vectors": lambda: sevennets.potential(sevennets.checkpoint()),
    "vectors-float32": lambda: sevennets.potential(sevennets.checkpoint(), dtype=torch.float32),
    # as 7net-0: no parity, a linear self connection, another cutoff function, given denominators
    "7net-0-like": lambda: sevennets.potential(
        sevennets.checkpoint(
            lmax=2,
            is_parity=False,
            self_connection_type="linear",
            cutoff_function={"cutoff_function_name": "XPLOR", "cutoff_on": 2.8},
        )
    ),
    "biases": lambda: sevennets.potential(
        sevennets.checkpoint(use_bias_in_linear=True, readout_as_fcn=True)
    ),
    "second-of-two-heads": lambda: sevennets.potential(sevennets.two_heads(), "two"),
    "7net-0": lambda: zoo.load("7net-0", dtype="float64"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Potential:
    return MODELS[request.param]()


@pytest.mark.parametrize("check", contract.checks(SevenNetPotential.capabilities))
def test_contract(model: Potential, check: contract.Check) -> None:
    check(model)
