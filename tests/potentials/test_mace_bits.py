"""The same numbers to the last bit, from a process's first evaluation on: resuming rests on it."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ase.build import molecule

import networks
from tunesmith.core import Tensor
from tunesmith.potentials import zoo
from tunesmith.potentials.mace.mace_potential import MACEPotential

NAMES = ("omat-like", "organic-xs")
REPEATS = 3


def _model(name: str) -> MACEPotential:
    if name == "organic-xs":
        return zoo.load(name, dtype="float32")
    # with all that mace itself writes in TorchScript: density, Agnesi, ZBL
    changes = {"distance_transform": "Agnesi", "pair_repulsion": True, "max_ell": 3}
    return networks.potential(networks.native(**networks.DENSITY, **changes), torch.float32)


def _evaluations(potential: MACEPotential) -> Iterator[list[Tensor]]:
    """Plain, with a graph and the gradient of the squared forces, features: again and again."""
    weights = potential.weights()
    own = {k: weights[k].requires_grad_() for k in potential.names.trainable()}
    batch = potential.batch([potential.graph(molecule(m)) for m in ("CH3OH", "H2O")])
    for _ in range(REPEATS):
        plain = potential.evaluate(potential.weights(), batch)
        bent = potential.evaluate(weights | own, batch, create_graph=True, features=True)
        slopes = torch.autograd.grad(
            bent.forces.square().sum(), list(own.values()), materialize_grads=True
        )
        features = potential.features(potential.weights(), batch)
        yield [plain.energy, plain.forces, bent.energy, bent.forces, *slopes, features]


def _digests() -> list[list[str]]:
    """One digest for each evaluation of each model."""
    return [
        [
            hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in found)).hexdigest()
            for found in _evaluations(_model(name))
        ]
        for name in NAMES
    ]


@pytest.mark.slow
def test_every_evaluation_of_every_process_has_the_same_bits() -> None:
    here = [str(Path(file).parent) for file in (__file__, networks.__file__)]
    lines = f"import json, sys; sys.path[:0] = {here!r}; import test_mace_bits as t;"
    fresh = subprocess.run(
        [sys.executable, "-c", f"{lines} print(json.dumps(t._digests()))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # this process may have evaluated other models before
    for there, here_too in zip(json.loads(fresh.stdout), _digests(), strict=True):
        assert len(there) == REPEATS
        assert {*there} == {*here_too} == {there[0]}
