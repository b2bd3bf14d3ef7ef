"""The committee against fits made one by one, interrupted, in other processes."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import committee_run
from tiny import crystals, e0s, molecules, potential
from tunesmith import fine_tune
from tunesmith.config import RunConfig, TuneConfig, load
from tunesmith.core import Frame, Members, derived_seed
from tunesmith.data.formats import write_frames
from tunesmith.errors import CheckpointError, ConfigError, TrainingError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.tune import adamw_fit
from tunesmith.tune import committee_fit as module
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.committee import Committee
from tunesmith.tune.committee_fit import held, member, order
from tunesmith.tune.lora import LoRA
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Fit, Problem
from tunesmith.tune.replay import Replay
from tunesmith.tune.subspace import All

SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 3, "learning_rate": 1e-2, "ema": 0.9}
VARY = ("seeds", "shuffles", "bootstraps", "bootstrap-splits")


def problem(train: list[Frame] | None = None, **changes: Any) -> Problem:
    train = molecules(7) if train is None else train
    task = Problem(
        potential(), All(), NoAnchor(), Huber(), train, molecules(2, seed=9), e0s(), seed=11
    )
    return replace(task, **changes)


def same(one: Fit, other: Fit) -> None:
    """To the bit."""
    assert one.histories == other.histories
    assert one.moved.keys() == other.moved.keys()
    assert all(torch.equal(w, other.moved[n]) for n, w in one.moved.items())
    assert all(torch.equal(w, other.replay[n]) for n, w in one.replay.items())
    assert (one.finished, one.details) == (other.finished, other.details)


def apart(fit: Fit) -> float:
    """Largest difference between two members' weights."""
    return max(float((w - w[0]).abs().max()) for w in fit.moved.values())


# ------------------------------------------------------------------------ what members are


@pytest.mark.parametrize("vary", VARY)
def test_members_are_fits_of_their_own(vary: str) -> None:
    """The very bits of as many AdamW fits, with replay too."""
    replay = Replay(crystals(3), e0s(), Huber(), 1.0, 1, "")
    task, short = problem(replay=replay), {**SHORT, "epochs": 2}
    fit = Committee(members=2, vary=vary, **short).fit(task)
    for i in range(2):
        own = AdamW(**short).fit(member(task, vary, i, order(task, vary, i)))
        assert fit.histories[i] == own.histories[0]
        assert fit.details["best_epochs"][i] == own.details["best_epoch"]
        assert fit.replay.keys() == own.replay.keys() != set()
        for part in ("moved", "replay"):
            for name, weight in getattr(own, part).items():
                assert torch.equal(getattr(fit, part)[name][i], weight[0])
    assert apart(fit) > 1e-4


def test_seeds_and_shuffles_by_hand() -> None:
    """Seeds: the fits of the derived seeds. Shuffles: the seed of the whole, another order."""
    task = problem(crystals(3) + molecules(4))
    fit = Committee(members=2, vary="seeds", **SHORT).fit(task)
    for i in range(2):
        own = AdamW(**SHORT).fit(replace(task, seed=derived_seed(11, "member", i)))
        assert all(torch.equal(fit.moved[n][i], w[0]) for n, w in own.moved.items())
    assert "out_of_bag" not in fit.details
    replay = Replay(crystals(4), e0s(), Huber(), 1.0, 2, "")
    shuffled = [member(replace(task, replay=replay), "shuffles", i, order(task, "shuffles", i))
                for i in range(3)]  # fmt: skip
    for part in shuffled:
        assert part.seed == task.seed
        assert {id(f) for f in part.train} == {id(f) for f in task.train}
        assert part.replay is not None
        assert {id(f) for f in part.replay.frames} == {id(f) for f in replay.frames}
    assert len({tuple(map(id, part.train)) for part in shuffled}) == 3
    assert len({tuple(map(id, part.replay.frames)) for part in shuffled if part.replay}) > 1


def test_only_seeds_move_a_random_start() -> None:
    """Where nothing is learnt the members stand where they started."""
    task = problem(subspace=All(initial="random"))
    still = {**SHORT, "learning_rate": 1e-12, "members": 3}
    assert apart(Committee(vary="shuffles", **still).fit(task)) < 1e-9
    assert apart(Committee(vary="seeds", **still).fit(task)) > 0.01
    assert apart(Committee(vary="bootstraps", **still).fit(task)) > 0.01


def test_out_of_bag_is_what_a_member_never_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the structures that reach the network, and in number as chance has it."""
    task = problem()
    seen: list[set[bytes]] = [set() for _ in range(4)]
    real = AdamW.fit

    def spied(settings: Any, part: Problem, *rest: Any) -> Fit:
        mine = seen[next(i for i, s in enumerate(seen) if not s)]
        batch = part.potential.batch

        def noted(graphs: Any) -> Any:
            mine.update(g.positions.numpy().tobytes() for g in graphs)
            return batch(graphs)

        with monkeypatch.context() as patch:
            patch.setattr(part.potential, "batch", noted)
            return real(settings, replace(part, valid=[]), *rest)

    monkeypatch.setattr(AdamW, "fit", spied)
    fit = Committee(members=4, **SHORT).fit(task)
    keys = [task.potential.graph(f.atoms).positions.numpy().tobytes() for f in task.train]
    missing = [[i for i, key in enumerate(keys) if key not in mine] for mine in seen]
    assert fit.details["out_of_bag"] == missing
    assert len({tuple(m) for m in missing}) > 1

    many = problem(molecules(1) * 20)
    shares = [1 - len(set(order(many, "bootstraps", i))) / 20 for i in range(400)]
    expected = (1 - 1 / 20) ** 20
    assert np.mean(shares) == pytest.approx(expected, abs=4 * np.std(shares) / 20)


def test_splits_leave_the_common_test_alone() -> None:
    """Each member learns from its own bootstrap and judges by its own ninth."""
    task = problem(molecules(18))
    for i in range(20):
        aside, drawn = held(task, i), order(task, "bootstrap-splits", i)
        assert (len(aside), len(drawn)) == (2, 16), (
            "a tenth and eight tenths of 20, two in the test"
        )
        assert not set(aside) & set(drawn)
        part = member(task, "bootstrap-splits", i, drawn)
        assert [id(f) for f in part.valid] == [id(task.train[k]) for k in aside]
    assert len({tuple(held(task, i)) for i in range(20)}) > 10
    sizes = {n: len(held(problem(molecules(1) * n), 0)) for n in (1, 2, 3, 9, 13, 14, 90)}
    assert sizes == {1: 0, 2: 0, 3: 1, 9: 1, 13: 1, 14: 2, 90: 10}
    missed = [set(range(18)) - set(order(task, "bootstrap-splits", i)) - set(held(task, i))
              for i in range(400)]  # fmt: skip
    share = np.array([len(m) for m in missed]) / 16
    assert share.mean() == pytest.approx((1 - 1 / 16) ** 16, abs=4 * share.std() / 20)

    alone = problem(molecules(7), valid=[])  # nothing to recalibrate on is nothing to them
    settings = Committee(members=2, vary="bootstrap-splits", **SHORT)
    fit = settings.fit(replace(task, train=alone.train))
    same(fit, settings.fit(alone))
    for i, indices in enumerate(fit.details["out_of_bag"]):
        expected = set(range(7)) - set(held(alone, i)) - set(order(alone, "bootstrap-splits", i))
        assert set(indices) == expected


@pytest.mark.parametrize("subspace", [All(), LoRA(rank=2)], ids=["all", "lora"])
def test_a_committee_has_error_bars(subspace: Any) -> None:
    task = problem(molecules(8), subspace=subspace)
    fit = Committee(members=4, **{**SHORT, "epochs": 6}).fit(task)
    assert all(h[-1]["train_loss"] < h[0]["train_loss"] for h in fit.histories)
    members = Members(
        task.potential.base, task.potential.weights(), task.subspace, fit.moved, task.e0s
    )
    said = Ensemble.of(task.potential, members).predict([f.atoms for f in molecules(3, seed=5)])
    assert said.var_model is not None
    assert (said.var_model.energy > 1e-10).all()
    assert (said.var_model.forces > 1e-14).all()


# ----------------------------------------------------------------- what cannot be a committee


@pytest.mark.parametrize(
    ("vary", "train", "batch_size", "subspace", "fine"),
    [
        ("shuffles", 5, 5, All(), False),
        ("shuffles", 5, 4, All(), True),
        ("shuffles", 5, 5, LoRA(rank=2), False),
        ("seeds", 5, 5, All(), False),
        ("seeds", 5, 5, LoRA(rank=2), True),
        ("bootstraps", 1, 5, All(), False),
        ("bootstraps", 1, 5, LoRA(rank=2), True),
        ("bootstraps", 5, 5, All(), True),
    ],
)
def test_members_that_would_all_be_the_same_are_refused(
    vary: str, train: int, batch_size: int, subspace: Any, fine: bool
) -> None:
    task = problem(molecules(train), subspace=subspace)
    settings = Committee(members=3, vary=vary, **{**SHORT, "batch_size": batch_size})
    if fine:
        assert apart(settings.fit(task)) > 1e-6
        return
    with pytest.raises(TrainingError, match="batch_size"):
        settings.fit(task)
    if vary == "shuffles":  # what is refused has no spread but rounding
        same_start = [member(task, vary, i, order(task, vary, i)) for i in range(2)]
        one, other = (AdamW(**{**SHORT, "batch_size": batch_size}).fit(p) for p in same_start)
        assert all(torch.allclose(w, other.moved[n], atol=1e-8) for n, w in one.moved.items())
        replay = Replay(crystals(4), e0s(), Huber(), 1.0, 2, "")
        assert apart(settings.fit(replace(task, replay=replay))) > 1e-6


def test_the_member_that_diverges_is_named() -> None:
    broken = problem(seed=3)
    settings = Committee(members=3, **{**SHORT, "learning_rate": 1e9, "clip": None, "epochs": 50})
    for pool in (None, ThreadPoolExecutor(1)):
        with pytest.raises(TrainingError, match=r"member 1 of 3: the loss is .*learning_rate"):
            settings.fit(broken, executor=pool)


def test_settings(tmp_path: Path) -> None:
    def tuned(*overrides: str) -> Any:
        chosen = ("data.train=a.xyz", "tune.sampler.kind=committee", *overrides)
        return load(TuneConfig, overrides=chosen).tune.sampler

    settings = tuned("tune.sampler.learning_rate=0.01", "tune.sampler.members=4")
    assert (settings.kind, settings.members, settings.vary) == ("committee", 4, "bootstraps")
    assert settings.single(7) == AdamW(learning_rate=0.01)
    with pytest.raises(ConfigError, match=r"tune.sampler.members: 1 was given"):
        tuned("tune.sampler.members=1")
    with pytest.raises(ConfigError, match=r"tune.sampler.vary: 'seed' was given"):
        tuned("tune.sampler.vary=seed")
    with pytest.raises(ConfigError, match=r"'committee' .* use sghmc"):
        load(RunConfig, overrides=["tune.sampler.kind=committee"])
    with pytest.raises(ConfigError, match="epochs: steps say how long members learn"):
        tuned("tune.sampler.steps=[[1, 10]]", "tune.sampler.epochs=3")
    for wrong in (
        "[]",
        "[[2, 10]]",
        "[[1, 10], [1, 20]]",
        "[[1, 0]]",
        "[[1, 9], [5, 0]]",
        "[[1, 5], [9, 7], [4, 8]]",
    ):
        with pytest.raises(ConfigError, match="steps: rows of a number of structures"):
            tuned(f"tune.sampler.steps={wrong}")


@pytest.mark.parametrize(
    ("vary", "n", "epochs"),
    [
        ("bootstraps", 3, 4),  # seven steps, two an epoch
        ("bootstraps", 4, 6),  # twelve
        ("bootstrap-splits", 9, 3),  # eight of them: four an epoch
        ("seeds", 4, 6),
    ],
)
def test_the_length_of_training_grows_with_the_set(vary: Any, n: int, epochs: int) -> None:
    """As many steps as the row says, up to the end of an epoch."""
    settings = Committee(members=2, vary=vary, batch_size=2, steps=((1, 7), (4, 12)))
    fit = settings.fit(problem(molecules(n)))
    assert [len(history) for history in fit.histories] == [epochs, epochs]
    assert fit.details["epochs"] == [epochs, epochs]


def test_steps_are_made_whatever_validation_says() -> None:
    """A rate at which learning only spoils the start: one of the first epochs is the best."""
    spoils: dict[str, Any] = {"members": 2, "learning_rate": 0.3, "ema": 0.0, "clip": None}
    spoils |= {"batch_size": 1}
    fit = Committee(steps=((1, 150),), **spoils).fit(problem(molecules(2)))
    assert [len(history) for history in fit.histories] == [75, 75]
    patient = Committee(epochs=75, **spoils).fit(problem(molecules(2)))
    assert min(len(history) for history in patient.histories) < 75


def test_a_committee_with_steps_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Committee(members=2, batch_size=2, steps=((1, 7),), checkpoint_every="1e-9 s")
    whole = settings.fit(problem(molecules(3)))
    left = iter(range(5))

    def stops(self: Any, *args: Any) -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return step(self, *args)

    step = adamw_fit.AdamWFit.step
    monkeypatch.setattr(adamw_fit.AdamWFit, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        settings.fit(problem(molecules(3)), tmp_path)
    monkeypatch.setattr(adamw_fit.AdamWFit, "step", step)
    same(settings.fit(problem(molecules(3)), tmp_path), whole)


# ------------------------------------------------------------ wherever and however often it runs


def test_the_same_in_threads_and_as_said_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Committee(members=3, **{**SHORT, "epochs": 6, "checkpoint_every": "0 s"})
    told: dict[str, list[str]] = {"here": [], "there": []}
    here = settings.fit(problem(), None, told["here"].append)
    monkeypatch.setattr(module, "SHOW_EVERY", 0.02)
    with ThreadPoolExecutor(3) as pool:
        there = settings.fit(problem(), tmp_path, told["there"].append, pool)
    same(here, there)
    for lines in told.values():
        ends = [line for line in lines if "best epoch" in line]
        assert sorted(line[:13] for line in ends) == [f"member {i} of 3" for i in (1, 2, 3)]
        assert lines[-1].endswith("3 of 3 done")
    assert any(line.startswith("member 2 of 3: epoch 6") for line in told["here"])
    assert any("members to go, those begun at epoch" in line for line in told["there"])


def test_finished_members_are_not_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Committee(members=3, **SHORT)
    whole = settings.fit(problem(), tmp_path)
    task = problem()
    trained = 0
    evaluate = task.potential.evaluate

    def counted(*args: Any, create_graph: bool = False, **kwargs: Any) -> Any:
        nonlocal trained
        trained += create_graph
        return evaluate(*args, create_graph=create_graph, **kwargs)

    monkeypatch.setattr(task.potential, "evaluate", counted)
    same(settings.fit(task, tmp_path), whole)
    assert trained == 0
    (tmp_path / "member-1" / "state.safetensors").unlink()
    same(settings.fit(task, tmp_path), whole)
    assert trained == 3 * 3  # the steps of one member
    longer = Committee(members=3, **{**SHORT, "epochs": 5})
    same(longer.fit(task, tmp_path), longer.fit(problem()))
    path = tmp_path / "member-2" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"member-2.*damaged"):
        settings.fit(problem(), tmp_path)


def program(place: Path, processes: int, step: int) -> int:
    """The exit code of a committee in a program of its own, which ends itself at a step."""
    script = Path(committee_run.__file__)
    path = os.pathsep.join([str(script.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(script), str(place), str(processes), str(step)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_killed_and_run_again_it_is_the_same(tmp_path: Path) -> None:
    """In the middle of the second member; the first is not fitted again."""
    assert program(tmp_path, 1, 6) == -9
    assert committee_run.steps(tmp_path) == 6
    assert (tmp_path / "member-0" / "state.safetensors").exists()
    assert not (tmp_path / "member-2").exists()
    same(committee_run.fit(tmp_path), committee_run.fit(None))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_from_files_to_files_in_one_process_and_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    model = potential()
    model.export(tmp_path / "base.model", model.weights(), model.e0s)
    write_frames(tmp_path / "train.xyz", molecules(8))

    def tuned(processes: int) -> dict[str, Any]:
        given = (
            "tune.sampler={kind: committee, members: 2, epochs: 2, learning_rate: 0.01}",
            *("model.dtype=float64", f"execute.processes={processes}"),
        )
        files = {"model.source": tmp_path / "base.model", "data.train": tmp_path / "train.xyz"}
        shortcuts = {path: str(file) for path, file in files.items()}
        return fine_tune(load(TuneConfig, None, given, shortcuts), tmp_path / f"run-{processes}")

    one, two = tuned(1), tuned(2)
    assert one["before"] == two["before"]
    assert one["after"] == two["after"]
    assert one["best_epochs"] == two["best_epochs"]
    ours = [tmp_path / f"run-{n}" / "members" / "members.safetensors" for n in (1, 2)]
    assert ours[0].read_bytes() == ours[1].read_bytes()
    assert len(list(ours[1].parent.glob("member-*.model"))) == 2
    assert tuned(2) == two  # finished: the same summary


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("step", [2, 9])
def test_killed_with_processes_it_is_the_same(tmp_path: Path, step: int) -> None:
    """With two members at work, before and after the first is finished."""
    assert program(tmp_path, 2, step) == -9
    time.sleep(1)  # the workers end with their parent
    assert program(tmp_path, 2, 0) == 0
    # every step has its checkpoint: of each of the two the one under way is done again, no other
    assert committee_run.STEPS <= committee_run.steps(tmp_path) <= committee_run.STEPS + 2
    same(committee_run.fit(tmp_path), committee_run.fit(None))
