"""Rounds that make their own structures: what they leave, that they go on after any interruption,
that nothing on the way is fatal."""

import io
import shutil
import signal
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import ase.io
import mace.calculators
import numpy as np
import pytest
import torch
from ase.build import molecule
from rich.console import Console

import mortal
from small_cago import config, files
from small_pool import results
from tunesmith.attack.adversary import expected_error, member_forces
from tunesmith.calibrate import spreads
from tunesmith.calibrate.few_members import followed
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.config import CagoConfig
from tunesmith.core import E0s, Failure, Frame, derived_seed
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.errors import ConfigError, DataError, LabellingError, RunFolderError
from tunesmith.explore.cago import Cago
from tunesmith.loop.rounds.calibration_split import set_apart
from tunesmith.loop.rounds.dynamics import simulate
from tunesmith.loop.rounds.prepare_cago import prepare
from tunesmith.loop.rounds.rounds_recipes import CagoRounds
from tunesmith.loop.run import run
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.potentials import zoo
from tunesmith.references.engine import Engine
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.committee import Committee

FORCE = "force_rmse_meV_per_A"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files(tmp_path_factory.mktemp("water"))


@pytest.fixture(scope="module")
def whole(
    named: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Uninterrupted rounds and their summary."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, run(config(named), out)


@pytest.fixture(scope="module")
def begun(named: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same rounds after the first; tests take copies of it."""
    out = tmp_path_factory.mktemp("begun") / "run"
    run(config(named, "explore.rounds=0"), out)
    return out


def made(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for r in summary["rounds"] for c in r["chosen"]]


# ------------------------------------------------------------------------ what they leave


def test_rounds_go_from_one_structure_to_attacked_dynamics(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    out, summary = whole
    first, trained, last = summary["rounds"]
    assert [c["origin"] for c in first["chosen"]] == ["start 0"] + [
        f"start 0, rattled {i}" for i in range(3)
    ]
    assert first["about"] == {}
    assert trained["about"]["source"] == "structures learnt"
    assert last["about"]["source"] == "dynamics"
    assert last["about"]["runs"] == [{"system": 0, "time_fs": 6.0, "wrong": None}]
    assert all(r["test"][FORCE] > 0 for r in summary["rounds"])
    assert summary["labels"] == len(ase.io.read(out / "labels.extxyz", ":"))
    for done in (trained, last):
        about = done["about"]
        kept = len(done["chosen"])
        assert about["attacked"] == 2 == kept + sum(about["filtered"].values())
        assert sum(about["stopped"].values()) == 2
        assert about["target"] == pytest.approx(0.1)
    for one in made(summary)[4:]:
        assert one["found"]["std"] > 0
        assert one["found"]["evaluations"] <= 8
    for name in (
        "final.model",
        "curves.png",
        "errors.png",
        "members/member-2.model",
        "config.yaml",
    ):
        assert (out / name).exists()
    assert summary["calibration"]["forces"]["kind"] == "power-law"


def test_rounds_aim_at_a_multiple_of_what_their_frames_are_expected_to_err_by(
    begun: Path, named: dict[str, str], tmp_path: Path
) -> None:
    """Twice the rms over the round's frames, each by all members of the round before, and these
    frames by two of them, since their error is to grow; with the target as the least."""
    before = open_model(begun)
    law = followed(before.law_by_members, 3)
    learnt, _ = read_frames(begun / "labels.extxyz")
    wanted = ("target.forces=1 meV/Å", "explore.rounds=1", "explore.training_frames=4")
    twice = "acquire={kind: attack, attack: {evaluations: 1}, training_attackers: 2, times: 2}"
    about = run(config(named, *wanted, twice), tmp_path / "twice")["rounds"][1]["about"]
    # the frames are all that was learnt; what is expected of them by the members' forces
    errors = []
    for frame in learnt:
        members = before.predict([frame.atoms]).members
        assert members is not None
        raw = np.std([m.forces for m in members], axis=0, ddof=1)
        errors.append(((raw if law is None else law.std(raw)) ** 2).sum(1).mean())
    assert about["plain"] == pytest.approx(np.sqrt(np.mean(errors)), rel=1e-3)
    assert about["wanted"] == pytest.approx(2 * about["plain"])
    assert about["by_all"] == sum(np.sqrt(e) > about["aim"] for e in errors)
    plain = "acquire={kind: attack, attack: {evaluations: 1}, training_attackers: 2}"
    about = run(config(named, *wanted, plain), tmp_path / "plain")["rounds"][1]["about"]
    assert about["wanted"] == pytest.approx(1e-3)
    assert about["by_all"] == sum(np.sqrt(e) > about["aim"] for e in errors)


@pytest.mark.slow
def test_no_frame_of_dynamics_is_attacked_to_where_it_errs_less_than_was_wanted(
    named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the calibration ends below the target, frames that are expected to err by more than its
    end are labelled as they are, those below are attacked; unless the target is to hold anyway."""
    two = ("explore.rounds=2", "explore.rattled=12", "explore.frames=4", "target.forces=9 eV/Å")
    attacked = "acquire={kind: attack, attack: {evaluations: 2}, beyond_calibration: %s}"
    monkeypatch.setattr(spreads, "GROUP_POINTS", 2)  # so few structures make none of twenty
    monkeypatch.setattr(PowerLaw, "reach", lambda law, components=3: (1e-9, 4.0))
    far = run(config(named, *two, attacked % "true"), tmp_path / "far")["rounds"][2]["about"]
    assert (far["aim"], far["as_they_are"], far["attacked"]) == (9.0, 0, 4)
    assert "outside 1e-06 to 4000 meV/Å" in far["calibration"]
    # the same round, now with an end between what its frames are expected to err by
    run(config(named, "explore.rounds=1", *two[1:], attacked % "false"), tmp_path / "near")
    posterior = open_model(tmp_path / "near")
    law = followed(posterior.law_by_members, len(posterior))
    seen = []
    for atoms in simulate(
        config(named, *two).explore.dynamics(2), posterior, molecule("H2O"),
        derived_seed(0, "md", 2, 0),
    )[0].frames:  # fmt: skip
        seen.append((expected_error(member_forces(posterior, [atoms])[0], law), atoms))
    end = float(np.median([error for error, _ in seen]))
    monkeypatch.setattr(PowerLaw, "reach", lambda law, components=3: (1e-9, end))
    near = run(config(named, *two, attacked % "false"), tmp_path / "near")["rounds"][2]
    about = near["about"]
    assert about["aim"] == end < about["wanted"] == 9.0
    assert about["as_they_are"] > 0 < about["attacked"]
    assert about["as_they_are"] + about["attacked"] == 4
    labelled = ase.io.read(tmp_path / "near" / "labels.extxyz", ":")[-len(near["chosen"]) :]
    plain = [
        (one, atoms)
        for one, atoms in zip(near["chosen"], labelled, strict=True)
        if not one["origin"].endswith(", attacked")
    ]
    assert len(plain) == about["as_they_are"]
    for one, atoms in plain:
        [error] = [e for e, a in seen if np.allclose(a.positions, atoms.positions, atol=1e-6)]
        assert error > end
        assert one["found"] == {}
    moved = [e for c, e in zip(near["chosen"], about["errors"], strict=True) if c["found"]]
    assert about["error_of_attacks"] == pytest.approx(np.sqrt(np.mean(np.square(moved))))


@pytest.mark.usefixtures("drawn")
def test_where_error_bars_hold_is_drawn(
    named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of two points: so few structures make none of twenty."""
    monkeypatch.setattr(spreads, "GROUP_POINTS", 2)
    summary = run(config(named, "explore.rounds=0", "explore.rattled=6"), tmp_path / "run")
    assert (tmp_path / "run" / "calibration.png").stat().st_size > 5000
    CagoRounds().show(summary, screen := Console(file=io.StringIO(), width=200))
    assert "/run/calibration.png" in screen.file.getvalue()


def test_the_real_error_is_that_of_the_members_that_proposed(
    whole: tuple[Path, dict[str, Any]], begun: Path, named: dict[str, str], tmp_path: Path
) -> None:
    """Round 1's labels against the native models of round 0, which more rounds then go on from."""
    out = shutil.copytree(begun, tmp_path / "run")
    frames, _ = read_frames(whole[0] / "labels.extxyz")
    told = [a.info["round"] for a in ase.io.read(whole[0] / "labels.extxyz", ":")]
    new = [f for f, n in zip(frames, told, strict=True) if n == 1]
    squares = []
    for path in sorted((out / "members").glob("*.model")):
        calculator = mace.calculators.MACECalculator(str(path), default_dtype="float64")
        for frame in new:
            atoms = frame.atoms.copy()
            atoms.calc = calculator
            assert frame.label is not None
            squares.append(((atoms.get_forces() - frame.label.forces) ** 2).sum(1))
    error = whole[1]["rounds"][1]["about"]["error"]
    assert len(squares) == 3 * len(new) > 0
    assert np.sqrt(np.mean(squares)) == pytest.approx(error, rel=1e-3)
    assert run(config(named), out)["rounds"] == whole[1]["rounds"]
    assert results(out) == results(whole[0])


# -------------------------------------------------------------------------- interruptions


def mortal_run(settings: CagoConfig, out: Path, moment: str, call: int) -> None:
    mortal.end_at(signal.SIGKILL, moment, call)
    run(settings, out)


@pytest.mark.parametrize(
    ("moment", "call"),
    [
        ("label committed, not learnt", 5),
        pytest.param("inside a fit", 11, marks=pytest.mark.slow),
        pytest.param("proposal kept, nothing labelled", 2, marks=pytest.mark.slow),
        pytest.param("members of a round saved, not named", 2, marks=pytest.mark.slow),
        pytest.param("rounds saved, old ones there", 2, marks=pytest.mark.slow),
    ],
)
def test_killed_they_end_the_same_and_ask_nothing_twice(
    moment: str,
    call: int,
    whole: tuple[Path, dict[str, Any]],
    named: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, real = tmp_path / "calls", Engine._run

    def counted(self: Any, *given: Any, **also: Any) -> Any:
        with calls.open("ab") as file:
            file.write(b".")
        return real(self, *given, **also)

    monkeypatch.setattr(Engine, "_run", counted)
    out, settings = tmp_path / "run", config(named, "tune.sampler.checkpoint_every=0.001 s")
    child = get_context("fork").Process(target=mortal_run, args=(settings, out, moment, call))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    summary = run(settings, out)
    assert summary["rounds"] == whole[1]["rounds"]
    assert results(out) == results(whole[0])
    assert len(calls.read_bytes()) == whole[1]["reference_calls"]
    left = {path.name for path in (out / "checkpoint").iterdir()}
    stamps = {"identity.json", "identity-copy.json", "written.json", "lock"}
    assert left == stamps | {"state.safetensors", "members-2.safetensors"}


@pytest.mark.slow
def test_what_decides_results_may_not_change(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str]
) -> None:
    for override, key in (
        ("acquire.attack.evaluations=9", "acquire.attack.evaluations"),
        ("explore.temperature=310 K", "explore.temperature"),
        ("target.forces=90 meV/Å", "acquire.attack.target"),
        ("seed=1", "seed"),
    ):
        with pytest.raises(RunFolderError, match=f"made with another {key}"):
            run(config(named, override), whole[0])


# ------------------------------------------------------------------- nothing on the way is fatal


@pytest.mark.slow
def test_failed_and_refused_labels_are_counted_and_not_repeated(
    named: dict[str, str], tmp_path: Path
) -> None:
    limits = ("reference.min_distance=0.98", "explore.filter.max_label_force=3 eV/Å")
    copies = ("explore.rattled=12", "explore.rattle=0.03 Å", "explore.rounds=1")
    settings = config(named, *limits, *copies)
    out = tmp_path / "run"
    summary = run(settings, out)
    asked = made(summary)
    failed = [c for c in asked if c["failed"] is not None]
    refused = [c for c in asked if c["refused"] is not None]
    assert failed
    assert refused
    assert all("less than min_distance" in c["failed"] for c in failed)
    assert all("over 3 eV/Å (explore.filter.max_label_force)" in c["refused"] for c in refused)
    assert summary["failed_calls"] == len(failed)
    assert summary["labels"] == len(asked) - len(failed) - len(refused)
    largest = [
        np.linalg.norm(f.label.forces, axis=1).max()
        for f in read_frames(out / "labels.extxyz")[0]
        if f.label
    ]
    assert max(largest) <= 3


def test_no_label_at_all_is_no_start(named: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(LabellingError, match="none of the 1 start structures"):
        run(config(named, "reference.max_iterations=1"), tmp_path / "run")


def test_dynamics_that_explode_give_their_frames_until_then() -> None:
    potential = zoo.load("organic-xs")
    posterior = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    rounds = Cago(
        start=("-",), time="40 fs", write_every="1 fs", min_distance=0.97, temperature="1000 K"
    )
    (broken,) = simulate(rounds.dynamics(1), posterior, molecule("H2O"), 1)
    assert broken.wrong is not None
    assert "apart" in broken.wrong
    assert broken.time < 40
    assert len(broken.frames) == int(broken.time)
    bonds = [a.get_distances(0, [1, 2]).min() for a in broken.frames]
    assert min(bonds, default=1) > 0.97 * (0.66 + 0.31)
    again = rounds.model_copy(update={"max_restarts": 3})
    (twice,) = simulate(again.dynamics(1), posterior, molecule("H2O"), 1)
    assert len(twice.frames) > len(broken.frames)
    assert all(np.array_equal(a.positions, b.positions)
               for a, b in zip(broken.frames, twice.frames, strict=False))  # fmt: skip


# -------------------------------------------------------------------- others in the attack's place


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("acquire={kind: hot-md, temperature: 800 K}",),
        ("acquire={kind: max-uncertainty, candidates: 5}",),
        ("tune.subspace={kind: all, initial: random}", "acquire.attack={evaluations: 3}"),
        ("tune.sampler={kind: sghmc, members: 3, steps: 20}", "calibrate.kind=gamma"),
    ],
    ids=lambda given: given[0].partition("=")[2].strip("{").split(",")[0],
)
def test_other_proposers_and_posteriors(
    overrides: tuple[str, ...], named: dict[str, str], tmp_path: Path
) -> None:
    summary = run(config(named, *overrides), tmp_path / "run")
    last = summary["rounds"][-1]
    assert summary["labels"] > 4
    assert last["about"]["source"] == "dynamics"
    if "max-uncertainty" in overrides[0]:
        scores = [c["score"] for c in last["chosen"]]
        assert scores == sorted(scores, reverse=True)
        assert last["about"]["frames"] == 5


@pytest.mark.slow
def test_several_systems_share_one_set_and_go_on_from_the_last_members(
    named: dict[str, str], tmp_path: Path
) -> None:
    start = tmp_path / "both.xyz"
    write_frames(start, [Frame(molecule(n), None, n) for n in ("H2O", "CH4")])
    summary = run(
        config({"explore.start": str(start), "data.valid": named["data.test"]},
               "tune.begin=last", "tune.e0=reestimate"),
        tmp_path / "run",
    )  # fmt: skip
    for done in summary["rounds"][1:]:
        assert done["about"]["attacked"] == 4
    assert summary["systems"] == ["H2O", "CH4"]
    assert summary["judged_on"] == "validation"


def test_a_fit_begins_where_it_is_told_to(named: dict[str, str]) -> None:
    """With steps of no length every member stays at its own beginning."""
    ready = prepare(config(named), lambda text: None)
    frames, _ = read_frames(named["data.test"])
    start = ready.problem.subspace.start(ready.potential, torch.Generator())
    begin = {k: torch.stack([w + 0.01 * (i + 1) for i in range(2)]) for k, w in start.items()}
    problem = replace(ready.problem, train=frames, valid=frames[:1], begin=(begin, {}))
    still = {"learning_rate": 1e-30, "epochs": 1, "batch_size": 3}
    fit = Committee(members=2, vary="shuffles", **still).fit(problem)
    for name, moved in fit.moved.items():
        torch.testing.assert_close(moved, begin[name])
    alone = AdamW(**still).fit(replace(problem, begin=None))
    torch.testing.assert_close(alone.moved, {k: w[None] for k, w in start.items()})


# ------------------------------------------------------------------------- labels set apart


def test_what_is_set_apart_stays_apart() -> None:
    frames = [Frame(molecule("H2O"), None, str(i)) for i in range(95)]
    own = Committee(vary="bootstrap-splits")
    assert set_apart(frames[:49], own, 0) == (frames[:49], [])
    before: set[str] = set()
    for n in (50, 60, 95):
        learnt, apart = set_apart(frames[:n], own, 0)
        names = {f.origin for f in apart}
        assert before <= names
        assert [int(name) // 10 for name in sorted(names, key=int)] == list(range(n // 10))
        assert {f.origin for f in learnt} | names == {f.origin for f in frames[:n]}
        before = names
    assert set_apart(frames[:4], AdamW(), 0) == (frames[:3], frames[3:4])
    assert {len(set_apart(frames[:n], AdamW(), 0)[1]) for n in (10, 19)} == {1}


# ------------------------------------------------------------------------- what is refused


@pytest.fixture
def water(tmp_path: Path) -> Path:
    return tmp_path / "start.xyz"


def refused(settings: CagoConfig) -> str:
    with pytest.raises((DataError, ConfigError)) as error:
        prepare(settings, lambda text: None)
    return str(error.value)


def test_starts_that_cannot_be(named: dict[str, str], water: Path) -> None:
    frames = {
        "not know": Frame(molecule("SiH4"), None, "SiH4"),
        "isolated atom": Frame(molecule("H"), None, "H", config_type="IsolatedAtom"),
    }
    for said, frame in frames.items():
        write_frames(water, [frame])
        assert said in refused(config({**named, "explore.start": str(water)}))
    said = refused(config(named, "explore.rattled=0"))
    assert "from one label nobody can say how far a committee errs" in said
    said = refused(config(named, "explore.frames=9"))
    assert "makes 6 of each system, but a round takes 9" in said
    assert "npt" in refused(config(named, "explore.npt_from=2"))


def test_a_failure_is_no_label(named: dict[str, str]) -> None:
    reference = config(named, "reference.max_iterations=1").reference
    assert isinstance(reference.label(molecule("H2O")), Failure)
