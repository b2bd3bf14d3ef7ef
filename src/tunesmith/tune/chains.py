"""SGHMC as a sampler: M chains around the pretrained weights, one posterior of M members.

All chains start at the pretrained weights and differ by their seed alone; after every label each
goes on from where it stands. A few chains are one task of a `concurrent.futures.Executor`: a
function of what it is given, so that the numbers are the same in sequence, in processes and on a
cluster. The chains of a task are computed in one pass where the backend gains by it; all chains of
an update draw the same minibatches and different noise.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from tunesmith.core import E0s, Frame, Members, Settings, Subspace, Tensor, Weights, derived_seed
from tunesmith.errors import ConfigError, ModelError, TrainingError
from tunesmith.potentials import zoo
from tunesmith.potentials.base import Batch, Evaluation, Potential, stack
from tunesmith.tune import noise as noise_head
from tunesmith.tune import sghmc
from tunesmith.tune.anchor import GaussianPrior, NoAnchor
from tunesmith.tune.examples import Example, Targets, collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.vector import Vector

Anchor = NoAnchor | GaussianPrior


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

    def start(
        self,
        potential: Potential,
        subspace: Subspace,
        loss: GaussianLikelihood,
        e0s: E0s,
        *,
        seed: int,
    ) -> Members:
        """M copies of the pretrained weights, each with a noise head of its own.

        Raises `ConfigError` where ``loss`` is no likelihood.
        """
        if not getattr(loss, "is_likelihood", False):
            raise ConfigError(
                f"tune.loss: sghmc samples a posterior and needs a likelihood, which "
                f"{getattr(loss, 'kind', loss)!r} is not; use gaussian."
            )
        moved = _pretrained(potential, subspace, seed)
        width = _feature_width(potential)
        heads = []
        for i in range(self.members):
            generator = torch.Generator().manual_seed(derived_seed(seed, "noise head", i))
            head = noise_head.start(width, generator, potential.dtype)
            heads.append({name: w.to(potential.device) for name, w in head.items()})
        return Members(
            potential.base,
            potential.weights(),
            subspace,
            {name: torch.stack([w] * self.members) for name, w in moved.items()},
            e0s,
            {name: torch.stack([h[name] for h in heads]) for name in heads[0]},
            loss.scale,
        )

    def update(
        self,
        members: Members,
        potential: Potential,
        anchor: Anchor,
        loss: GaussianLikelihood,
        frames: list[Frame],
        *,
        seed: int,
        number: int,
        executor: Executor | None = None,
        longer: float = 1.0,
    ) -> Members:
        """The members after more sampling on all labels, each going on from where it stands.

        frames: labelled, in the order of their labelling, the newest last. number: how many
        updates there were before; with ``seed`` it decides every random number. executor: None
        runs the chains one after another here. longer: multiplies the steps, and σ_TL by its
        square root: the answer to error bars that stay too small.

        Raises `TrainingError` when a chain diverges.
        """
        steps = self.first_steps if number == 0 and self.first_steps else self.steps
        if longer != 1 and isinstance(anchor, GaussianPrior):
            anchor = anchor.model_copy(update={"scale": anchor.scale * longer**0.5})
        names = range(len(members))
        groups = [tuple(names[i : i + self.together]) for i in names[:: self.together]]
        tasks = [
            prepared(
                self, members, potential, anchor, loss, frames, seed=seed, chains=group,
                number=number, steps=round(steps * longer),
            )
            for group in groups
        ]  # fmt: skip
        run = map if executor is None else executor.map
        done = list(run(run_chains, tasks))
        moved = {n: torch.cat([d[0][n] for d in done]) for n in members.moved}
        noise = {n: torch.cat([d[1][n] for d in done]) for n in members.noise}
        return replace(members, moved=moved, noise=noise, noise_scale=loss.scale)


# ------------------------------------------------------------------- some chains as a task


@dataclass(frozen=True)
class PotentialKey:
    """Which potential a task is for: enough to load it in another process."""

    source: str
    sha256: str
    head: str | None
    dtype: str
    device: str


@dataclass(frozen=True)
class ChainTask:
    """What some chains do for one update; plain values, so that it can travel.

    moved, noise: name → (chains, …). number: of the update; names: of the chains. threads: of
    the process that asks, which the one that answers takes over.
    """

    potential: PotentialKey
    subspace: Subspace
    anchor: Anchor
    loss: GaussianLikelihood
    settings: SGHMC
    e0s: E0s
    frames: list[Frame]
    moved: Weights
    noise: Weights
    seed: int
    names: tuple[int, ...]
    number: int = 0
    steps: int = 0
    threads: int = field(default_factory=torch.get_num_threads)

    @contextmanager
    def potential_here(self) -> Iterator[Potential]:
        """This process's own copy of the potential, for this task alone."""
        with _LOCK:
            if torch.get_num_threads() != self.threads:  # as many as there, for the same bits
                torch.set_num_threads(self.threads)
            yield _recall(self.potential)


def prepared(
    settings: "SGHMC",
    members: Members,
    potential: Potential,
    anchor: Anchor,
    loss: GaussianLikelihood,
    frames: list[Frame],
    *,
    seed: int,
    chains: tuple[int, ...],
    number: int = 0,
    steps: int = 0,
) -> ChainTask:
    """A task for some of the members' chains."""
    return ChainTask(
        _remember(potential),
        members.subspace,
        anchor,
        loss,
        settings,
        members.e0s,
        frames,
        {name: w[list(chains)] for name, w in members.moved.items()},
        {name: w[list(chains)] for name, w in members.noise.items()},
        seed,
        chains,
        number,
        steps,
    )


#: potentials of this process, by what they are
_POTENTIALS: dict[PotentialKey, Potential] = {}
#: a module's weights are swapped while it runs, so one task at a time in each process
_LOCK = threading.Lock()


def _remember(potential: Potential) -> PotentialKey:
    base = potential.base
    dtype = str(potential.dtype).removeprefix("torch.")
    key = PotentialKey(base.source, base.sha256, base.head, dtype, str(potential.device))
    _POTENTIALS[key] = potential
    return key


def _recall(key: PotentialKey) -> Potential:
    if key not in _POTENTIALS:
        potential = zoo.load(key.source, head=key.head, dtype=key.dtype, device=key.device)
        if potential.base.sha256 != key.sha256:
            raise ModelError(f"{key.source} has changed while it was in use; restore the old file.")
        _POTENTIALS[key] = potential
    return _POTENTIALS[key]


def run_chains(task: ChainTask) -> tuple[Weights, Weights]:
    """Moved weights and noise heads at the end of one update of some chains."""
    with task.potential_here() as potential:
        settings = task.settings
        data = examples(potential, task.frames, task.e0s)
        target = Density(potential, task, data)
        draws = generator_of(task, "batches")
        noises = [generator_of(task, "chain", name) for name in task.names]
        chains = [sghmc.init(theta) for theta in target.theta]
        beta = settings.beta or 1 - 2 / task.steps
        for i in range(task.steps):
            rate, noise = sghmc.per_label(i, task.steps, settings.learning_rate)
            chosen, weights = sghmc.draw(len(data), settings.batch_size, draws)
            theta = torch.stack([chain.theta for chain in chains])
            gradients = target.gradient(theta, chosen, weights)
            chains = [
                sghmc.step(
                    chain,
                    gradient,
                    rate=rate,
                    n=len(data),
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
    return torch.Generator().manual_seed(derived_seed(task.seed, *name, task.number))


class Density:
    """U(θ), the negative log posterior over N, of some chains: flat vectors (chains, d) of
    weights and noise head."""

    def __init__(self, potential: Potential, task: ChainTask, data: list[Example]) -> None:
        self.potential, self.task, self.data = potential, task, data
        self.centre = Vector(_pretrained(potential, task.subspace, task.seed)).flat
        self._full = potential.weights()
        self._moved = Vector({n: w[0] for n, w in task.moved.items()})
        self._noise = Vector({n: w[0] for n, w in task.noise.items()})
        parts = [*task.moved.values(), *task.noise.values()]
        self.theta = torch.cat([w.flatten(1) for w in parts], dim=1)
        self._std = task.anchor.std(self.centre)
        self._stress = any(e.stress is not None for e in data)
        self._batches: dict[tuple[int, ...], Any] = {}

    def split(self, theta: Tensor) -> tuple[Weights, Weights]:
        """Moved weights and noise heads, name → (chains, …), in flat vectors."""
        moved, noise = theta.split([len(self.centre), theta.shape[1] - len(self.centre)], dim=1)
        return self._moved.split(moved), self._noise.split(noise)

    def value(self, theta: Tensor, chosen: list[int], weights: list[float]) -> Tensor:
        """Σ_b weight_b · (−log-likelihood of structure b) − (1/N) log prior, of each chain."""
        moved, noise = self.split(theta)
        batch, targets = self._batch(tuple(chosen))
        # the likelihood averages over the batch; the weights already contain the division
        scaled = targets.weight.new_tensor(weights) * len(chosen)
        targets = replace(targets, weight=targets.weight * scaled)
        outs = self._evaluate(moved, batch, len(theta))
        losses = [
            self.task.loss(out, batch, targets, {n: w[i] for n, w in noise.items()})
            for i, out in enumerate(outs)
        ]
        return torch.stack(losses) + torch.stack([self._prior(row) for row in theta])

    def _evaluate(self, moved: Weights, batch: Batch, chains: int) -> list[Evaluation]:
        expand = self.task.subspace.expand
        full = [expand(self._full, {n: w[i] for n, w in moved.items()}) for i in range(chains)]
        options = {"stress": self._stress, "features": True, "create_graph": True}
        if chains == 1:
            return [self.potential.evaluate(full[0], batch, **options)]
        shared, stacked = stack(full)
        return self.potential.evaluate_each(shared, stacked, [batch] * chains, **options)

    def _prior(self, theta: Tensor) -> Tensor:
        """−(1/N) log prior of one chain, up to a constant."""
        n, size = len(self.data), len(self.centre)
        penalty = self.task.anchor.penalty(theta[:size], self.centre, n)
        total = theta.new_zeros(()) if penalty is None else penalty
        if self._std is not None:
            total = total + theta[size:].square().sum() / (2 * n * self._std**2)
        return total

    def gradient(self, theta: Tensor, chosen: list[int], weights: list[float]) -> Tensor:
        """∇U (chains, d) on a weighted minibatch. Raises `TrainingError` where not finite."""
        leaf = theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.value(leaf, chosen, weights).sum(), leaf)
        if not gradient.isfinite().all():
            raise TrainingError(
                "a chain of the posterior has diverged; lower tune.sampler.learning_rate or look "
                "for broken labels."
            )
        return gradient

    def _batch(self, chosen: tuple[int, ...]) -> tuple[Batch, Targets]:
        if len(self.data) > self.task.settings.batch_size:
            return collate(self.potential, [self.data[i] for i in chosen])
        if chosen not in self._batches:
            self._batches[chosen] = collate(self.potential, [self.data[i] for i in chosen])
        return self._batches[chosen]


def _pretrained(potential: Potential, subspace: Subspace, seed: int) -> Weights:
    """The coordinates of the untouched model."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "subspace"))
    return subspace.start(potential, generator)


def _feature_width(potential: Potential) -> int:
    """Number of rotation-invariant features of an atom."""
    from ase import Atoms

    graph = potential.graph(Atoms(numbers=[potential.elements[0]], positions=[[0.0, 0.0, 0.0]]))
    return potential.features(potential.weights(), potential.batch([graph])).shape[1]
