"""A few steps of dynamics that learn on the fly, with every backend."""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest

from backends import SMALL, cells, model
from small import config, start
from tunesmith.config import RunConfig
from tunesmith.data.store import LabelStore
from tunesmith.loop.run import run
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.potentials import zoo

pytest.importorskip("tblite", reason="labels need tblite")


def asked(backend: str, folder: Path, *settings: str, **more: Any) -> RunConfig:
    source = {"model.source": model(backend, folder)}
    return config(start(folder), *settings, **source, **more)


@cells((*SMALL, "7net-0"), slow=lambda name: name not in SMALL)
def test_learning_on_the_fly(backend: str, tmp_path: Path) -> None:
    """At least one label, a posterior and a model file; the same call with more time goes on."""
    out = tmp_path / "run"
    seldom = ("target.energy=3 eV", "acquire.max_gap=1 fs")
    first = run(asked(backend, tmp_path, "explore.time=2 fs", *seldom), out)
    assert first["interventions"] >= 1
    entries = LabelStore(out / "labels.db").entries()
    assert first["labels"] == len(entries) == 1 + first["interventions"]
    second = run(asked(backend, tmp_path, "explore.time=3 fs", *seldom), out)
    assert 2 * second["steps"] == 3 * first["steps"]
    assert len(LabelStore(out / "labels.db")) >= len(entries)
    posterior = open_model(out)
    assert len(posterior) == second["members"] == 2
    frames = ase.io.read(out / "trajectory.extxyz", ":")
    spread = posterior.predict([frames[-1]]).std()
    assert spread is not None
    assert spread.forces.min() > 0
    learnt(posterior, zoo.load(model(backend, tmp_path)).weights(), out)


def learnt(posterior: Ensemble, foundation: Any, out: Path) -> None:
    """Labels are met better than by the foundation with the same E0s; files hold the members."""
    entries = ase.io.read(out / "labels.extxyz", ":")
    untuned = Ensemble(posterior.potential, [foundation], posterior.e0s)

    def error(model: Ensemble) -> float:
        said = model.predict(entries).mean.forces
        wanted = np.concatenate([e.arrays["REF_forces"] for e in entries])
        return float(np.sqrt(np.mean((said - wanted) ** 2)))

    assert error(posterior) < error(untuned)
    for i, weights in enumerate(posterior.weights):
        path = out / "members" / f"member-{i}.model"
        own = Ensemble(posterior.potential, [weights], posterior.e0s).predict([entries[0]]).mean
        atoms = entries[0].copy()
        atoms.calc = posterior.potential.native(path)
        assert atoms.get_potential_energy() == pytest.approx(own.energy[0], abs=1e-4)
        np.testing.assert_allclose(atoms.get_forces(), own.forces, atol=2e-4)
