"""SGHMC as a sampler: M chains around the pretrained weights, one posterior of M members.

All chains start at the pretrained weights and differ by their seed alone; after every label each
goes on from where it stands. A chain is one task of a `concurrent.futures.Executor`: a function of
what it is given, so that the numbers are the same in sequence, in processes and on a cluster.
"""

import threading
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from tunesmith.core import E0s, Frame, Members, Settings, Subspace, Tensor, Weights, derived_seed
from tunesmith.errors import ConfigError, ModelError, TrainingError
from tunesmith.potentials import zoo
from tunesmith.potentials.base import Potential
from tunesmith.tune import noise as noise_head
from tunesmith.tune import sghmc
from tunesmith.tune.anchor import GaussianPrior, NoAnchor
from tunesmith.tune.examples import Example, collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.vector import Vector

Anchor = NoAnchor | GaussianPrior


class SGHMC(Settings):
    """Samples of the posterior by stochastic-gradient Hamiltonian Monte Carlo.

    The paper's schedule, for a workstation with GPUs, is 8 members and 2000 steps per label.
    """

    kind: ClassVar[str] = "sghmc"
    #: gives members that spread, so that a run can ask it for error bars
    is_posterior: ClassVar[bool] = True
    members: int = Field(4, ge=2, description="chains; 8 in the paper")
    steps: int = Field(2000, ge=20, description="steps of each chain after a label")
    first_steps: int | None = Field(
        None, ge=20, description="steps after the very first label; null: as after any other"
    )
    batch_size: int = Field(5, ge=1, description="structures per step")
    learning_rate: float = Field(1e-3, gt=0, description="γ_0, from which the step size falls")
    friction: float = Field(0.1, gt=0, lt=1, description="α")
    beta: float = Field(0.999, gt=0, lt=1, description="decay of the mass")
    epsilon: float = Field(1e-4, gt=0, description="ε of the mass")
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
        key = _remember(potential)
        tasks = [
            ChainTask(
                key,
                members.subspace,
                anchor,
                loss,
                self,
                members.e0s,
                frames,
                {name: w[i] for name, w in members.moved.items()},
                members.noise_of(i),
                round(steps * longer),
                seed,
                (number, i),
            )
            for i in range(len(members))
        ]
        run = map if executor is None else executor.map
        done = list(run(run_chain, tasks))
        moved = {n: torch.stack([d[0][n] for d in done]) for n in members.moved}
        noise = {n: torch.stack([d[1][n] for d in done]) for n in members.noise}
        return replace(members, moved=moved, noise=noise, noise_scale=loss.scale)


# --------------------------------------------------------------------- one chain as a task


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
    """What one chain does for one update; plain values, so that it can travel."""

    potential: PotentialKey
    subspace: Subspace
    anchor: Anchor
    loss: GaussianLikelihood
    settings: SGHMC
    e0s: E0s
    frames: list[Frame]
    moved: Weights
    noise: Weights
    steps: int
    seed: int
    name: tuple[int, ...]


#: potentials of this process, by what they are
_POTENTIALS: dict[PotentialKey, Potential] = {}
#: a module's weights are swapped while it runs, so one chain at a time in each process
_LOCK = threading.Lock()


def _remember(potential: Potential) -> PotentialKey:
    base = potential.base
    dtype = str(potential.dtype).removeprefix("torch.")
    key = PotentialKey(base.source, base.sha256, base.head, dtype, str(potential.device))
    _POTENTIALS[key] = potential
    return key


def _recall(key: PotentialKey) -> Potential:
    if key not in _POTENTIALS:
        torch.set_num_threads(1)  # a process of its own: one core each
        potential = zoo.load(key.source, head=key.head, dtype=key.dtype, device=key.device)
        if potential.base.sha256 != key.sha256:
            raise ModelError(f"{key.source} has changed while it was in use; restore the old file.")
        _POTENTIALS[key] = potential
    return _POTENTIALS[key]


def run_chain(task: ChainTask) -> tuple[Weights, Weights]:
    """Moved weights and noise head at the end of one update of one chain."""
    with _LOCK:
        potential, settings = _recall(task.potential), task.settings
        data = examples(potential, task.frames, task.e0s)
        target = Density(potential, task, data)
        seed = derived_seed(task.seed, "chain", *task.name)
        generator = torch.Generator().manual_seed(seed)
        chain = sghmc.init(target.theta)
        for i in range(task.steps):
            rate, noise = sghmc.per_label(i, task.steps, settings.learning_rate)
            chosen, weights = sghmc.draw(len(data), settings.batch_size, generator)
            chain = sghmc.step(
                chain,
                target.gradient(chain.theta, chosen, weights),
                rate=rate,
                n=len(data),
                generator=generator,
                noise=noise * settings.temperature**0.5,
                friction=settings.friction,
                beta=settings.beta,
                epsilon=settings.epsilon,
            )
        return target.split(chain.theta)


class Density:
    """U(θ), the negative log posterior over N, on one flat vector of weights and noise head."""

    def __init__(self, potential: Potential, task: ChainTask, data: list[Example]) -> None:
        self.potential, self.task, self.data = potential, task, data
        self.full = potential.weights()
        self.centre = Vector(_pretrained(potential, task.subspace, task.seed)).flat
        self._moved, self._noise = Vector(task.moved), Vector(task.noise)
        self.theta = torch.cat([self._moved.flat, self._noise.flat])
        self._std = task.anchor.std(self.centre)
        self._stress = any(e.stress is not None for e in data)
        self._batches: dict[tuple[int, ...], Any] = {}

    def split(self, theta: Tensor) -> tuple[Weights, Weights]:
        """Moved weights and noise head in a flat vector."""
        moved, noise = theta.split([len(self.centre), len(theta) - len(self.centre)])
        return self._moved.split(moved), self._noise.split(noise)

    def value(self, theta: Tensor, chosen: list[int], weights: list[float]) -> Tensor:
        """Σ_b weight_b · (−log-likelihood of structure b) − (1/N) log prior, a scalar."""
        moved, noise = self.split(theta)
        batch, targets = self._batch(tuple(chosen))
        # the likelihood averages over the batch; the weights already contain the division
        scaled = targets.weight.new_tensor(weights) * len(chosen)
        targets = replace(targets, weight=targets.weight * scaled)
        out = self.potential.evaluate(
            self.task.subspace.expand(self.full, moved),
            batch,
            stress=self._stress,
            features=True,
            create_graph=True,
        )
        total = self.task.loss(out, batch, targets, noise)
        n, size = len(self.data), len(self.centre)
        if (penalty := self.task.anchor.penalty(theta[:size], self.centre, n)) is not None:
            total = total + penalty
        if self._std is not None:
            total = total + theta[size:].square().sum() / (2 * n * self._std**2)
        return total

    def gradient(self, theta: Tensor, chosen: list[int], weights: list[float]) -> Tensor:
        """∇U (d,) on a weighted minibatch. Raises `TrainingError` where it is not finite."""
        leaf = theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.value(leaf, chosen, weights), leaf)
        if not gradient.isfinite().all():
            raise TrainingError(
                "a chain of the posterior has diverged; lower tune.sampler.learning_rate or look "
                "for broken labels."
            )
        return gradient

    def _batch(self, chosen: tuple[int, ...]) -> Any:
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
