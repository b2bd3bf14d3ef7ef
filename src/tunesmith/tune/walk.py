"""Chains on their way: step by step, in as many pieces as one likes, to the same bits.

Where a chain stands is a `ChainState` of plain tensors and numbers, random numbers included.
`advance` is a function of it, so that it may be stopped anywhere, kept in a file, or sent to
another process.
"""

import time
from dataclasses import dataclass

import torch

from tunesmith.core import Tensor
from tunesmith.potentials.handle import alone
from tunesmith.tune import sghmc
from tunesmith.tune.density import ChainTask, Density, Sampled, generator_of

#: entries of a chain's history
ENTRIES = 50


@dataclass(frozen=True)
class ChainState:
    """Some chains after ``step`` steps.

    draws, noises: states of the generators of minibatches and of each chain's noise. samples:
    (chains, d) each. sums: (chains,) of U since the last entry of the histories.
    """

    chains: tuple[sghmc.Chain, ...]
    draws: Tensor
    noises: tuple[Tensor, ...]
    step: int = 0
    samples: tuple[Tensor, ...] = ()
    sums: tuple[float, ...] = ()
    histories: tuple[tuple[dict[str, float], ...], ...] = ()


def beginning(target: Density, task: ChainTask) -> ChainState:
    """Chains at rest where the task puts them."""
    return ChainState(
        chains=tuple(sghmc.init(theta) for theta in target.theta),
        draws=generator_of(task, "batches").get_state(),
        noises=tuple(generator_of(task, "chain", name).get_state() for name in task.names),
        sums=(0.0,) * len(task.names),
        histories=((),) * len(task.names),
    )


def advance(
    target: Density, task: ChainTask, state: ChainState, seconds: float | None = None
) -> ChainState:
    """To the end of the plan, or on for at least one step until the time is over.

    Raises `TrainingError` when a chain diverges.
    """
    settings, plan, n = task.settings, task.plan, len(target)
    draws, *noises = (_generator(s) for s in (state.draws, *state.noises))
    chains, samples = state.chains, state.samples
    record = _Record(task, n, state)
    started = time.monotonic()
    for i in range(state.step, plan.steps):
        at = plan.at(i)
        chosen, weights = plan.draw(n, settings.batch_size, draws)
        theta = torch.stack([chain.theta for chain in chains])
        values, gradients = target.value_and_gradient(theta, chosen, weights, i)
        chains = tuple(
            sghmc.step(
                sghmc.at_rest(chain) if at.rest else chain,
                gradient,
                rate=at.rate,
                n=n,
                generator=generator,
                noise=at.noise * settings.temperature**0.5,
                friction=settings.friction,
                beta=plan.beta,
                epsilon=settings.epsilon,
                frozen=at.frozen,
            )
            for chain, gradient, generator in zip(chains, gradients, noises, strict=True)
        )
        record.add(i, values.tolist(), at.rate)
        if at.sample:
            samples = (*samples, torch.stack([chain.theta for chain in chains]))
        if seconds is not None and time.monotonic() - started > seconds:
            break
    return ChainState(
        chains,
        draws.get_state(),
        tuple(g.get_state() for g in noises),
        record.step,
        samples,
        tuple(record.sums),
        tuple(tuple(entries) for entries in record.histories),
    )


class _Record:
    """The histories of some chains while they walk."""

    def __init__(self, task: ChainTask, n: int, state: ChainState) -> None:
        self.step, self.sums = state.step, list(state.sums)
        self.histories = [list(entries) for entries in state.histories]
        self._passes = min(task.settings.batch_size, n) / n
        self._ends = {-(-k * task.plan.steps // ENTRIES) for k in range(1, ENTRIES + 1)}

    def add(self, i: int, values: list[float], rate: float) -> None:
        """What step ``i`` found: U of each chain."""
        self.step = i + 1
        self.sums = [total + value for total, value in zip(self.sums, values, strict=True)]
        if self.step not in self._ends:
            return
        for k, total in enumerate(self.sums):
            before = self.histories[k][-1]["step"] if self.histories[k] else 0
            entry = {
                "step": self.step,
                "epoch": self.step * self._passes,
                "train_loss": total / (self.step - before),
                "learning_rate": rate,
            }
            self.histories[k].append(entry)
        self.sums = [0.0] * len(self.sums)


def _generator(state: Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state)
    return generator


def ends(task: ChainTask) -> Sampled:
    """Where some chains stand at the end of their plan."""
    with alone(task.threads):
        target = Density(task)
        return target.split(advance(target, task, beginning(target, task)).samples[-1])
