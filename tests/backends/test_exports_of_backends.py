"""Model files of float32 packages: rounding of large total energies is none of their faults."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from backends import SMALL, cells, load, structures
from tunesmith.core import E0s
from tunesmith.errors import ModelError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.posterior.export import check_export

#: of all electrons; no float32
ALL_ELECTRON = {1: -13.587222, 6: -1029.499127, 8: -2041.839618}


def judges() -> list[Atoms]:
    """Small molecules, and one of 8 oxygen atoms among 72: a total of −40 000 eV."""
    rng, crowd = np.random.default_rng(0), Atoms()
    for i in range(8):
        one = molecule("CH3CH2OH")
        one.positions += 7.0 * np.array([i % 2, i // 2 % 2, i // 4])
        crowd += one
    crowd.rattle(0.05, rng=rng)
    return [*structures(2), crowd]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@cells(SMALL)
def test_all_electron_energies(backend: str, dtype: str, tmp_path: Path) -> None:
    """What was tuned passes; other weights, and an E0 that is 0.1 eV off, do not."""
    potential = load(backend, tmp_path, dtype)
    own, path = potential.weights(), tmp_path / "final.model"
    e0s = {**dict.fromkeys(potential.elements, 0.0), **ALL_ELECTRON}
    tuned = Ensemble(potential, [own], E0s(e0s))
    potential.export(path, own, e0s)
    check_export(path, tuned, judges())
    name = potential.names.readouts[-1]
    for weights, zeros in (
        ({**own, name: 1.05 * own[name] + 0.01}, e0s),
        (own, e0s | {6: e0s[6] + 0.1}),
    ):
        potential.export(path, weights, zeros)
        with pytest.raises(ModelError, match="does not reproduce the tuned model"):
            check_export(path, tuned, judges())
