"""Rounds from a pool: what they leave, that they go on after any interruption, what is refused."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import ase.io
import mace.calculators  # noqa: F401 (once here, not in every fork)
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

import mortal
from small_pool import config, files, frames, results
from tunesmith import Calculator
from tunesmith.config import PoolConfig
from tunesmith.core import Frame, Label
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.store import LabelStore
from tunesmith.errors import DataError, RunFolderError, TunesmithError
from tunesmith.loop.rounds.rounds_prepare import prepare
from tunesmith.loop.run import run
from tunesmith.potentials import zoo
from tunesmith.report.curves import read

FORCE = "force_rmse_meV_per_A"
REST = "explore.rest={}"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def whole(
    named: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Uninterrupted rounds and their summary."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, run(config(named), out)


def picked(summary: dict[str, Any]) -> list[int]:
    return [c["number"] for r in summary["rounds"] for c in r["chosen"]]


# ------------------------------------------------------------------------ what they leave


def test_every_round_labels_a_batch_and_measures(whole: tuple[Path, dict[str, Any]]) -> None:
    out, summary = whole
    rounds = summary["rounds"]
    assert [(r["round"], r["labels"], r["left"]) for r in rounds] == [
        (0, 2, 8),
        (1, 4, 6),
        (2, 6, 4),
    ]
    assert len(set(picked(summary))) == summary["labels"] == summary["asked"] == 6
    assert all(r["test"][FORCE] > 0 for r in rounds)
    assert rounds[0]["chosen"][0]["score"] is None, "drawn"
    assert rounds[1]["chosen"][0]["score"] is not None
    assert -1 <= rounds[2]["spearman"]["forces"] <= 1
    assert summary["auc"][FORCE] == pytest.approx(sum(r["test"][FORCE] for r in rounds))
    np.testing.assert_allclose(read(out).values[FORCE], [r["test"][FORCE] for r in rounds])
    assert (out / "final.model").exists()
    assert (out / "curves.png").exists()


def test_labels_are_the_hidden_ones_and_say_when_they_were_made(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str]
) -> None:
    out, summary = whole
    hidden, _ = read_frames(named["explore.files"])
    made, _ = read_frames(out / "labels.extxyz")
    for frame, number in zip(made, picked(summary), strict=True):
        assert frame.label is not None
        assert hidden[number].label is not None
        assert frame.label.energy == hidden[number].label.energy
        np.testing.assert_array_equal(frame.label.forces, hidden[number].label.forces)
    rounds = [a.info["round"] for a in ase.io.read(out / "labels.extxyz", ":")]
    assert rounds == [0, 0, 1, 1, 2, 2]


def test_labels_nobody_asked_for_have_no_say(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str], tmp_path: Path
) -> None:
    """Nonsense in place of every label that is not chosen: the same choices, the same bytes."""
    pool, _ = read_frames(named["explore.files"])
    asked = set(picked(whole[1]))
    spoilt = [
        f if i in asked or f.label is None
        else replace(f, label=Label(1e9 * (i + 1), np.full_like(f.label.forces, np.nan)))
        for i, f in enumerate(pool)
    ]  # fmt: skip
    again = run(config(files(tmp_path, spoilt)), tmp_path / "run")
    assert picked(again) == picked(whole[1])
    assert results(tmp_path / "run") == results(whole[0])


def test_a_label_that_cannot_be_is_counted_not_fatal(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str], tmp_path: Path
) -> None:
    pool, _ = read_frames(named["explore.files"])
    bad = whole[1]["rounds"][1]["chosen"][0]["number"]
    label = pool[bad].label
    assert label is not None
    pool[bad] = replace(pool[bad], label=Label(label.energy, 1e6 * label.forces))
    summary = run(config(files(tmp_path, pool), "explore.rounds=1"), tmp_path / "run")
    first = summary["rounds"][1]
    assert (summary["failed_calls"], first["labels"], first["left"]) == (1, 3, 6)
    assert "over max_force" in first["chosen"][0]["failed"]


@pytest.mark.slow
def test_disagreement_and_chance_choose_too(named: dict[str, str], tmp_path: Path) -> None:
    committee = run(
        config(
            named,
            "acquire={kind: committee, batch: 2}",
            "tune.sampler={kind: committee, members: 2, epochs: 2, batch_size: 1}",
            "explore.rounds=1",
            "explore.start=3",
        ),
        tmp_path / "committee",
    )
    scores = [c["score"] for c in committee["rounds"][1]["chosen"]]
    assert scores[0] >= scores[1] > 0
    assert committee["members"] == 2
    assert len(list((tmp_path / "committee" / "members").glob("*.model"))) == 2
    chance = [
        run(config(named, "acquire={kind: random, batch: 3}", "explore.rounds=1", f"seed={seed}"),
            tmp_path / f"random-{seed}")
        for seed in (0, 1)
    ]  # fmt: skip
    assert chance[0]["rounds"][1]["spearman"] == {"energy": None, "forces": None}
    assert picked(chance[0]) != picked(chance[1])


def test_without_labels_the_first_choice_is_the_untuned_models(
    named: dict[str, str], tmp_path: Path
) -> None:
    nothing = ("explore.start=0", "explore.rounds=1", "acquire={kind: greedy, batch: 2}")
    summary = run(config(named, *nothing), tmp_path / "run")
    untuned, first = summary["rounds"]
    assert (untuned["labels"], first["labels"]) == (0, 2)
    assert untuned["test"]["energy_rmse_meV_per_atom"] is None, "of another level of theory"
    assert untuned["test"][FORCE] > 0
    assert first["chosen"][0]["nearest"] is None
    assert summary["auc"][FORCE] == pytest.approx(first["test"][FORCE])


# ------------------------------------------------------------------- the pool's unlabelled rest


def test_the_rest_is_what_was_drawn_and_not_asked_for(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str], tmp_path: Path
) -> None:
    """All of a pool of ten: the errors are those that the exported model has on the others."""
    out = tmp_path / "run"
    summary = run(config(named, REST.format(99)), out)
    rounds = summary["rounds"]
    assert [r["rest"]["structures"] for r in rounds] == [8, 6, 4]
    pool, _ = read_frames(named["explore.files"])
    left = [f for i, f in enumerate(pool) if i not in picked(summary)]
    calculator = Calculator(out)
    errors = [calculator.get_forces(f.atoms) - f.label.forces for f in left if f.label is not None]
    rmse = 1e3 * np.sqrt(np.mean(np.concatenate(errors) ** 2))
    assert rounds[-1]["rest"][FORCE] == pytest.approx(rmse, rel=1e-4)
    curve = read(out, on="rest")
    assert summary["rest"]["auc"][FORCE] == pytest.approx(curve.values[FORCE].sum())
    assert summary["rest"]["final"] == rounds[-1]["rest"]
    assert results(out) == results(whole[0]), "a measurement changes nothing"
    without = [{k: v for k, v in r.items() if k != "rest"} for r in rounds]
    assert without == [{k: v for k, v in r.items() if k != "rest"} for r in whole[1]["rounds"]]
    assert (whole[1]["rest"], whole[1]["rounds"][0]["rest"]) == ({}, {})


def test_the_rest_is_drawn_once_whoever_chooses_and_however_long(
    named: dict[str, str], tmp_path: Path
) -> None:
    def drawn(*overrides: str) -> list[int]:
        return list(prepare(config(named, REST.format(4), *overrides), lambda text: None).rest)

    assert len(set(drawn())) == 4
    assert drawn() == drawn("acquire={kind: random, batch: 1}") == drawn("explore.rounds=1")
    assert any(drawn(f"seed={seed}") != drawn() for seed in (1, 2))


def test_the_rest_goes_on_as_if_uninterrupted(named: dict[str, str], tmp_path: Path) -> None:
    at_once, later = tmp_path / "at once", tmp_path / "later"
    wanted = run(config(named, REST.format(5)), at_once)
    run(config(named, REST.format(5), "explore.rounds=1"), later)
    found = run(config(named, REST.format(5)), later)
    assert found["rounds"] == wanted["rounds"]
    assert results(later) == results(at_once)
    with pytest.raises(RunFolderError, match=r"made with another explore\.rest \(5, now 4\)"):
        run(config(named, REST.format(4)), later)


def test_what_hides_no_label_that_holds_is_no_part_of_the_rest(
    named: dict[str, str], tmp_path: Path
) -> None:
    pool, _ = read_frames(named["explore.files"])
    impossible = Label(0.0, np.full_like(pool[3].atoms.positions, np.nan))
    pool[3], pool[7] = replace(pool[3], label=impossible), replace(pool[7], label=None)
    found = prepare(config(files(tmp_path, pool), REST.format(99)), lambda text: None).rest
    assert set(found) == set(range(10)) - {3, 7}


# -------------------------------------------------------------------------- interruptions


def mortal_run(settings: PoolConfig, out: Path, moment: str, call: int) -> None:
    mortal.end_at(signal.SIGKILL, moment, call)
    run(settings, out)


@pytest.mark.parametrize(
    ("moment", "call"),
    [
        ("inside a fit", 9),
        pytest.param("label committed, not learnt", 4, marks=pytest.mark.slow),
        pytest.param("members of a round saved, not named", 2, marks=pytest.mark.slow),
        pytest.param("rounds saved, old ones there", 2, marks=pytest.mark.slow),
        pytest.param("results half written", 1, marks=pytest.mark.slow),
    ],
)
def test_killed_they_end_the_same(
    moment: str,
    call: int,
    whole: tuple[Path, dict[str, Any]],
    named: dict[str, str],
    tmp_path: Path,
) -> None:
    out, settings = tmp_path / "run", config(named, "tune.sampler.checkpoint_every=0.001 s")
    child = get_context("fork").Process(target=mortal_run, args=(settings, out, moment, call))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    summary = run(settings, out)
    assert results(out) == results(whole[0])
    assert summary["rounds"] == whole[1]["rounds"]
    assert len(LabelStore(out / "labels.db").entries()) == 6, "no label is asked for twice"


@pytest.mark.slow
def test_sigterm_leaves_at_once_and_loses_nothing(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def end() -> None:
        while not (out / "checkpoint" / "state.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(SystemExit) as left:
        run(config(named), out)
    assert left.value.code == 143
    assert not (out / "summary.json").exists()
    run(config(named), out)
    assert results(out) == results(whole[0])


@pytest.mark.slow
def test_more_rounds_may_be_asked_for_not_fewer_nor_others(
    whole: tuple[Path, dict[str, Any]], named: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(config(named, "explore.rounds=1"), out)
    assert run(config(named), out)["rounds"] == whole[1]["rounds"]
    assert results(out) == results(whole[0])
    before = (out / "summary.json").stat().st_mtime_ns
    assert run(config(named), out)["rounds"] == whole[1]["rounds"]
    assert (out / "summary.json").stat().st_mtime_ns == before, "nothing is done twice"
    with pytest.raises(RunFolderError, match=r"has done 2 rounds, more than explore\.rounds = 1"):
        run(config(named, "explore.rounds=1"), out)
    for override, key in (
        ("acquire.batch=1", "acquire.batch"),
        ("acquire.rule=lcmd", "acquire.rule"),
        ("explore.start=1", "explore.start"),
        ("tune.sampler.epochs=3", "tune.sampler.epochs"),
        ("seed=1", "seed"),
    ):
        with pytest.raises(RunFolderError, match=f"made with another {key}"):
            run(config(named, override), out)
    other = files(tmp_path / "other", frames(10, 7))
    with pytest.raises(RunFolderError, match="other data"):
        run(config(other), out)
    assert json.loads((out / "summary.json").read_text())["labels"] == 6


# ------------------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def _loaded_once() -> Iterator[None]:
    """The model, which no refusal changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "load", cache(zoo.load))
        yield


alone = pytest.mark.usefixtures("_loaded_once")


def refused(settings: PoolConfig) -> str:
    with pytest.raises(TunesmithError) as error:
        prepare(settings, lambda text: None)
    return str(error.value)


@alone
def test_fewer_candidates_than_asked_for(named: dict[str, str]) -> None:
    said = refused(config(named, "explore.rounds=5"))
    assert "2 to start with and 5 rounds of 2 need 12 candidates, but the pool has 10" in said
    assert "at most 4 rounds" in said


@alone
def test_an_empty_pool(named: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty.xyz").write_text("")
    assert "empty" in refused(config({**named, "explore.files": str(tmp_path / "empty.xyz")}))


@alone
@pytest.mark.parametrize("setting", ["data.valid", "data.test", "data.initial"])
def test_a_candidate_among_the_labelled(
    setting: str, named: dict[str, str], tmp_path: Path
) -> None:
    shared = [*frames(2, 5), frames(10, 0)[4]]
    write_frames(tmp_path / "shared.xyz", shared)
    said = refused(config({**named, setting: str(tmp_path / "shared.xyz")}))
    assert "shared.xyz#2 is also files.xyz#4 of explore.files" in said


@alone
def test_a_candidate_twice(tmp_path: Path) -> None:
    pool = frames(9, 0)
    said = refused(config(files(tmp_path, [*pool, pool[3]])))
    assert "files.xyz#9 is the same structure as files.xyz#3" in said


@alone
def test_elements_the_model_does_not_know(tmp_path: Path) -> None:
    strange = Frame(molecule("SiH4"), Label(0.0, np.ones((5, 3))), "strange")
    said = refused(config(files(tmp_path, [*frames(9, 0), strange])))
    assert "contains Si, which the model does not know" in said


@alone
def test_isolated_atoms_are_no_candidates(tmp_path: Path) -> None:
    alone = Frame(Atoms("H"), Label(-10.0, np.zeros((1, 3))), "H", config_type="IsolatedAtom")
    assert "isolated atom" in refused(config(files(tmp_path, [*frames(9, 0), alone])))


@alone
def test_a_pool_without_labels_to_hide(tmp_path: Path) -> None:
    bare = [replace(f, label=None) for f in frames(10, 0)]
    assert "no structure of the pool has a label" in refused(config(files(tmp_path, bare)))


@alone
def test_nothing_is_written_where_rounds_are_refused(named: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(config(named, "explore.rounds=50"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
