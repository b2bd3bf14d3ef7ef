"""Posteriors on a fixed data set: chains to the end of their plan, kept on disk on their way."""

import hashlib
import json
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any

import torch

from tunesmith import tensor_files
from tunesmith.core import Weights
from tunesmith.engines.processes import unbroken
from tunesmith.errors import CheckpointError
from tunesmith.potentials.handle import alone
from tunesmith.run_folder import stamp
from tunesmith.settings import plain
from tunesmith.tune.density import ChainTask, Density
from tunesmith.tune.problem import Fit, Report
from tunesmith.tune.sghmc import Chain
from tunesmith.tune.walk import ChainState, advance, beginning

#: seconds between two lines of progress, and between two checkpoints
SHOW_EVERY, SAVE_EVERY = 5.0, 30.0


def sampled(
    tasks: list[ChainTask],
    place: Path | None = None,
    report: Report | None = None,
    executor: Executor | None = None,
) -> Fit:
    """All samples of the chains of all tasks, chain by chain; tasks of one problem.

    place: folder of the checkpoints, one for every task; from those that are there the chains go
    on, to the same bits. executor: None walks one task after the other here, else tasks travel in
    pieces of ``SAVE_EVERY`` seconds, and their checkpoints are still written here.

    Raises `TrainingError` when a chain diverges, `CheckpointError` where a checkpoint is damaged
    or of something else.
    """
    stores = [_Store(place, task) for task in tasks]
    states = [store.read() for store in stores]
    progress = _Progress(tasks, states, report)
    if executor is None:
        done = [
            _here(task, state, store, progress)
            for task, state, store in zip(tasks, states, stores, strict=True)
        ]
    else:
        done = _there(tasks, states, stores, progress, executor)
    target = Density(tasks[0])
    found = [torch.stack(state.samples, dim=1).flatten(0, 1) for state in done]
    moved, replay, noise = target.split(torch.cat(found))
    return Fit(
        _own(moved),
        [[dict(entry) for entry in entries] for state in done for entries in state.histories],
        f"all {tasks[0].plan.steps} steps done",
        {"chains": sum(len(task.names) for task in tasks), "steps": tasks[0].plan.steps},
        _own(replay),
        _own(noise),
        tasks[0].problem.loss.scale,
    )


def _own(weights: Weights) -> Weights:
    return {name: w.clone() for name, w in weights.items()}


# ------------------------------------------------------------------------- here and there


def _here(
    task: ChainTask, state: ChainState | None, store: "_Store", progress: "_Progress"
) -> ChainState:
    """To the end of a task's plan, in this process."""
    if state is not None and state.step == task.plan.steps:
        return state
    with alone(task.threads):
        target = Density(task)
        state = state or beginning(target, task)
        while state.step < task.plan.steps:
            state = advance(target, task, state, min(SHOW_EVERY, SAVE_EVERY))
            store.write(state)
            progress.tell(task, state)
    return state


def segment(task: ChainTask, state: ChainState | None, seconds: float) -> ChainState:
    """A piece of the way of some chains, in whichever process; state: None at the start."""
    with alone(task.threads):
        target = Density(task)
        return advance(target, task, state or beginning(target, task), seconds)


def _there(
    tasks: list[ChainTask],
    states: list[ChainState | None],
    stores: list["_Store"],
    progress: "_Progress",
    executor: Executor,
) -> list[ChainState]:
    """To the end of all plans, by an executor."""
    done: dict[int, ChainState] = {}
    under_way: dict[Future[ChainState], int] = {}

    def go_on(i: int, state: ChainState | None) -> None:
        if state is not None and state.step == tasks[i].plan.steps:
            done[i] = state
        else:
            under_way[executor.submit(segment, tasks[i], state, SAVE_EVERY)] = i

    try:
        with unbroken():
            for i, state in enumerate(states):
                go_on(i, state)
            while under_way:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    i, found = under_way.pop(future), future.result()
                    stores[i].write(found)
                    progress.tell(tasks[i], found)
                    go_on(i, found)
    finally:
        for future in under_way:
            future.cancel()
    return [done[i] for i in range(len(tasks))]


class _Progress:
    """Lines for the user: how far all chains are, and how long it takes."""

    def __init__(
        self, tasks: list[ChainTask], states: list[ChainState | None], report: Report | None
    ) -> None:
        self._report = report
        begun = [state.step if state else 0 for state in states]
        self._steps = dict(zip([task.names for task in tasks], begun, strict=True))
        self._total = sum(task.plan.steps for task in tasks)
        self._first, self._started = sum(begun), time.monotonic()
        self._shown = self._started

    def tell(self, task: ChainTask, state: ChainState) -> None:
        """After a piece of a task's way."""
        self._steps[task.names] = state.step
        now, done = time.monotonic(), sum(self._steps.values())
        over = done == self._total
        if self._report is None or (now - self._shown < SHOW_EVERY and not over):
            return
        self._shown = now
        left = (now - self._started) / max(1, done - self._first) * (self._total - done)
        chains = ", ".join(str(name + 1) for name in task.names)
        surprise = ""
        if state.histories[0]:
            mean = sum(h[-1]["train_loss"] for h in state.histories) / len(state.histories)
            surprise = f"; −log posterior {mean:.2f} per structure"
        self._report(
            f"chain {chains}: step {state.step} of {task.plan.steps}, {len(state.samples)} "
            f"sampled{surprise}; about {left:.0f} s left"
        )


# --------------------------------------------------------------------------- checkpoints


#: of a `Chain`, in its order
_PARTS = ("theta", "velocity", "pace", "v", "v_max")


class _Store:
    """The checkpoint of one task's chains."""

    def __init__(self, place: Path | None, task: ChainTask) -> None:
        self._path = None if place is None else place / f"chains-{task.names[0]}.safetensors"
        self._written = time.monotonic()
        self._steps, self._device = task.plan.steps, task.problem.potential.device
        self._of = "" if place is None else _fingerprint(task)

    def write(self, state: ChainState) -> None:
        """Where it is due: after a while, and at the end."""
        over = state.step == self._steps
        if self._path is None or (time.monotonic() - self._written < SAVE_EVERY and not over):
            return
        chains = state.chains
        tensors = {name: torch.stack([getattr(chain, name) for chain in chains]) for name in _PARTS}
        tensors |= {"draws": state.draws, "noises": torch.stack(state.noises)}
        if state.samples:
            tensors["samples"] = torch.stack(state.samples)
        info = {
            "of": self._of,
            "t": [chain.t for chain in chains],
            "step": state.step,
            "sums": state.sums,
            "histories": state.histories,
        }
        tensor_files.write(self._path, tensors, info)
        self._written = time.monotonic()

    def read(self) -> ChainState | None:
        """What is there; None where nothing is."""
        if self._path is None or not self._path.exists():
            return None
        tensors, info = tensor_files.read(self._path)
        if info.get("of") != self._of:
            raise CheckpointError(
                f"{self._path} is of another problem or of other settings; use another folder."
            )
        parts = [tensors[name].to(self._device) for name in _PARTS]
        rows = zip(*parts, info["t"], strict=True)
        return ChainState(
            tuple(Chain(*row) for row in rows),
            tensors["draws"],
            tuple(row.clone() for row in tensors["noises"]),  # a generator reads no views
            info["step"],
            tuple(s.to(self._device) for s in tensors.get("samples", ())),
            tuple(info["sums"]),
            tuple(tuple(entries) for entries in info["histories"]),
        )


def _fingerprint(task: ChainTask) -> str:
    """Of all that decides a task's numbers, but for the code and the number of threads."""
    problem = task.problem
    parts: dict[str, Any] = {
        "model": problem.potential.base.sha256,
        "dtype": str(problem.potential.dtype),
        "data": stamp.fingerprint(problem.train),
        "e0s": sorted(problem.e0s.values.items()),
        "seed": problem.seed,
        "plan": repr(task.plan),
        "names": task.names,
    }
    for name, part in (
        ("settings", task.settings),
        ("subspace", problem.subspace),
        ("anchor", problem.anchor),
        ("loss", problem.loss),
    ):
        parts[name] = plain(part)
    if problem.replay is not None:
        parts["replay"] = stamp.fingerprint(problem.replay.frames)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
