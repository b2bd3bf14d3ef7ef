"""A tuned model's file that keeps the head for replayed structures."""

from pathlib import Path

import numpy as np
import pytest

from tiny import crystals, molecules, potential
from tunesmith import config, fine_tune
from tunesmith.data.formats import write_frames
from tunesmith.errors import ModelError
from tunesmith.posterior import members_file
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_multihead
from tunesmith.testing import compute
from tunesmith.tune.replay import Pseudolabel


def settings(folder: Path, keep: bool) -> config.TuneConfig:
    model = potential()
    model.export(folder / "base.model", model.weights(), model.e0s)
    write_frames(folder / "train.xyz", molecules(6))
    write_frames(folder / "old.xyz", crystals(2) + molecules(2, seed=4))
    given = {
        "model.source": f"{folder}/base.model",
        "model.dtype": "float64",
        "data.train": f"{folder}/train.xyz",
        "tune.sampler.epochs": 3,
        "tune.sampler.learning_rate": 0.01,
        "tune.anchor": f"{{kind: pseudolabel, frames: [{folder}/old.xyz], keep_head: {keep}}}",
    }
    overrides = [f"{key}={value}" for key, value in given.items()]
    return config.load(config.TuneConfig, None, overrides, {})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_the_file_holds_the_tuned_head_and_that_of_replay(folder: Path) -> None:
    fine_tune(settings(folder, keep=True), folder / "run")
    foundation, members = members_file.load(folder / "run", dtype="float64")
    structures = [f.atoms for f in molecules(2, seed=7) + crystals(1, seed=8)]
    tuned = zoo.load(str(folder / "run"), dtype="float64")
    replay = zoo.load(str(folder / "run" / "final.model"), head="pt_head", dtype="float64")
    energies = []
    for alone, weights in ((tuned, members.expand(0)), (replay, members.replay_head(0))):
        expected = compute.predict(foundation, structures, weights=weights)
        found = compute.predict(alone, structures)
        np.testing.assert_allclose(found.energy, expected.energy, atol=1e-8)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-8)
        energies.append(found.energy)
    assert np.abs(energies[0] - energies[1]).max() > 1e-3
    # pseudolabels are at the foundation's own zero of energy, the target's labels are not
    assert replay.e0s == pytest.approx(foundation.e0s, abs=1e-12)
    assert tuned.e0s == pytest.approx(members.e0s.values, abs=1e-12)
    assert abs(tuned.e0s[6] - replay.e0s[6]) > 100


def test_a_head_that_no_file_can_keep_is_refused_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("no second head")

    monkeypatch.setattr(mace_multihead, "check", refuse)
    with pytest.raises(ModelError, match=r"tune\.anchor\.keep_head: no second head"):
        fine_tune(settings(folder, keep=True), folder / "run")
    assert not (folder / "run").exists()
    # the file alone is what cannot have two heads
    frames = molecules(3)
    anchor = Pseudolabel(frames=(str(folder / "old.xyz"),))
    assert anchor.select(potential(), frames, seed=0)
