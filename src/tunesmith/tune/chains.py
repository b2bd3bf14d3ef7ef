"""SGHMC as a sampler: M chains around the pretrained weights, one posterior of M members.

All chains start at the pretrained weights and differ by their seed alone; after every label each
goes on from where it stands. A few chains are one task of a `concurrent.futures.Executor`: a
function of what it is given, so that the numbers are the same in sequence, in processes and on a
cluster. The chains of a task are computed in one pass where the backend gains by it; all chains of
an update draw the same minibatches and different noise.
"""

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from tunesmith.core import Members, Settings, Tensor, Weights, derived_seed
from tunesmith.errors import ConfigError, TrainingError
from tunesmith.potentials.base import Batch, Potential, stack, unstack_evaluation
from tunesmith.potentials.handle import alone
from tunesmith.tune import noise as noise_head
from tunesmith.tune import sghmc
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.examples import Targets, collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.problem import Problem
from tunesmith.tune.replay import Stream
from tunesmith.tune.vector import Vector


class SGHMC(Settings):
    """Samples of the posterior by stochastic-gradient Hamiltonian Monte Carlo.

    The paper's schedule, for a workstation with GPUs, is 8 members and 2000 steps per label.
    """

    kind: ClassVar[str] = "sghmc"
    members: int = Field(4, ge=2, description="chains; 8 in the paper")
    steps: int = Field(2000, ge=20, description="steps of each chain after a label")
    first_steps: int | None = Field(
        None, ge=20, description="steps after the very first label; null: as after any other"
    )
    batch_size: int = Field(5, ge=1, description="structures per step")
    learning_rate: float = Field(1e-3, gt=0, description="γ_0, from which the step size falls")
    friction: float = Field(0.1, gt=0, lt=1, description="α")
    beta: float | None = Field(
        None, gt=0, lt=1, description="decay of the mass; null: 1 − 2/steps (0.999 for 2000)"
    )
    epsilon: float = Field(1e-4, gt=0, description="ε of the mass")
    together: int = Field(
        2, ge=1, description="chains computed in one pass by one process; part of the last bits"
    )
    temperature: float = Field(1.0, ge=0, description="of the posterior; 0: no noise, one fit")

    def start(self, problem: Problem) -> Members:
        """M copies of the pretrained weights, each with a noise head of its own.

        Raises `ConfigError` where the problem's loss is no likelihood.
        """
        loss, potential, seed = problem.loss, problem.potential, problem.seed
        if not isinstance(loss, GaussianLikelihood):
            raise ConfigError(
                f"tune.loss: {self.kind} samples a posterior and needs a likelihood, which "
                f"{loss.kind!r} is not; use gaussian."
            )
        at = _coordinates(problem)
        moved, replay = at.split(torch.stack([at.start] * self.members))
        width = _feature_width(potential)
        heads = []
        for i in range(self.members):
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

    def update(
        self,
        members: Members,
        problem: Problem,
        *,
        number: int,
        executor: Executor | None = None,
        longer: float = 1.0,
    ) -> Members:
        """The members after more sampling on all labels, each going on from where it stands.

        problem: its frames to learn from in the order of their labelling, the newest last.
        number: how many updates there were before; with the seed it decides every random number.
        executor: None runs the chains one after another here. longer: multiplies the steps, and
        σ_TL by its square root: the answer to error bars that stay too small.

        Raises `TrainingError` when a chain diverges.
        """
        steps = self.first_steps if number == 0 and self.first_steps else self.steps
        if longer != 1:
            problem = replace(problem, anchor=problem.anchor.wider(longer**0.5))
        names = range(len(members))
        groups = [tuple(names[i : i + self.together]) for i in names[:: self.together]]
        tasks = [
            task_of(self, members, problem, group, number, round(steps * longer))
            for group in groups
        ]
        run = map if executor is None else executor.map
        return with_samples(members, problem, list(run(run_chains, tasks)))


# ------------------------------------------------------------------- some chains as a task

#: coordinates of the target's head, those the replay head has of its own, noise heads
Sampled = tuple[Weights, Weights, Weights]


@dataclass(frozen=True)
class ChainTask:
    """What some chains do for one update; plain values, so that it can travel.

    moved, replay, noise: name → (chains, …). number: of the update; names: of the chains. threads:
    of the process that asks, which the one that answers takes over.
    """

    problem: Problem
    settings: "SGHMC"
    moved: Weights
    replay: Weights
    noise: Weights
    names: tuple[int, ...]
    number: int = 0
    steps: int = 0
    threads: int = field(default_factory=torch.get_num_threads)


def task_of(
    settings: "SGHMC",
    members: Members,
    problem: Problem,
    chains: tuple[int, ...],
    number: int = 0,
    steps: int = 0,
) -> ChainTask:
    """A task for some of the members' chains."""
    chosen = list(chains)
    moved, replay, noise = (
        {name: w[chosen] for name, w in part.items()}
        for part in (members.moved, members.replay, members.noise)
    )
    return ChainTask(problem, settings, moved, replay, noise, chains, number, steps)


def with_samples(members: Members, problem: Problem, done: list[Sampled]) -> Members:
    """The members with what tasks gave, in order."""
    moved, replay, noise = (
        {name: torch.cat([d[i][name] for d in done]) for name in done[0][i]} for i in range(3)
    )
    scale = getattr(problem.loss, "scale", None)
    return replace(members, moved=moved, replay=replay, noise=noise, noise_scale=scale)


def run_chains(task: ChainTask) -> Sampled:
    """Where some chains stand at the end of one update."""
    with alone(task.threads):
        settings = task.settings
        target = Density(task)
        n = len(target)
        draws = generator_of(task, "batches")
        noises = [generator_of(task, "chain", name) for name in task.names]
        chains = [sghmc.init(theta) for theta in target.theta]
        beta = settings.beta or 1 - 2 / task.steps
        for i in range(task.steps):
            rate, noise = sghmc.per_label(i, task.steps, settings.learning_rate)
            chosen, weights = sghmc.draw(n, settings.batch_size, draws)
            theta = torch.stack([chain.theta for chain in chains])
            gradients = target.gradient(theta, chosen, weights, i)
            chains = [
                sghmc.step(
                    chain,
                    gradient,
                    rate=rate,
                    n=n,
                    generator=generator,
                    noise=noise * settings.temperature**0.5,
                    friction=settings.friction,
                    beta=beta,
                    epsilon=settings.epsilon,
                )
                for chain, gradient, generator in zip(chains, gradients, noises, strict=True)
            ]
        return target.split(torch.stack([chain.theta for chain in chains]))


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
        self._stream = problem.replay and Stream(
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
        leaf = theta.detach().requires_grad_()
        value = self.value(leaf, chosen, weights, step).sum()
        (gradient,) = torch.autograd.grad(value, leaf)
        if not gradient.isfinite().all():
            raise TrainingError(
                "a chain of the posterior has diverged; lower tune.sampler.learning_rate or look "
                "for broken labels."
            )
        return gradient

    def _batch(self, chosen: tuple[int, ...]) -> tuple[Batch, Targets]:
        if len(self.data) > self._size:
            return collate(self.potential, [self.data[i] for i in chosen])
        if chosen not in self._batches:
            self._batches[chosen] = collate(self.potential, [self.data[i] for i in chosen])
        return self._batches[chosen]


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
