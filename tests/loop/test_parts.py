"""The parts of a run by themselves: time, signals, the trajectory, the records."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from matplotlib.figure import Figure

from tunesmith.acquire.threshold import Limits
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import BY_MEMBERS, Label, Prediction, Quantities
from tunesmith.errors import CheckpointError, RunFolderError
from tunesmith.loop.interrupts import Interrupts
from tunesmith.loop.onthefly.learning import _calibrated
from tunesmith.loop.onthefly.onthefly_standing import Record
from tunesmith.loop.onthefly.records import _ratio, statistics
from tunesmith.loop.onthefly.trajectory_file import Trajectory
from tunesmith.loop.screen import duration
from tunesmith.loop.stopwatch import Stopwatch
from tunesmith.report.onthefly_plot import picture
from tunesmith.run_folder import stamp


def test_every_second_counts_once() -> None:
    now = 1000.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    watch = Stopwatch(clock=lambda: now)
    watch.add({"md": 100.0})
    passes(1)
    with watch.part("md"):
        passes(2)
        with watch.part("store"), watch.part("reference"):
            passes(4)
        passes(8)
    passes(16)
    assert watch.read() == {"md": 110, "store": 0, "reference": 4, "other": 17}


@pytest.mark.parametrize(
    ("sign", "raises"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signals_wait_except_in_long_calculations(sign: int, raises: type[BaseException]) -> None:
    before = signal.getsignal(sign)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), sign)
        assert interrupts.came
        with pytest.raises(raises), interrupts.at_once():
            pass
    with Interrupts() as interrupts, pytest.raises(raises), interrupts.at_once():
        os.kill(os.getpid(), sign)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), sign)
        with pytest.raises(raises):
            os.kill(os.getpid(), sign)  # twice means now
    assert signal.getsignal(sign) == before


def test_a_trajectory_is_cut_back_and_goes_on(tmp_path: Path) -> None:
    path, atoms = tmp_path / "t.extxyz", molecule("CH4")
    atoms.set_momenta(np.arange(15.0).reshape(5, 3))
    results = {"energy": -1.5, "forces": np.ones((5, 3))}
    trajectory = Trajectory(path, 0, "")
    lengths = [trajectory.append(atoms, results, {"step": i}) for i in range(3)]
    trajectory.close()
    whole = path.read_bytes()
    assert len(whole) == lengths[-1]
    trajectory = Trajectory(path, lengths[0], "")
    trajectory.append(atoms, results, {"step": 1})
    trajectory.append(atoms, results, {"step": 2})
    trajectory.close()
    assert path.read_bytes() == whole
    frames = ase.io.read(path, ":")
    assert [f.info["step"] for f in frames] == [0, 1, 2]
    np.testing.assert_allclose(frames[2].get_momenta(), atoms.get_momenta())
    assert frames[0].get_potential_energy() == -1.5
    with pytest.raises(CheckpointError, match="shorter"):
        Trajectory(path, len(whole) + 1, "begin again")


def record(error: float, std: float | None, untuned: float, tail: float | None) -> Record:
    return Record(
        **dict.fromkeys(("key", "why"), "x"), walker=0, time=1.0, clock=1.0,
        predicted=-100.0 + error, labelled=-100.0, untuned=-100.0 + untuned, raw_std=std, std=std,
        probability=0.1, tail=tail, threshold=0.02, force_rmse=0.1, untuned_force_rmse=0.3,
    )  # fmt: skip


def test_what_the_records_say() -> None:
    errors, untuned, tails = [0.01, -0.03, 0.05, 0.01], [0.1, 0.3, 0.1, 0.3], [0.5, 0.04, 0.05, 0.9]
    records = [record(e, 0.01, u, t) for e, u, t in zip(errors, untuned, tails, strict=True)] + [
        record(np.nan, None, 9.0, None)
    ]
    says = statistics(records, 0.05)
    assert says["interventions"] == 5
    assert says["interventions_over_threshold"] == 2
    assert says["rmse_tuned_meV"] == pytest.approx(1e3 * np.std(errors))
    assert says["rmse_tuned_raw_meV"] == pytest.approx(1e3 * np.sqrt(np.mean(np.square(errors))))
    assert says["rmse_untuned_meV"] == pytest.approx(100.0)
    assert says["coverage_95"] == 0.75
    nothing = statistics([], 0.05)
    assert nothing["interventions"] == 0
    assert nothing["rmse_tuned_meV"] is None is nothing["coverage_95"]


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("n", [0, 1, 30])
def test_the_picture_is_drawn_also_of_little(tmp_path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    records: list[Any] = [record(*rng.normal(0, 0.02, 1), 0.02, 0.1, 0.5) for _ in range(n)]
    picture(records, tmp_path / "p.png", simulated=100.0, target=0.02 if n else None)
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_forces_that_are_judged_are_told_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four labels asked for by forces, two of them rightly."""
    records = [
        replace(record(0.001, 0.01, 0.1, 0.5), by=by, force_ratio=ratio, untuned_force_ratio=3.0)
        for by, ratio in (("forces", 1.4), ("forces", 0.6), ("energy", 0.7), ("forces", 1.1))
    ]
    says = statistics(records, 0.05)
    assert says["interventions_by"] == {"forces": 3, "energy": 1}
    assert says["interventions_over_force_threshold"] == 2
    assert says["untuned_over_force_threshold"] == 4
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (drawn.append(f), save(f, *a, **k)))
    picture(records, tmp_path / "p.png", simulated=2.0, target=0.02)
    [axes] = [ax for ax in drawn[0].axes if "force error" in ax.get_ylabel()]
    assert [line.get_ydata()[1] for line in axes.lines[:2]] == [3.0, 0.6]
    assert statistics([record(0.01, 0.01, 0.1, 0.5)], 0.05)[
        "interventions_over_force_threshold"
    ] is None  # fmt: skip


def test_a_force_error_is_measured_by_the_threshold_of_its_atom() -> None:
    off = np.array([[0.03, 0.04, 0.0], [0.0, 0.0, 0.3], [5.0, 0.0, 0.0]])
    limits = Limits(None, np.array([0.02, 0.2, np.inf]), 0.05)
    assert _ratio(off, limits) == pytest.approx(2.5)
    assert _ratio(off, Limits(0.1, None, 0.05)) is None


def test_durations_in_the_unit_that_fits() -> None:
    said = [duration(s) for s in (0.4, 12, 89, 90, 1800, 5400, 40000, 7e4, 2e5)]
    assert said == ["0 s", "12 s", "89 s", "2 min", "30 min", "1.5 h", "11 h", "19 h", "2.3 d"]


def test_two_processes_do_not_work_on_one_folder(tmp_path: Path) -> None:
    """The second is refused while the first lives, and not after."""
    run = tmp_path / "run"
    refused = pytest.raises(RunFolderError, match="another process is working on")
    with stamp.alone(run), refused, stamp.alone(run):
        pass
    with stamp.alone(run):
        pass


# ------------------------------------------------------------------------ records of a label


def test_members_that_agree_to_rounding_make_no_record_of_what_they_differ_by() -> None:
    """An atom that nothing is near has no force by any member, and no spread but that of noise."""
    rng = np.random.default_rng(0)
    laws = dict.fromkeys(("energy", "forces", BY_MEMBERS), GammaCalibration())
    forces, own = rng.normal(size=(4, 3)), 0.02 * np.exp(rng.normal(size=(4, 3)))
    label = Label(0.1, forces + 0.1 * rng.normal(size=(4, 3)))

    def predicted(own: np.ndarray) -> Prediction:
        noise = Quantities(np.array([1e-6]), np.full((4, 3), 1e-4))
        model = Quantities(np.array([4e-6]), own**2)
        return Prediction(Quantities(np.zeros(1), forces), np.array([4]), model, noise)

    found = _calibrated(laws, predicted(own), label)
    off = forces - label.forces
    assert found[BY_MEMBERS].mean_square == pytest.approx(np.mean((off / own) ** 2))
    assert found["forces"].mean_square == pytest.approx(np.mean(off**2 / (own**2 + 1e-4)))
    far = own.copy()
    far[3] = 0.0, 1e-9, 0.0
    found = _calibrated(laws, predicted(far), label)
    assert found[BY_MEMBERS].mean_square == pytest.approx(np.mean((off / own)[:3] ** 2))
    assert [found[name].records for name in laws] == [1, 1, 1]
    # a perfect crystal: nothing but rounding
    found = _calibrated(laws, predicted(1e-7 * own), label)
    assert [found[name].records for name in laws] == [1, 1, 0]
