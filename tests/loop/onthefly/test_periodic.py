"""Boxes with a pressure: two compositions, a ramp of temperature, energy and force criteria.

GFN1-xTB at the Γ point of so small cells is no good physics, but its stress is the derivative of
its energy: a reference like any other.
"""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.stress import full_3x3_to_voigt_6_stress
from mace.calculators import MACECalculator

import tunesmith
from small import SETTINGS, results
from tunesmith.config import RunConfig, load
from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames
from tunesmith.data.store import LabelStore
from tunesmith.loop.run import run

#: the thresholds are such that each criterion asks for a label now and then
BOXES = (
    "explore.ensemble=npt",
    "explore.pressure=1 bar",
    "explore.temperature=[[0 fs, 200 K], [3 fs, 400 K]]",
    "explore.thermostat_time=20 fs",
    "explore.barostat_time=50 fs",
    "target={energy: 40 meV, forces: {H: 700 meV/Å, default: 900 meV/Å}}",
    "acquire={kind: threshold, max_gap: 1.5 fs, regions: [{atoms: 0-1, forces: 500 meV/Å}]}",
)
FORMULAS = {"H4O2", "H3N"}


def boxes(folder: Path) -> list[str]:
    """Two waters, and one ammonia, in cubes of about their liquids' densities."""
    water, ammonia = Atoms(cell=[4.2] * 3, pbc=True), Atoms(cell=[3.9] * 3, pbc=True)
    for place, angles in ((1.0, (10, 20, 30)), (3.1, (100, 70, 50))):
        water += _placed("H2O", place, angles)
    ammonia += _placed("NH3", 1.5, (0, 0, 0))
    files = []
    for name, atoms in (("water", water), ("ammonia", ammonia)):
        path = folder / f"{name}.xyz"
        write_frames(path, [Frame(atoms, None, name)])
        files.append(str(path))
    return files


def _placed(name: str, place: float, angles: tuple[float, ...]) -> Atoms:
    """A rotated molecule whose first atom is at (place, place, place), Å."""
    one = molecule(name)
    one.euler_rotate(*angles)
    one.translate(place - one.positions[0])
    return one


def config(files: list[str], time: str) -> RunConfig:
    given = ("target", "acquire", "explore.time")
    small = [text for text in SETTINGS if not text.startswith(given)]
    return load(RunConfig, None, [*small, *BOXES, f"explore.time={time}"], {"explore.start": files})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return boxes(tmp_path_factory.mktemp("boxes"))


@pytest.fixture(scope="module")
def whole(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("boxes-run") / "run"
    return out, run(config(files, "3 fs"), out)


def test_both_compositions_are_simulated_and_labelled(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    assert (summary["steps"], summary["as_asked"]) == (12, True)
    frames = ase.io.read(out / "trajectory.extxyz", ":")
    for formula in FORMULAS:
        own = [f for f in frames if f.get_chemical_formula() == formula]
        assert len(own) == 6
        assert any(f.info["labelled"] for f in own), f"{formula} was not asked for on the way"
        volumes = [f.get_volume() for f in own]
        assert len(set(volumes)) == 6, "the barostat acts"
        for frame in own:
            np.testing.assert_allclose(frame.cell, np.eye(3) * frame.cell[0, 0], atol=1e-6)


def test_each_criterion_is_judged(whole: tuple[Path, Any]) -> None:
    why = [(e.extra or {}).get("why", "") for e in LabelStore(whole[0] / "labels.db").entries()]
    assert sum("P(|energy error| > 40 meV)" in text for text in why) > 0
    assert sum("force error > 500 meV/Å, likeliest at atom" in text for text in why) > 0
    assert sum("acquire.max_gap" in text for text in why) > 0
    assert len([text for text in why if text]) == whole[1]["interventions"]


def test_labels_have_the_stress_that_drove_their_step(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    frames = ase.io.read(out / "trajectory.extxyz", ":")
    steps = {(f.info["walker"], f.info["time_fs"]): f for f in frames if f.info["labelled"]}
    asked = [e for e in LabelStore(out / "labels.db").entries() if e.extra]
    assert len(asked) == len(steps) == summary["interventions"] >= 2
    for entry in asked:
        assert entry.extra
        assert isinstance(entry.outcome, Label)
        frame = steps[entry.extra["walker"], entry.extra["time_fs"]]
        np.testing.assert_allclose(frame.positions, entry.frame.atoms.positions, atol=1e-7)
        np.testing.assert_allclose(frame.get_stress(voigt=False), entry.outcome.stress, 1e-6)


def test_stress_is_learnt(whole: tuple[Path, Any]) -> None:
    """On the labels, half of the untuned model's error at most; exported models say the same."""
    out, _ = whole
    errors: dict[str, list[float]] = {"tuned": [], "untuned": []}
    models = {"tuned": tunesmith.open_model(out), "untuned": tunesmith.open_model("organic-xs")}
    members = sorted(str(path) for path in (out / "members").glob("*.model"))
    committee = MACECalculator(model_paths=members, device="cpu")
    for entry in LabelStore(out / "labels.db").entries():
        assert isinstance(entry.outcome, Label)
        assert entry.outcome.stress is not None
        atoms = entry.frame.atoms
        for name, model in models.items():
            stress = model.predict([atoms], stress=True).mean.stress
            assert stress is not None
            errors[name].append(float(np.mean((stress[0] - entry.outcome.stress) ** 2)))
            if name == "tuned":
                exported = committee.get_stress(atoms)
                ours = full_3x3_to_voigt_6_stress(stress[0])
                np.testing.assert_allclose(exported, ours, atol=1e-4)
    assert np.sqrt(np.mean(errors["tuned"])) < 0.5 * np.sqrt(np.mean(errors["untuned"]))


def test_outputs_are_complete(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    assert summary["labels"] == summary["interventions"] + 2 == len(LabelStore(out / "labels.db"))
    frames = ase.io.read(out / "labels.extxyz", ":")
    assert {f.get_chemical_formula() for f in frames} == FORMULAS
    assert summary["threshold_eV"] == pytest.approx(0.04)
    for name in ("rmse_tuned_meV", "rmse_untuned_meV", "force_rmse_tuned_meV_per_A"):
        assert np.isfinite(summary[name])
    for name in ("final.model", "members/member-1.model", "onthefly.png", "config.yaml"):
        assert (out / name).stat().st_size > 0


@pytest.mark.slow
def test_it_goes_on_to_the_same_bits(
    whole: tuple[Path, Any], files: list[str], tmp_path: Path
) -> None:
    """Thermostat, barostat and cell included."""
    out = tmp_path / "run"
    assert run(config(files, "1.5 fs"), out)["steps"] == 6
    assert run(config(files, "3 fs"), out)["steps"] == 12
    assert results(out) == results(whole[0])
