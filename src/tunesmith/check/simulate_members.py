"""The members of a model simulated one by one, over any executor: whose dynamics holds?"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from ase import Atoms

from tunesmith.check.replicas import Ask, Replica, Seen, begin, run_replica
from tunesmith.check.stability import Stability
from tunesmith.contracts import Posterior
from tunesmith.core import E0s, Weights, derived_seed
from tunesmith.explore.md import MD
from tunesmith.explore.state import Answer, Walker
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials.handle import Handle, alone, handle


@dataclass(frozen=True)
class ReplicaTask:
    """One replica of one member: all that its trajectory depends on, small enough to send."""

    handle: Handle
    weights: tuple[Weights, ...]
    e0s: E0s
    md: MD
    stability: Stability
    walker: Walker
    threads: int


def of_mean(posterior: Posterior, *, stress: bool) -> Ask:
    """Driven by the mean, of several members at the cost of one backward pass.

    stress: whether the dynamics needs one (`MD.needs_stress`).
    """

    def ask(atoms: Atoms) -> Answer:
        mean = posterior.predict([atoms], stress=stress, spread="energy").mean
        tensor = None if mean.stress is None else mean.stress[0]
        return Answer(float(mean.energy[0]), mean.forces, tensor)

    return ask


def check_members(
    posterior: Posterior,
    md: MD,
    stability: Stability,
    atoms: Atoms,
    seed: int,
    *,
    mean: bool = False,
    executor: Executor | None = None,
) -> list[tuple[Replica, ...]]:
    """``md.walkers`` replicas of every member, each with random numbers of its own.

    mean: simulate the members' mean instead, as the only member. executor: takes one replica as a
    task; None runs them one after another here. Raises `DataError` for a structure that cannot be
    run.
    """
    return run_tasks(prepare(posterior, md, stability, atoms, seed, mean=mean), executor)


def prepare(
    posterior: Posterior,
    md: MD,
    stability: Stability,
    atoms: Atoms,
    seed: int,
    *,
    mean: bool = False,
) -> list[ReplicaTask]:
    """What `check_members` runs, member by member; refuses what can be refused before a step."""
    ensemble: Ensemble = posterior.members
    groups = [tuple(ensemble.weights)] if mean else [(w,) for w in ensemble.weights]
    model, threads = handle(ensemble.potential), torch.get_num_threads()
    return [
        ReplicaTask(model, group, ensemble.e0s, md, stability, walker, threads)
        for i, group in enumerate(groups)
        for walker in begin(md, stability, atoms, derived_seed(seed, "check", i))
    ]


def run_tasks(
    tasks: list[ReplicaTask],
    executor: Executor | None = None,
    seen: Callable[[int], None] | None = None,
) -> list[tuple[Replica, ...]]:
    """Replicas of each member. seen: told how many steps were made since it was last; a replica
    that broke counts as all of its own."""
    done = list(_here(tasks, seen) if executor is None else _there(tasks, executor, seen))
    each = tasks[0].md.walkers
    return [tuple(done[i : i + each]) for i in range(0, len(done), each)]


def run_task(task: ReplicaTask, seen: Seen | None = None) -> Replica:
    """Simulate one replica in this process."""
    with alone(task.threads):
        ensemble = Ensemble(task.handle.open(), task.weights, task.e0s)
        ask = of_mean(ensemble, stress=task.md.needs_stress)
        return run_replica(task.md, task.stability, task.walker, ask, seen)


def _here(tasks: list[ReplicaTask], seen: Callable[[int], None] | None) -> Iterator[Replica]:
    tell = seen or (lambda _: None)
    for task in tasks:
        made = 0

        def step() -> None:
            nonlocal made
            made += 1
            tell(1)

        yield run_task(task, step)
        tell(task.md.total_steps - made)


def _there(
    tasks: list[ReplicaTask], executor: Executor, seen: Callable[[int], None] | None
) -> Iterator[Replica]:
    for task, replica in zip(tasks, executor.map(run_task, tasks), strict=True):
        if seen is not None:
            seen(task.md.total_steps)
        yield replica
