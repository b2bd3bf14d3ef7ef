"""Killed at any moment, a run goes on to the same result: the real program, killed for real.

The yardstick is one uninterrupted run. Every other run is killed, and the same command given again
until it is done; then all that it leaves must be the yardstick's: labels, their order and why they
were asked for, the trajectory's bytes, the members' bits, where the dynamics stands, the summary.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mace.calculators  # noqa: F401 (once here, not in every fork)
import numpy as np
import pytest

import mortal
import tunesmith.loop.onthefly.onthefly_outputs  # noqa: F401 (likewise)
from small import config, results
from tunesmith import tensor_files
from tunesmith.config import dump
from tunesmith.core import Label
from tunesmith.data.label_row import canonical, label_key
from tunesmith.data.store import LabelStore
from tunesmith.errors import CheckpointError

#: 60 steps; labels after every 6 fs and where errors over 6.5 meV are likely
SETTINGS = (
    "explore.time=30 fs",
    "acquire.max_gap=6 fs",
    "target.energy=0.15 kcal/mol",
    "loop.checkpoint_every=0.05 s",
    "tune.sampler={kind: sghmc, members: 2, steps: 20, together: 1}",
)
MARK = "TUNESMITH_TEST_RUN"
LONGEST = 600.0  # s that one process may take on a crowded machine


@dataclass
class Program:
    """One run folder and the command that fills it, given as often as it takes."""

    folder: Path
    files: list[str]
    settings: tuple[str, ...] = ()
    fork: bool = False
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def out(self) -> Path:
        return self.folder / "run"

    def start(
        self, sign: str = "", moment: str = "never", call: int = 1, settings: tuple[str, ...] = ()
    ) -> "Process":
        """Start the program, to be ended by itself at a moment."""
        self.folder.mkdir(exist_ok=True)
        recipe = self.folder / "water.yaml"
        recipe.write_text(dump(config(self.files, *_merged(*SETTINGS, *self.settings))))
        chosen = [part for text in settings for part in ("--set", text)]
        arguments = [sign, moment, str(call), "run", str(recipe), "--out", str(self.out), *chosen]
        variables = {mortal.CALLS: str(self.folder / "calls"), MARK: self.mark}
        if self.fork:
            return Fork(arguments, variables)
        return Process(arguments, variables, self.folder / "said")

    def calls(self) -> int:
        """How often the reference was asked, by all processes together."""
        path = self.folder / "calls"
        return path.stat().st_size if path.exists() else 0

    def relatives(self, command: str = "") -> list[int]:
        """Living processes that this program, or its children, have started.

        command: part of the command line of those that are meant.
        """
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() not in path.read_bytes():
                    continue
                if command.encode() in (path.parent / "cmdline").read_bytes():
                    found.append(int(path.parent.name))
        return found

    def left_alone(self) -> list[int]:
        """Those that are still there 30 s later: helpers notice the end of a pipe after it."""
        began = time.monotonic()
        while (alive := self.relatives()) and time.monotonic() - began < 30:
            time.sleep(0.02)
        return alive


def _merged(*settings: str) -> list[str]:
    """The last of each path."""
    return list({text.partition("=")[0]: text for text in settings}.values())


class Process:
    """The program as a process of its own."""

    def __init__(self, arguments: list[str], variables: dict[str, str], said: Path) -> None:
        self._said = said
        with said.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, mortal.__file__, *arguments],
                env=os.environ | variables,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code, minus the signal where one ended it; None where it goes on longer."""
        try:
            return self._process.wait(LONGEST if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            if seconds is None:
                self._process.kill()
                raise
            return None

    def said(self) -> str:
        return self._said.read_text()


class Fork(Process):
    """A copy of this process that runs the program: no imports to wait for."""

    def __init__(self, arguments: list[str], variables: dict[str, str]) -> None:
        self._fork = get_context("fork").Process(target=_forked, args=(arguments, variables))
        self._fork.start()

    def wait(self, seconds: float | None = None) -> int | None:
        self._fork.join(LONGEST if seconds is None else seconds)
        return self._fork.exitcode

    def kill(self) -> None:
        self._fork.kill()


def _forked(arguments: list[str], variables: dict[str, str]) -> None:
    os.environ.update(variables)
    sys.exit(mortal.main(*arguments))


# ------------------------------------------------------------------------ all that is left


def left(run: Path) -> dict[str, Any]:
    """Everything that must not depend on how a run came to its end."""
    tensors, info = tensor_files.read(run / "checkpoint" / "state.safetensors")
    heavy, _ = tensor_files.read(run / "checkpoint" / f"members-{info['number']}.safetensors")
    info.pop("seconds")
    summary = json.loads((run / "summary.json").read_text())
    for times in ("wall_time_s", "final_model"):  # and the folder's name
        summary.pop(times)
    states = {name: t.numpy().tobytes() for name, t in {**tensors, **heavy}.items()}
    return {**results(run), "rows": rows(run), "state": states, "info": info, "summary": summary}


def rows(run: Path) -> list[tuple[Any, ...]]:
    """The label store without the times in it, in order."""
    found = []
    for entry in LabelStore(run / "labels.db").entries():
        assert isinstance(entry.outcome, Label)
        label, key = entry.outcome, label_key(entry.frame.atoms, entry.identity)
        bits = np.array([label.energy, *label.forces.ravel()]).tobytes()
        found.append((key, bits, entry.frame.origin, canonical(dict(entry.extra or {}))))
    return found


def same(run: Path, yardstick: dict[str, Any]) -> None:
    """Part by part, so that a failure says what differs."""
    found = left(run)
    for part, value in yardstick.items():
        assert found[part] == value, f"{part} differs"
    assert not list((run / "checkpoint").glob("*.part"))
    assert len(list((run / "checkpoint").glob("members-*"))) == 1


def position(run: Path) -> str:
    """Where a killed run would go on, for the table."""
    labels = len(LabelStore(run / "labels.db")) if (run / "labels.db").exists() else 0
    try:
        _, info = tensor_files.read(run / "checkpoint" / "state.safetensors")
    except CheckpointError:
        return f"{labels} labels stored, no checkpoint"
    at = info["state"]
    return f"{labels} labels stored, {len(at['keys'])} learnt, step {at['steps']}"


# ------------------------------------------------------------------------ the yardsticks


@dataclass
class Yardstick:
    """An uninterrupted run. calls: of its reference."""

    left: dict[str, Any]
    calls: int

    @property
    def written(self) -> int:
        """Bytes of its trajectory."""
        return len(self.left["trajectory.extxyz"])


def uninterrupted(program: Program) -> Yardstick:
    assert program.start().wait() == 0
    return Yardstick(left(program.out), program.calls())


@pytest.fixture(scope="module")
def whole(water: list[str], tmp_path_factory: pytest.TempPathFactory) -> Yardstick:
    found = uninterrupted(Program(tmp_path_factory.mktemp("whole"), water))
    assert found.left["summary"]["steps"] == 60
    assert found.calls == found.left["summary"]["labels"] >= 6
    return found


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """A line per killed run, printed at the end (pytest -s)."""
    lines: list[str] = []
    yield lines
    print("\n" + "\n".join(lines))


# ------------------------------------------------------------------------------- SIGKILL

#: moment, its calls, and how many reference calls such a kill loses at most
EXACT = [
    ("inside the store's commit", (1, 3, 5), 1),
    ("label committed, not learnt", (1, 4), 0),
    ("inside a reference call", (1, 3, 6), 1),
    ("label computed, not stored", (4,), 1),
    ("inside an update", (5, 70, 170), 0),
    ("update done, not saved", (3,), 0),
    ("checkpoint written, not renamed", (1, 4, 11), 0),
    ("members renamed, state not", (3,), 0),
    ("state renamed, old members there", (5,), 0),
    ("frame of the trajectory in a buffer", (23,), 0),
    ("folder not yet claimed", (1,), 0),
    ("exporting a member", (1,), 0),
    ("results half written", (1,), 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "call", "lost"),
    [(moment, call, lost) for moment, calls, lost in EXACT for call in calls],
)
def test_killed_at_an_exact_moment(
    whole: Yardstick,
    water: list[str],
    table: list[str],
    tmp_path: Path,
    moment: str,
    call: int,
    lost: int,
) -> None:
    program = Program(tmp_path, water)
    assert program.start("SIGKILL", moment, call).wait() == -signal.SIGKILL, "it was not killed"
    at = position(program.out)
    assert program.start().wait() == 0
    again = program.calls() - whole.calls
    table.append(f"{moment} (call {call}): {at}; {again} reference calls repeated")
    same(program.out, whole.left)
    assert 0 <= again <= lost, "a committed label was computed twice"


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "processes"), [(1, 1)] * 3 + [(3, 1), (2, 2)])
def test_killed_at_random_moments(
    whole: Yardstick,
    water: list[str],
    table: list[str],
    tmp_path: Path,
    kills: int,
    processes: int,
) -> None:
    program = Program(tmp_path, water, (f"execute.processes={processes}",))
    rng, at = np.random.default_rng(), []
    written = program.out / "trajectory.extxyz"
    # how far it is, and a while more: the clock alone would mostly find it still importing
    for part in np.sort(rng.uniform(0, 0.95, kills)):
        process = program.start()
        while not (written.exists() and written.stat().st_size >= part * whole.written):
            assert process.wait(0.01) is None, "it was too quick to be killed"
        process.wait(rng.uniform(0, 1.5))
        process.kill()
        process.wait()
        at.append(position(program.out))
    assert program.start().wait() == 0
    again = program.calls() - whole.calls
    table.append(
        f"random, {processes} processes, {'; '.join(at)}; {again} reference calls repeated"
    )
    same(program.out, whole.left)
    assert 0 <= again <= kills, "a committed label was computed twice"


def test_killed_twice_and_the_same(water: list[str], tmp_path: Path) -> None:
    """The short form of the above."""
    settings = ("explore.time=3 fs", "acquire.max_gap=1 fs")
    whole = uninterrupted(Program(tmp_path / "whole", water, settings, fork=True))
    program = Program(tmp_path / "killed", water, settings, fork=True)
    for moment, call in (
        ("inside the store's commit", 2),
        ("checkpoint written, not renamed", 2),
    ):
        assert program.start("SIGKILL", moment, call).wait() == -signal.SIGKILL
    assert program.start().wait() == 0
    same(program.out, whole.left)
    assert program.calls() == whole.calls + 1, "only the one in flight is repeated"


#: two labels an update: of the structure asked about, then of the adversary made of it
PAIRS = ("explore.time=2 fs", "acquire.max_gap=0.5 fs", "attack.target=150 meV/Å")


@pytest.fixture(scope="module")
def paired(water: list[str], tmp_path_factory: pytest.TempPathFactory) -> Yardstick:
    found = uninterrupted(Program(tmp_path_factory.mktemp("paired"), water, PAIRS, fork=True))
    assert found.left["summary"]["attacks"][0]["outcome"] == "learnt"
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "call", "labels", "lost"),
    [
        ("label committed, not learnt", 3, 2, 0),  # of the first pair the first: no attack as yet
        ("inside a reference call", 3, 2, 1),  # the adversary's own
        ("inside the store's commit", 3, 2, 1),
        ("label committed, not learnt", 4, 3, 0),  # both are there, and none learnt
        ("inside an update", 60, 3, 0),
        ("update done, not saved", 2, 3, 0),
    ],
)
def test_killed_between_the_two_labels_of_a_pair(
    paired: Yardstick,
    water: list[str],
    table: list[str],
    tmp_path: Path,
    moment: str,
    call: int,
    labels: int,
    lost: int,
) -> None:
    program = Program(tmp_path, water, PAIRS, fork=True)
    assert program.start("SIGKILL", moment, call).wait() == -signal.SIGKILL, "it was not killed"
    assert len(LabelStore(program.out / "labels.db")) == labels
    at = position(program.out)
    assert program.start().wait() == 0
    again = program.calls() - paired.calls
    table.append(f"of a pair, {moment} (call {call}): {at}; {again} reference calls repeated")
    same(program.out, paired.left)
    assert 0 <= again <= lost, "a committed label was computed twice"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_no_process_outlives_a_killed_run(
    whole: Yardstick, water: list[str], table: list[str], tmp_path: Path
) -> None:
    program = Program(tmp_path, water, ("execute.processes=2",))
    process = program.start("SIGKILL", "inside an update of workers", 2)
    most = 0
    while process.wait(0.05) is None:
        most = max(most, len(program.relatives()))
    assert process.wait() == -signal.SIGKILL
    began = time.monotonic()
    assert not program.left_alone(), "workers go on without the run"
    assert most >= 4, "the run, its reference's process and two workers"
    gone, at = time.monotonic() - began, position(program.out)
    assert program.start().wait() == 0
    table.append(f"inside an update of workers: {at}; {most - 1} processes gone after {gone:.2f} s")
    same(program.out, whole.left)
    assert program.calls() == whole.calls


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_a_killed_worker_is_said_and_the_run_goes_on(
    whole: Yardstick, water: list[str], tmp_path: Path
) -> None:
    """As by a system that is short of memory."""
    program = Program(tmp_path, water, ("execute.processes=2",))
    process = program.start()
    while not (workers := program.relatives("spawn_main")):
        assert process.wait(0.05) is None
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait() == 2
    assert "error: a process that shared the work was ended" in process.said()
    assert program.start().wait() == 0
    same(program.out, whole.left)
    assert program.calls() == whole.calls


# ------------------------------------------------------------------------------- SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "call", "processes"),
    [
        ("frame of the trajectory in a buffer", 20, 1),
        ("inside an update", 90, 1),
        ("inside an update of workers", 2, 2),
    ],
)
def test_sigterm_saves_and_leaves(
    whole: Yardstick,
    water: list[str],
    table: list[str],
    tmp_path: Path,
    moment: str,
    call: int,
    processes: int,
) -> None:
    program = Program(tmp_path, water, (f"execute.processes={processes}",))
    assert program.start("SIGTERM", moment, call).wait() == 143
    assert (program.out / "checkpoint" / "state.safetensors").exists()
    assert not (program.out / "summary.json").exists()
    if Path("/proc/self/environ").exists():
        # at once; but multiprocessing's tracker sees the end of its pipe only after ours
        tracker = set(program.relatives("resource_tracker"))
        assert not set(program.relatives()) - tracker
        assert not program.left_alone()
    at = position(program.out)
    if moment.startswith("frame"):
        assert f"step {call}" in at, "the step is finished and saved"
    assert program.start().wait() == 0
    again = program.calls() - whole.calls
    table.append(f"SIGTERM, {moment}: {at}; {again} reference calls repeated")
    same(program.out, whole.left)
    assert 0 <= again <= 1


# --------------------------------------------------------- longer, and with other settings


@pytest.mark.slow
def test_longer_or_with_other_settings(whole: Yardstick, water: list[str], tmp_path: Path) -> None:
    """A finished run is extended, to what it would have been; a changed setting is refused."""
    program = Program(tmp_path, water)
    assert program.start(settings=("explore.time=14 fs",)).wait() == 0
    before = left(program.out)
    assert before["summary"]["steps"] == 28
    refused = program.start(settings=("tune.sampler.learning_rate=2e-3",))
    assert refused.wait() == 2
    last = refused.said().strip().splitlines()[-1]
    assert "made with another tune.sampler.learning_rate (0.001, now 0.002)" in last
    assert left(program.out) == before
    assert program.start().wait() == 0
    same(program.out, whole.left)
    assert program.calls() == whole.calls
