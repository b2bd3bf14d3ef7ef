"""One long chain on a fixed data set: M samples of the posterior, a cycle of the step size apart.

The on-the-fly paper's way where all labels are there from the start (5.1, appendix A): the step
size first decays to a converged sample, then falls and rises in cycles, whose ends are samples.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from tunesmith.core import Members
from tunesmith.potentials.handle import alone
from tunesmith.tune import sghmc
from tunesmith.tune.chains import (
    SGHMC,
    ChainTask,
    Density,
    Sampled,
    generator_of,
    task_of,
    with_samples,
)
from tunesmith.tune.problem import Problem

#: part of the convergence phase after which the mass stays as it is
FREEZE = 0.9


@dataclass(frozen=True)
class Course:
    """Steps of the convergence phase, steps of a cycle (50 000 in the paper), and the step size
    at the end of the convergence phase and the start of every cycle."""

    converge: int
    cycle: int
    rate: float = 1e-4


def sample(
    settings: SGHMC,
    members: Members,
    problem: Problem,
    course: Course,
    *,
    executor: Executor | None = None,
) -> Members:
    """As many samples as ``members`` has, of one chain that starts where the first of them is.

    problem: every structure is drawn with equal probability. settings: learning_rate is
    γ at the start of the convergence phase; members, steps and together are not used. Raises
    `TrainingError` when the chain diverges.
    """
    jobs = (task_of(settings, members, problem, (0,)), course, len(members))
    done = run(*jobs) if executor is None else executor.submit(run, *jobs).result()
    return with_samples(members, problem, [done])


def run(task: ChainTask, course: Course, samples: int) -> Sampled:
    """Samples (samples, …) of one long chain."""
    with alone(task.threads):
        target = Density(task)
        draws, generator = generator_of(task, "batches"), generator_of(task, "chain", 0)
        settings, n = task.settings, len(target)
        chain, found = sghmc.init(target.theta[0]), []
        for i in range(course.converge + samples * course.cycle):
            converged = i - course.converge
            if converged < 0:
                rate = sghmc.converging(i, course.converge, settings.learning_rate, course.rate)
            else:
                rate = sghmc.cyclical(converged, course.cycle, course.rate)
            size = min(settings.batch_size, n)
            chosen = torch.randperm(n, generator=draws)[:size].sort().values.tolist()
            chain = sghmc.step(
                chain,
                target.gradient(chain.theta[None], chosen, [1 / size] * size, i)[0],
                rate=rate,
                n=n,
                generator=generator,
                noise=settings.temperature**0.5,
                friction=settings.friction,
                beta=settings.beta or sghmc.BETA,
                epsilon=settings.epsilon,
                frozen=i >= FREEZE * course.converge,
            )
            if converged >= 0 and (converged + 1) % course.cycle == 0:
                found.append(chain.theta)
        return target.split(torch.stack(found))
