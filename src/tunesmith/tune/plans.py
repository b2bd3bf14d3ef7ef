"""What a chain does at each of its steps: step size, noise, minibatch, and when it is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import Field

from tunesmith.contracts import Sampler
from tunesmith.tune import annealing

if TYPE_CHECKING:
    import torch


class Dynamics(Sampler):
    """What every sampler of posteriors by Hamiltonian dynamics is told."""

    needs_likelihood: ClassVar[bool] = True

    batch_size: int = Field(5, ge=1, description="structures per step")
    friction: float = Field(annealing.FRICTION, gt=0, lt=1, description="α")
    epsilon: float = Field(annealing.EPSILON, gt=0, description="ε of the mass")
    temperature: float = Field(1.0, ge=0, description="of the posterior; 0: no noise, one fit")


@dataclass(frozen=True)
class Instant:
    """One step: γ, factor of the noise's standard deviation, whether the mass stays as it is,
    whether it starts from rest, and whether the chain's place after it is a sample."""

    rate: float
    noise: float = 1.0
    frozen: bool = False
    rest: bool = False
    sample: bool = False


class Plan(Protocol):
    """All steps of a chain; a frozen dataclass. beta: decay of the mass."""

    @property
    def steps(self) -> int: ...

    @property
    def beta(self) -> float: ...

    def at(self, i: int) -> Instant:
        """Step ``i``, from 0."""
        ...

    def draw(self, n: int, size: int, generator: torch.Generator) -> tuple[list[int], list[float]]:
        """Structures of one minibatch out of ``n``, and their weights in the mean over all."""
        ...


@dataclass(frozen=True)
class Update:
    """The schedule after a label (B.5): cosine from ``rate``, a quiet fifth, a ramp of the noise.

    newest: minibatches favour the last structure, as after a label; otherwise all are alike.
    """

    steps: int
    rate: float
    beta: float
    newest: bool = True

    def at(self, i: int) -> Instant:
        rate, noise = annealing.per_label(i, self.steps, self.rate)
        return Instant(rate, noise, sample=i == self.steps - 1)

    def draw(self, n: int, size: int, generator: torch.Generator) -> tuple[list[int], list[float]]:
        from tunesmith.tune import sghmc

        return (sghmc.draw if self.newest else sghmc.uniform)(n, size, generator)


#: part of the convergence phase after which the mass stays as it is
FREEZE = 0.9


@dataclass(frozen=True)
class Cycles:
    """One long chain on a fixed data set (B.5.1): γ decays exponentially from ``first`` to ``last``
    in ``converge`` steps, then falls along a cosine from ``rate`` in every one of ``samples``
    cycles of ``cycle`` steps, a sample at the end of each. The noise sets in as after a label (the
    paper has it from the start), and the mass stays as it is after 0.9 of the convergence phase."""

    converge: int
    cycle: int
    samples: int
    first: float
    last: float
    rate: float
    beta: float

    @property
    def steps(self) -> int:
        return self.converge + self.samples * self.cycle

    def at(self, i: int) -> Instant:
        beyond = i - self.converge
        if beyond < 0:
            frozen = i >= FREEZE * self.converge
            rate = annealing.converging(i, self.converge, self.first, self.last)
            return Instant(rate, annealing.ramped(i, self.converge), frozen)
        # p ~ 1/sqrt(γ): what is left of it where γ jumps up would throw the chain far off
        return Instant(
            annealing.cyclical(beyond, self.cycle, self.rate),
            frozen=True,
            rest=beyond % self.cycle == 0,
            sample=(beyond + 1) % self.cycle == 0,
        )

    def draw(self, n: int, size: int, generator: torch.Generator) -> tuple[list[int], list[float]]:
        from tunesmith.tune import sghmc

        return sghmc.uniform(n, size, generator)
