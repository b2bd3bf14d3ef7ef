"""The fits of a committee: what each member learns from, and how they are computed.

Each member is a fit of a `Problem` of its own and a function of that alone. The members are
therefore the same to the bit one after another, in threads, in processes or on a cluster, and one
that is finished is not fitted again.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tunesmith.core import Weights, derived_seed
from tunesmith.engines.processes import unbroken
from tunesmith.errors import TrainingError
from tunesmith.potentials.handle import alone
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.adamw_fit import epochs_done
from tunesmith.tune.coordinates import pretrained
from tunesmith.tune.problem import Fit, Problem, Report

#: seconds between two lines on members that other processes fit
SHOW_EVERY = 30.0


def fit(
    single: AdamW,
    problem: Problem,
    vary: str,
    members: int,
    place: Path | None = None,
    report: Report | None = None,
    executor: Executor | None = None,
) -> Fit:
    """As `Committee.fit`; single: the settings of every member."""
    orders = [order(problem, vary, i) for i in range(members)]
    problems = [member(problem, vary, i, drawn) for i, drawn in enumerate(orders)]
    tasks = [
        MemberTask(single, part, i, members, None if place is None else _of(place, i))
        for i, part in enumerate(problems)
    ]
    progress = _Progress(tasks, report or (lambda text: None))
    fits = _here(tasks, progress) if executor is None else _there(tasks, progress, executor)
    best = [fit.details["best_epoch"] for fit in fits]
    details: dict[str, Any] = {
        "best_epochs": best,
        "epochs": [fit.details["epochs"] for fit in fits],
    }
    if vary in ("bootstraps", "bootstrap-splits"):
        splits = vary == "bootstrap-splits"
        details["out_of_bag"] = [
            sorted(
                set(range(len(problem.train))).difference(drawn, held(problem, i) if splits else [])
            )
            for i, drawn in enumerate(orders)
        ]
    return Fit(
        _stacked([fit.moved for fit in fits]),
        [fit.histories[0] for fit in fits],
        f"all {members} members trained; best epochs {', '.join(map(str, best))}",
        details,
        _stacked([fit.replay for fit in fits]),
    )


def check(problem: Problem, vary: str, members: int, size: int) -> None:
    """As `Committee.check`; size: of a batch."""
    orders = [order(problem, vary, i) for i in range(members)]
    first, second = (member(problem, vary, i, orders[i]) for i in range(2))
    replay = first.replay
    if size < len(first.train) or (replay and (replay.batch_size or size) < len(replay.frames)):
        return  # batches differ
    if any(sorted(drawn) != sorted(orders[0]) for drawn in orders):
        return
    if problem.begin is not None:
        return  # they begin apart
    one, other = (pretrained(p.potential, p.subspace, p.seed) for p in (first, second))
    if any(not torch.equal(weight, other[name]) for name, weight in one.items()):
        return
    raise TrainingError(
        f"tune.sampler: every step sees all {len(first.train)} structures, so by "
        f"{vary} all members would be the same; lower tune.sampler.batch_size, give more "
        "structures, set tune.sampler.vary to bootstraps, or let members start apart "
        "(tune.subspace.kind=lora with vary bootstraps or seeds)."
    )


# ------------------------------------------------------------------ what a member learns from


def order(problem: Problem, vary: str, number: int) -> list[int]:
    """Indices into the structures to learn from, as a member (from 0) is given them."""
    n = len(problem.train)
    generator = _generator(problem, number, "structures")
    if vary == "bootstrap-splits":
        rest = sorted(set(range(n)).difference(held(problem, number)))
        picks = torch.randint(len(rest), (len(rest),), generator=generator).tolist()
        return [rest[i] for i in picks]
    if vary == "bootstraps":
        drawn: list[int] = torch.randint(n, (n,), generator=generator).tolist()
        return drawn
    return torch.randperm(n, generator=generator).tolist() if vary == "shuffles" else list(range(n))


def held_aside(n: int) -> int:
    """How many of ``n`` structures a member of bootstrap-splits sets aside."""
    return max(1, round(n / 9)) if n > 2 else 0


def held(problem: Problem, number: int) -> list[int]:
    """Indices of what a member (from 0) of bootstrap-splits finds its best epoch on.

    A ninth: with a tenth of all set apart as test, it is another tenth of all. At least one of
    three structures or more.
    """
    n, share = len(problem.train), held_aside(len(problem.train))
    generator = _generator(problem, number, "validation")
    return sorted(torch.randperm(n, generator=generator)[:share].tolist())


def member(problem: Problem, vary: str, number: int, drawn: list[int]) -> Problem:
    """What a member (from 0) is to fit, on structures in the order that `order` gave it."""
    train = [problem.train[i] for i in drawn]
    if problem.begin is not None:
        moved, own = ({k: v[number : number + 1] for k, v in p.items()} for p in problem.begin)
        problem = replace(problem, begin=(moved, own))
    if vary != "shuffles":
        seed = derived_seed(problem.seed, "member", number)
        valid = problem.valid
        if vary == "bootstrap-splits":
            valid = [problem.train[i] for i in held(problem, number)]
        return replace(problem, seed=seed, train=train, valid=valid)
    replay = problem.replay
    if replay is not None:
        shuffled = torch.randperm(
            len(replay.frames), generator=_generator(problem, number, "replay")
        )
        replay = replace(replay, frames=[replay.frames[i] for i in shuffled.tolist()])
    # the seed stays, and with it the start: an epoch's order of another order is another order
    return replace(problem, train=train, replay=replay)


def _generator(problem: Problem, number: int, what: str) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(problem.seed, "member", number, what))


# -------------------------------------------------------------------------- a member as a task


@dataclass(frozen=True)
class MemberTask:
    """One member's fit; plain values, so that it can travel.

    number: from 0, of ``members``. place: the folder of its checkpoint. threads: of the process
    that asks, which the one that answers takes over.
    """

    settings: AdamW
    problem: Problem
    number: int
    members: int
    place: Path | None
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def name(self) -> str:
        return f"member {self.number + 1} of {self.members}"


def fit_member(task: MemberTask, report: Report | None = None) -> Fit:
    """The member's fit, from its checkpoint on where there is one."""
    with alone(task.threads):
        try:
            return task.settings.fit(task.problem, task.place, report)
        except TrainingError as error:
            raise TrainingError(f"{task.name}: {error}") from None


def _here(tasks: list[MemberTask], progress: "_Progress") -> list[Fit]:
    fits = []
    for task in tasks:
        fits.append(fit_member(task, progress.of(task)))
        progress.finished(task, fits[-1])
    return fits


def _there(tasks: list[MemberTask], progress: "_Progress", executor: Executor) -> list[Fit]:
    futures = {executor.submit(fit_member, task): task for task in tasks}
    fits, waiting = {}, set(futures)
    try:
        while waiting:
            done, waiting = wait(waiting, SHOW_EVERY, FIRST_COMPLETED)
            for future in done:
                task = futures[future]
                with unbroken():
                    fits[task.number] = future.result()
                progress.finished(task, fits[task.number])
            if not done:
                progress.under_way()
    finally:
        for future in futures:
            future.cancel()
    return [fits[task.number] for task in tasks]


class _Progress:
    """Says how far all members are.

    Those in other processes are known by their checkpoints, which nothing but this looks at.
    """

    def __init__(self, tasks: list[MemberTask], say: Report) -> None:
        self._tasks, self._say = tasks, say
        self._epochs = {task.number: epochs_done(task.place) for task in tasks}
        self._before = sum(self._epochs.values())
        self._open = {task.number for task in tasks}
        self._began = time.monotonic()

    def of(self, task: MemberTask) -> Callable[[str], None]:
        """Where a member that is fitted here reports to."""
        return lambda text: self._say(f"{task.name}: {text}")

    def finished(self, task: MemberTask, fit: Fit) -> None:
        self._epochs[task.number] = fit.details["epochs"]
        self._open.discard(task.number)
        self._say(f"{task.name}: {fit.finished}; {self._left()}")

    def under_way(self) -> None:
        """All that are not finished."""
        self._epochs |= {
            t.number: epochs_done(t.place) for t in self._tasks if t.number in self._open
        }
        stand = ", ".join(str(self._epochs[i]) for i in sorted(self._open) if self._epochs[i])
        known = f", those begun at epoch {stand}" if stand else ""
        self._say(f"{len(self._open)} of {len(self._tasks)} members to go{known}; {self._left()}")

    def _left(self) -> str:
        """Time left if no member stops early, from the epochs of this session."""
        if not self._open:
            return f"{len(self._tasks)} of {len(self._tasks)} done"
        done = sum(self._epochs.values()) - self._before
        if not done:
            return "time left not known yet"
        most = self._tasks[0].settings.epochs
        ahead = sum(most - self._epochs[i] for i in self._open)
        return f"at most {(time.monotonic() - self._began) * ahead / done:.0f} s left"


def _of(place: Path, number: int) -> Path:
    return place.absolute() / f"member-{number}"


def _stacked(parts: list[Weights]) -> Weights:
    """Of tensors (1, …) of each member, name → (M, …)."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
