"""The check of an exported file: wrong weights are seen, rounding of large energies is not one."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from fitted import base_file
from tunesmith.core import E0s, Weights
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.posterior.export import check_export
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential

E0 = {1: -13.5, 6: -1030.25, 8: -2040.125}


@pytest.fixture
def potential(tmp_path: Path) -> Potential:
    return zoo.load(str(base_file(tmp_path / "base.model")), dtype="float32")


@pytest.fixture
def judges() -> list[Atoms]:
    rng = np.random.default_rng(0)
    ethanol = np.array([[0, 0, 0], [1.5, 0, 0], [2.0, 1.3, 0], [2.9, 1.3, 0.1]])
    return [Atoms("CCOH", ethanol + rng.normal(0, 0.1, (4, 3))) for _ in range(3)]


def scaled(potential: Potential, factor: float) -> Weights:
    """The network's energies, and with them its forces, ``factor`` times as large."""
    weights = potential.weights()
    return {n: w * factor if n in potential.names.readouts else w for n, w in weights.items()}


def test_a_network_that_carries_hundreds_of_ev(
    potential: Potential, judges: list[Atoms], tmp_path: Path
) -> None:
    path, e0s = tmp_path / "final.model", E0s(E0)
    own = Ensemble(potential, [potential.weights()], e0s).predict(judges).mean.energy
    binding = (own - [e0s.total(a.numbers) for a in judges]) / 4
    weights = scaled(potential, 400 / np.abs(binding).min())
    potential.export(path, weights, E0, None)
    tuned = Ensemble(potential, [weights], e0s)
    carried = tuned.predict(judges).mean.energy - [e0s.total(a.numbers) for a in judges]
    assert np.abs(carried / 4).min() > 350
    check_export(path, tuned, judges)


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_other_weights_are_seen(
    potential: Potential, judges: list[Atoms], tmp_path: Path, factor: float
) -> None:
    path = tmp_path / "final.model"
    potential.export(path, scaled(potential, 1.01 * factor), E0, None)
    with pytest.raises(ModelError, match="does not reproduce the tuned model"):
        check_export(path, Ensemble(potential, [scaled(potential, factor)], E0s(E0)), judges)
