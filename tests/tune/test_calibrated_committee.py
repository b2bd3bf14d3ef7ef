"""A committee whose error bars follow a power law, from files to the calculator; bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny import molecules, potential
from tunesmith import Calculator, fine_tune
from tunesmith.calibrate import GammaCalibration, PowerLaw
from tunesmith.calibrate.few_members import as_of
from tunesmith.calibrate.recalibrate import ONE_RECORD
from tunesmith.config import PoolConfig, TuneConfig, dump, load
from tunesmith.data import checks
from tunesmith.data.formats import write_frames
from tunesmith.errors import ConfigError
from tunesmith.posterior.ensemble import Ensemble, open_model

SAMPLER = "{kind: committee, members: 3, epochs: 3, learning_rate: 0.01, vary: bootstrap-splits}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    model = potential()
    model.export(tmp_path / "base.model", model.weights(), model.e0s)
    return tmp_path


def tuned(folder: Path, n: int, *overrides: str) -> dict[str, Any]:
    write_frames(folder / "train.xyz", molecules(n))
    given = (f"tune.sampler={SAMPLER}", "model.dtype=float64", "execute.processes=1", *overrides)
    files = {"model.source": folder / "base.model", "data.train": folder / "train.xyz"}
    settings = load(TuneConfig, None, given, {path: str(file) for path, file in files.items()})
    return fine_tune(settings, folder / "run")


@pytest.mark.slow
def test_the_common_test_set_calibrates_a_power_law(folder: Path) -> None:
    """Refitted here by hand: to the errors of every member on the structures set apart."""
    summary = tuned(folder, 20, "calibrate.kind=power-law", "data.valid_fraction=0.2")
    assert (summary["n_train"], summary["n_valid"]) == (16, 4)
    posterior = open_model(folder / "run", dtype="float64")
    law = posterior.calibration["forces"]
    assert isinstance(law, PowerLaw)
    assert summary["calibration"]["forces"]["b"] == law.b
    _, apart = checks.split(molecules(20), 0.2, np.random.default_rng(0))
    prediction = posterior.predict([f.atoms for f in apart])
    labels = np.concatenate([f.label.forces for f in apart if f.label is not None])
    assert prediction.members is not None
    assert prediction.var_model is not None
    errors = np.array([m.forces for m in prediction.members]) - labels
    by_hand = PowerLaw.fit(np.sqrt(prediction.var_model.forces), errors)
    assert (law.a, law.b) == pytest.approx((by_hand.a, by_hand.b), rel=1e-6)
    one = molecules(1, seed=21)[0].atoms
    raw = posterior.predict([one]).std()
    assert raw is not None
    one.calc = Calculator(folder / "run", dtype="float64")
    one.get_potential_energy()
    np.testing.assert_allclose(one.calc.results["forces_std"], law.std(raw.forces), rtol=1e-6)


def test_below_ten_labels_members_judge_what_they_have_not_seen(folder: Path) -> None:
    summary = tuned(folder, 8, "calibrate.kind=power-law", "tune.sampler.members=5")
    assert (summary["n_train"], summary["n_valid"]) == (8, 0)
    assert "only 8 labels: no test set is set apart" in " ".join(summary["remarks"])
    posterior = open_model(folder / "run", dtype="float64")
    frames, std, error, counts = molecules(8), [], [], []
    for i, frame in enumerate(frames):
        fresh = [m for m, indices in enumerate(summary["out_of_bag"]) if i in indices]
        if len(fresh) < 3:
            continue
        each = np.array(
            [
                Ensemble(posterior.potential, [posterior.weights[m]], posterior.e0s)
                .predict([frame.atoms])
                .mean.forces
                for m in fresh
            ]
        )
        counts.append(len(fresh))
        std.append(each.std(axis=0, ddof=1).ravel())
        assert frame.label is not None
        error.append(np.sqrt(np.mean((each - frame.label.forces) ** 2, axis=0)).ravel())
    assert len(std) >= 2
    # where symmetry makes a force zero members agree to rounding
    above = [s > 1e-3 * np.sqrt(np.mean(np.concatenate(std) ** 2)) for s in std]
    std, error = ([x[a] for x, a in zip(part, above, strict=True)] for part in (std, error))
    law = PowerLaw.fit(np.concatenate(as_of(std, counts, 5)), np.concatenate(error))
    found = posterior.calibration["forces"]
    assert (found.a, found.b) == pytest.approx((law.a, law.b), rel=1e-6)
    assert (folder / "run" / "calibration.png").exists()


def test_the_default_is_the_belief_of_one_record() -> None:
    def law(*overrides: str) -> Any:
        chosen = ("data.train=a.xyz", "tune.sampler.kind=committee", *overrides)
        return load(TuneConfig, overrides=chosen).calibrate

    assert law() == law("calibrate.kind=gamma") == ONE_RECORD
    assert law("calibrate.a=3") == GammaCalibration(3, 0.5)
    assert law("calibrate.kind=power-law") == PowerLaw(rate=0.5)
    assert law("calibrate={kind: power-law, rate: 10}") == PowerLaw()


def test_a_committee_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^calibrate: a single fit by .adamw. .*strategy committee"
    ):
        load(TuneConfig, overrides=["data.train=a.xyz", "calibrate.kind=power-law"])
    pool = ("reference=hidden", "data.valid=v.xyz", "explore={kind: pool, files: [p.xyz]}")
    with pytest.raises(ConfigError, match=r"^calibrate: a single fit by 'by-size'"):
        load(PoolConfig, overrides=[*pool, "calibrate.kind=power-law"])
    three = load(
        PoolConfig, overrides=[*pool, "calibrate.kind=power-law", "tune.sampler.members=3"]
    )
    assert three.calibrate == PowerLaw(rate=0.5)
    single = load(TuneConfig, overrides=["data.train=a.xyz"])
    (tmp_path / "again.yaml").write_text(dump(single))
    assert load(TuneConfig, tmp_path / "again.yaml") == single
