"""Some chains of a posterior as a task, and the density they walk on.

A few chains are one task of a `concurrent.futures.Executor`: a function of what it is given, so
that the numbers are the same in sequence, in processes and on a cluster. The chains of a task are
computed in one pass where the backend gains by it; all of them draw the same minibatches and
different noise.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tunesmith.core import Members, Tensor, Weights, derived_seed
from tunesmith.errors import ConfigError, TrainingError
from tunesmith.posterior import noise_head
from tunesmith.potentials.potential import Batch, Potential, stack, unstack_evaluation
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.examples import Targets, collate, examples
from tunesmith.tune.plans import Dynamics, Plan
from tunesmith.tune.problem import Problem
from tunesmith.tune.replay_batches import ReplayBatches
from tunesmith.tune.vector import Vector

# ------------------------------------------------------------------- some chains as a task

#: coordinates of the target's head, those the replay head has of its own, noise heads
Sampled = tuple[Weights, Weights, Weights]


@dataclass(frozen=True)
class ChainTask:
    """What some chains are to do; plain values, so that it can travel.

    moved, replay, noise: name → (chains, …). number: of the update; names: of the chains. threads:
    of the process that asks, which the one that answers takes over.
    """

    problem: Problem
    settings: Dynamics
    moved: Weights
    replay: Weights
    noise: Weights
    names: tuple[int, ...]
    plan: Plan
    number: int = 0
    threads: int = field(default_factory=torch.get_num_threads)


def task_of(
    settings: Dynamics,
    members: Members,
    problem: Problem,
    chains: tuple[int, ...],
    plan: Plan,
    number: int = 0,
) -> ChainTask:
    """A task for some of the members' chains."""
    chosen = list(chains)
    moved, replay, noise = (
        {name: w[chosen] for name, w in part.items()}
        for part in (members.moved, members.replay, members.noise)
    )
    return ChainTask(problem, settings, moved, replay, noise, chains, plan, number)


def generator_of(task: ChainTask, *name: object) -> torch.Generator:
    """The random numbers of one part of a task, from the run's seed."""
    return torch.Generator().manual_seed(derived_seed(task.problem.seed, *name, task.number))


class Density:
    """U(θ), the negative log posterior over N, of some chains: flat vectors (chains, d) of
    weights, replay head and noise head.

    A replay anchor adds its weight times the mean over its batch of the same likelihood: replayed
    structures then count together as much as the target's.
    """

    def __init__(self, task: ChainTask) -> None:
        problem = task.problem
        self.problem, self.potential = problem, problem.potential
        self.at = _coordinates(problem, {n: w[0] for n, w in task.moved.items()})
        self.data = examples(self.potential, problem.train, problem.e0s)
        self._noise = Vector({n: w[0] for n, w in task.noise.items()})
        noise = [w.flatten(1) for w in task.noise.values()]
        self.theta = torch.cat([self.at.join(task.moved, task.replay), *noise], dim=1)
        std = problem.anchor.std(self.at.unit)
        self._noise_std = None if std is None else std.square().mean().sqrt()
        self._size = task.settings.batch_size
        self._stream = problem.replay and ReplayBatches(
            self.potential, problem.replay, self._size, problem.seed, task.number
        )
        self._batches: dict[tuple[int, ...], Any] = {}

    def __len__(self) -> int:
        return len(self.data)

    def split(self, theta: Tensor) -> Sampled:
        """Coordinates of both heads and noise heads, name → (chains, …), in flat vectors."""
        moved, noise = theta.split([len(self.at), theta.shape[1] - len(self.at)], dim=1)
        return *self.at.split(moved), self._noise.split(noise)

    def value(
        self, theta: Tensor, chosen: list[int], weights: list[float], step: int = 0
    ) -> Tensor:
        """Σ_b weight_b · (−log-likelihood of structure b) − (1/N) log prior, of each chain.

        step: decides which structures are replayed.
        """
        moved, own, noise = self.split(theta)
        batch, targets = self._batch(tuple(chosen))
        # the likelihood averages over the batch; the weights already contain the division
        scaled = targets.weight.new_tensor(weights) * len(chosen)
        targets = replace(targets, weight=targets.weight * scaled)
        total = self._misfit(moved, noise, batch, targets, self.problem.stress)
        if self._stream:
            replayed = self._stream.batch(step)
            total = total + self._stream.weight * self._misfit(
                {**moved, **own}, noise, *replayed, self._stream.stress
            )
        return total + torch.stack([self._prior(row) for row in theta])

    def _misfit(
        self, moved: Weights, noise: Weights, batch: Batch, targets: Targets, stress: bool
    ) -> Tensor:
        """Mean negative log-likelihood of a batch, of each chain."""
        expand = self.problem.subspace.expand
        chains = len(next(iter(moved.values())))
        full = [expand(self.at.weights, {n: w[i] for n, w in moved.items()}) for i in range(chains)]
        options = {"stress": stress, "features": True, "create_graph": True}
        shared, stacked = stack(full)
        together = self.potential.evaluate_members(shared, stacked, batch, **options)
        outs = unstack_evaluation(together)
        loss: Any = self.problem.loss
        heads = [{n: w[i] for n, w in noise.items()} for i in range(chains)]
        return torch.stack(
            [loss(out, batch, targets, head) for out, head in zip(outs, heads, strict=True)]
        )

    def _prior(self, theta: Tensor) -> Tensor:
        """−(1/N) log prior of one chain, up to a constant."""
        n, size = len(self.data), len(self.at)
        held = self.problem.anchor.penalty(theta[:size], self.at.start, self.at.unit, n)
        total = theta.new_zeros(()) if held is None else held
        if self._noise_std is not None:
            total = total + (theta[size:] / self._noise_std).square().sum() / (2 * n)
        return total

    def gradient(
        self, theta: Tensor, chosen: list[int], weights: list[float], step: int = 0
    ) -> Tensor:
        """∇U (chains, d) on a weighted minibatch. Raises `TrainingError` where not finite."""
        return self.value_and_gradient(theta, chosen, weights, step)[1]

    def value_and_gradient(
        self, theta: Tensor, chosen: list[int], weights: list[float], step: int = 0
    ) -> tuple[Tensor, Tensor]:
        """U (chains,) and ∇U (chains, d) on a weighted minibatch.

        Raises `TrainingError` where the gradient is not finite.
        """
        leaf = theta.detach().requires_grad_()
        values = self.value(leaf, chosen, weights, step)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        if not gradient.isfinite().all():
            raise TrainingError(
                "a chain of the posterior has diverged; lower tune.sampler.learning_rate or look "
                "for broken labels."
            )
        return values.detach(), gradient

    def _batch(self, chosen: tuple[int, ...]) -> tuple[Batch, Targets]:
        if len(self.data) > self._size:
            return collate(self.potential, [self.data[i] for i in chosen])
        if chosen not in self._batches:
            self._batches[chosen] = collate(self.potential, [self.data[i] for i in chosen])
        return self._batches[chosen]


# ---------------------------------------------------------------------- where chains begin


def begun(problem: Problem, chains: int, sampler: str) -> Members:
    """Chains at the start of the subspace, each with a noise head of its own.

    All stand at the pretrained weights; of weights drawn at random every chain has its own.
    Raises `ConfigError` where the problem's loss is no likelihood, which ``sampler`` needs.
    """
    loss, potential, seed = problem.loss, problem.potential, problem.seed
    if not loss.is_likelihood:
        raise ConfigError(
            f"tune.loss: {sampler} samples a posterior and needs a likelihood, which "
            f"{loss.kind!r} is not; use gaussian."
        )
    at = _coordinates(problem)
    starts = [at.start] * chains
    if problem.subspace.fresh:
        seeds = [derived_seed(seed, "chain", i) for i in range(chains)]
        starts = [_coordinates(replace(problem, seed=own)).start for own in seeds]
    moved, replay = at.split(torch.stack(starts))
    width = _feature_width(potential)
    heads = []
    for i in range(chains):
        generator = torch.Generator().manual_seed(derived_seed(seed, "noise head", i))
        head = noise_head.start(width, generator, potential.dtype)
        heads.append({name: w.to(potential.device) for name, w in head.items()})
    return Members(
        potential.base,
        at.weights,
        problem.subspace,
        {name: w.clone() for name, w in moved.items()},
        problem.e0s,
        replay,
        {name: torch.stack([h[name] for h in heads]) for name in heads[0]},
        loss.scale,
    )


def _coordinates(problem: Problem, known: Weights | None = None) -> Coordinates:
    """Of a problem; known: coordinates of a member, whose fixed ones are taken over."""
    subspace = problem.subspace
    start = pretrained(problem.potential, subspace, problem.seed)
    start |= {n: w for n, w in (known or {}).items() if not subspace.moves(n)}
    replay = problem.replay is not None
    return Coordinates(problem.potential, subspace, start, replay=replay)


def _feature_width(potential: Potential) -> int:
    """Number of rotation-invariant features of an atom."""
    from ase import Atoms

    graph = potential.graph(Atoms(numbers=[potential.elements[0]], positions=[[0.0, 0.0, 0.0]]))
    return potential.features(potential.weights(), potential.batch([graph])).shape[1]
