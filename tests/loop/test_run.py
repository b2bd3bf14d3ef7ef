"""A whole run: what it leaves, that it goes on after any interruption, and how it ends early."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from mace.calculators import MACECalculator

import tunesmith
from small import config, results, start
from tunesmith.config import RunConfig
from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames
from tunesmith.data.store import LabelStore
from tunesmith.errors import CheckpointError, LabellingError, RunFolderError, TunesmithError
from tunesmith.loop.run import run


@pytest.fixture(scope="module")
def files(water: list[str]) -> list[str]:
    return water


@pytest.fixture(scope="module")
def whole(smallest: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An uninterrupted run and its summary."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return shutil.copytree(smallest[0], out), smallest[1]


# ------------------------------------------------------------------------ what it leaves


def test_the_summary_says_what_the_store_knows(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    entries = LabelStore(out / "labels.db").entries()
    asked = [e for e in entries if "predicted_energy" in (e.extra or {})]
    assert summary["labels"] == len(entries) == len(asked) + 1, "one label to start from"
    assert summary["interventions"] == len(asked) >= 2
    assert summary["reference_calls"] == len(entries)
    assert summary["md_time_ps"] == pytest.approx(0.006)
    assert summary["threshold_eV"] == pytest.approx(0.5 * 0.0433641, rel=1e-5)
    outcomes = [e.outcome for e in asked]
    errors = np.array(
        [
            e.extra["predicted_energy"] - o.energy
            for e, o in zip(asked, outcomes, strict=True)
            if e.extra and isinstance(o, Label)
        ]
    )
    # the members in one pass and one by one: single precision resolves microelectronvolts
    assert summary["rmse_tuned_meV"] == pytest.approx(1e3 * errors.std(), abs=2e-3)
    over = int(np.sum(np.abs(errors) > summary["threshold_eV"]))
    assert summary["interventions_over_threshold"] == over
    assert set(summary["wall_time_s"]) == {
        *("reference", "update", "md", "store", "checkpoint", "other")
    }


def test_text_and_picture_name_the_same_moment(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def picture(records: Any, *_: Any, **__: Any) -> None:
        seen.extend(records)

    monkeypatch.setattr("tunesmith.report.onthefly_plot.picture", picture)
    often = ("acquire.max_gap=1 fs", "explore.time=3 fs")
    run(config(files, *often), tmp_path / "one")
    assert len(seen) >= 2
    assert [r.clock for r in seen] == pytest.approx([r.time for r in seen])
    seen.clear()
    two = ("explore.walkers=2", "explore.time=3 fs", "acquire.max_gap=1.5 fs")
    run(config(files, *two), tmp_path / "two")
    assert {r.walker for r in seen} == {0, 1}
    # in turns: the second walker moves when the first has
    behind = [0.5 if r.walker == 0 and r.time else 0 for r in seen]
    together = [2 * r.time - less for r, less in zip(seen, behind, strict=True)]
    assert [r.clock for r in seen] == pytest.approx(together)


def test_the_committee_is_what_mace_takes_and_its_mean_is_ours(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    paths = sorted(str(p) for p in (out / "members").glob("*.model"))
    assert len(paths) == summary["members"] == 2
    atoms = ase.io.read(out / "trajectory.extxyz", -1)
    ours = tunesmith.open_model(out).predict([atoms])
    atoms.calc = MACECalculator(model_paths=paths, device="cpu")
    assert atoms.get_potential_energy() == pytest.approx(ours.mean.energy[0], abs=3e-5)
    assert ours.var_model is not None
    spread = atoms.calc.results["energy_var"] * 2  # mace divides by M, we by M−1
    assert spread == pytest.approx(ours.var_model.energy[0], rel=0.05, abs=1e-10)
    final = MACECalculator(model_paths=summary["final_model"], device="cpu")
    atoms.calc = final
    assert abs(atoms.get_potential_energy() - ours.mean.energy[0]) < 0.05


def test_the_calculator_of_a_run_has_calibrated_error_bars(whole: tuple[Path, Any]) -> None:
    out, summary = whole
    atoms = ase.io.read(out / "trajectory.extxyz", -1)
    atoms.calc = tunesmith.Calculator(out)
    atoms.get_potential_energy()
    raw = atoms.calc.results["energy_std_raw"]
    assert atoms.calc.results["energy_std"] == pytest.approx(raw * summary["calibration_energy"])


def test_labels_drive_the_steps_they_were_asked_for(whole: tuple[Path, Any]) -> None:
    """A frame of the trajectory that was labelled holds the reference's energy and forces."""
    frames = ase.io.read(whole[0] / "trajectory.extxyz", ":")
    labels = ase.io.read(whole[0] / "labels.extxyz", ":")
    assert len(frames) == 12
    found = 0
    for frame in frames:
        for label in labels:
            if np.allclose(frame.positions, label.positions, atol=1e-8):
                found += 1
                assert frame.get_potential_energy() == pytest.approx(label.info["REF_energy"])
                np.testing.assert_allclose(
                    frame.get_forces(), label.arrays["REF_forces"], atol=1e-7
                )
    assert found == sum(f.info["labelled"] for f in frames) > 0


def test_a_finished_run_is_not_repeated_and_can_be_extended(
    whole: tuple[Path, Any], files: list[str], tmp_path: Path
) -> None:
    short = config(files, "explore.time=3 fs")
    run(short, tmp_path / "run")
    before = results(tmp_path / "run")
    assert run(short, tmp_path / "run")["steps"] == 6
    assert results(tmp_path / "run") == before
    assert run(config(files), tmp_path / "run")["steps"] == 12
    assert results(tmp_path / "run") == results(whole[0])


# -------------------------------------------------------------------------- interruptions


def test_killed_at_any_moment_it_ends_the_same(
    whole: tuple[Path, Any], files: list[str], tmp_path: Path
) -> None:
    """SIGKILL, twice; a fork, so that the imports are not waited for again."""
    out, settings = tmp_path / "run", config(files)
    rng = np.random.default_rng()
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(target=run, args=(settings, out))
        child.start()
        child.join(rng.uniform(0.3, 6.0))
        child.kill()
        child.join()
    run(settings, out)
    assert results(out) == results(whole[0])
    store = LabelStore(out / "labels.db")
    assert len(store) == whole[1]["labels"], "no label is computed twice"


def test_sigterm_saves_and_leaves(
    whole: tuple[Path, Any], files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def end() -> None:
        while not (out / "checkpoint" / "state.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(SystemExit) as left:
        run(config(files), out)
    assert left.value.code == 143
    assert not (out / "summary.json").exists()
    run(config(files), out)
    assert results(out) == results(whole[0])


def test_other_settings_are_refused_by_name(whole: tuple[Path, Any], files: list[str]) -> None:
    for override, key in (
        ("target.energy=0.6 kcal/mol", "target.energy"),
        ("tune.sampler.steps=21", "tune.sampler.steps"),
        ("explore.temperature=310 K", "explore.temperature"),
        ("seed=1", "seed"),
    ):
        with pytest.raises(RunFolderError, match=f"made with another {key}"):
            run(config(files, override), whole[0])
    free = ("loop.on_failure=skip", "execute.processes=2", "reference.timeout=1 h")
    assert run(config(files, *free), whole[0])["steps"] == 12


def test_other_start_structures_are_refused(whole: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="other data"):
        run(config(start(tmp_path, "CH4")), whole[0])


def test_without_its_labels_a_run_cannot_go_on(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(config(files, "explore.time=1 fs"), out)
    (out / "labels.db").unlink()
    with pytest.raises(CheckpointError, match="is gone, and with it the labels"):
        run(config(files), out)


# ---------------------------------------------------------------------------- early ends


def test_ends_by_labels_and_when_they_have_become_rare(files: list[str], tmp_path: Path) -> None:
    few = run(config(files, "loop.max_labels=1"), tmp_path / "few")
    assert (few["interventions"], few["as_asked"]) == (1, True)
    assert "max_labels" in few["ended"]
    rare = run(
        config(files, "acquire.max_gap=", "loop.rare=2 fs", "target.energy=1 eV"), tmp_path / "rare"
    )
    assert (rare["interventions"], rare["steps"]) == (0, 4)


def test_a_lock_out_is_said_and_ends_the_run(files: list[str], tmp_path: Path) -> None:
    """A prior of huge errors is a lock-out from the first label on."""
    locked = config(files, "calibrate.b=1e6", "loop.lock_out={most: 2, patience: 0}")
    summary = run(locked, tmp_path / "run")
    assert not summary["as_asked"]
    assert "error bar" in summary["ended"]
    assert summary["interventions"] == 2, "one that lengthens the sampling, one that does not help"
    assert (tmp_path / "run" / "final.model").exists()


def failing(files: list[str], *overrides: str) -> RunConfig:
    """Forces are small at the start, and over the reference's limit soon after."""
    hot = ("reference={kind: tblite, method: GFN1-xTB, max_force: 2 eV/Å}",)
    return config(files, *hot, "explore.temperature=2000 K", *overrides)


def test_a_failing_reference_stops_the_run_and_is_asked_again(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(LabellingError, match="over max_force") as stopped:
        run(failing(files), out)
    assert "loop.on_failure" in str(stopped.value)
    failures = len(LabelStore(out / "labels.db").failures())
    with pytest.raises(LabellingError):
        run(failing(files), out)
    assert len(LabelStore(out / "labels.db").failures()) == failures + 1, "asked once more"
    summary = run(failing(files, "loop.on_failure=skip", "loop.retry_after=1 ps"), out)
    assert (summary["failed_calls"], summary["as_asked"]) == (1, True)


def test_retry_asks_again_after_a_while_until_it_is_enough(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    again = failing(
        files, "loop.on_failure=retry", "loop.retry_after=0.5 fs", "loop.max_failures=2"
    )
    with pytest.raises(LabellingError, match="2 failures in a row"):
        run(again, out)
    assert len(LabelStore(out / "labels.db").failures()) == 2


def test_a_start_that_cannot_be_labelled_is_refused(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(LabellingError, match=r"start structure 0 .* cannot be labelled"):
        run(config(files, "reference={kind: tblite, max_force: 1e-6 eV/Å}"), tmp_path / "run")
    # nothing but the record of the failure is there: other settings are welcome
    run(config(files, "explore.time=1 fs"), tmp_path / "run")


def test_explosions_are_learnt_from_and_end_a_run_when_they_do_not(
    files: list[str], tmp_path: Path
) -> None:
    """Bonds of 0.95 covalent radii come with the first vibration."""
    out = tmp_path / "run"
    hot = ("explore.min_distance=0.95", "explore.temperature=1500 K", "loop.max_explosions=1")
    with pytest.raises(TunesmithError, match="explosion 2 in a row"):
        run(config(files, *hot, "explore.time=100 fs", "acquire.max_gap="), out)
    said = [e.extra.get("why", "") for e in LabelStore(out / "labels.db").entries() if e.extra]
    assert any(why.startswith("explosion") for why in said)


# -------------------------------------------------------------------------------- starts


def test_labels_there_are_start_a_run_without_a_call(
    whole: tuple[Path, Any], files: list[str], tmp_path: Path
) -> None:
    labels = str(whole[0] / "labels.extxyz")
    given = config(files, "acquire.max_gap=", "target.energy=1 eV", "explore.time=1 fs",
                   **{"data.initial": labels})  # fmt: skip
    summary = run(given, tmp_path / "run")
    assert summary["reference_calls"] == summary["interventions"] == 0
    assert summary["labels"] == whole[1]["labels"]


def test_two_compositions_share_posterior_and_store(tmp_path: Path) -> None:
    both = config(start(tmp_path, "H2O", "CH4"), "explore.time=2 fs", "target.energy=1 eV")
    summary = run(both, tmp_path / "run")
    assert summary["steps"] == 8
    assert summary["md_time_ps"] == pytest.approx(0.004)
    assert summary["labels"] - summary["interventions"] == 2, "one label of each to start from"
    frames = ase.io.read(tmp_path / "run" / "trajectory.extxyz", ":")
    assert {f.get_chemical_formula() for f in frames} == {"H2O", "CH4"}


@pytest.mark.slow
def test_crystals_under_pressure_with_both_targets(tmp_path: Path) -> None:
    """NPT, a temperature ramp, two compositions, stress labels; killed and resumed."""
    names = []
    for name in ("CH4", "H2O"):
        box = molecule(name, cell=[5.0, 5.1, 5.2], pbc=True)
        box.center()
        write_frames(tmp_path / f"{name}.xyz", [Frame(box, None, name)])
        names.append(str(tmp_path / f"{name}.xyz"))
    settings = config(
        names,
        "explore.ensemble=npt",
        "explore.temperature=[[0 fs, 100 K], [2 fs, 500 K]]",
        "explore.time=2 fs",
        "acquire.max_gap=3 fs",
        "target={energy: 0.5 kcal/mol, forces: 300 meV/Å}",
    )
    whole = run(settings, tmp_path / "whole")
    assert whole["steps"] == 8
    assert whole["interventions"] >= 1
    for entry in LabelStore(tmp_path / "whole" / "labels.db").entries():
        assert isinstance(entry.outcome, Label)
        assert entry.outcome.stress is not None
    frames = ase.io.read(tmp_path / "whole" / "trajectory.extxyz", ":")
    assert len({f.get_volume() for f in frames}) > 4, "the cells move"
    child = multiprocessing.get_context("fork").Process(
        target=run, args=(settings, tmp_path / "run")
    )
    child.start()
    child.join(np.random.default_rng().uniform(0.5, 4.0))
    child.kill()
    child.join()
    run(settings, tmp_path / "run")
    assert results(tmp_path / "run") == results(tmp_path / "whole")


@pytest.mark.slow
def test_force_targets_and_processes(files: list[str], tmp_path: Path) -> None:
    """Two processes give the numbers of one."""
    forces = ("target={forces: 20 meV/Å}", "explore.time=1 fs", "acquire.max_gap=")
    one = run(_only(files, *forces), tmp_path / "one")
    two = run(_only(files, *forces, "execute.processes=2"), tmp_path / "two")
    assert one["interventions"] == two["interventions"] > 0
    assert one["threshold_eV"] is None
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["labels"] == one["labels"]


def _only(files: list[str], *overrides: str) -> RunConfig:
    """With the force target instead of the energy's."""
    return config(files, "target.energy=", *overrides)
