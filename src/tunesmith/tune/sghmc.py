"""Stochastic-gradient Hamiltonian Monte Carlo with an AMSGrad mass (on-the-fly paper, B.5).

One chain is a flat vector of weights θ and a velocity w = γ m̂ p; `init` and `step` are pure. With
U the negative log posterior over N structures divided by N and g = ∇U,

    v ← β v + (1−β) g²;  v_max ← max(v_max, v);  m̂ = 1 / (sqrt(v_max / (1−β^t)) + ε)
    p ← p − α g − α p + α ξ,   ξ ~ N(0, 2 T / (γ m̂ N));      θ ← θ + γ m̂ p.

The law of θ tends to exp(−N U / T) as γ → 0. With γ and m̂ constant and U of curvature k the
variance is exactly T/(N k) / (1 − h / (2 (2 − α))), h = γ m̂ α k.
"""

import math
from dataclasses import dataclass, replace

import torch

from tunesmith.core import Tensor
from tunesmith.tune.annealing import BETA, EPSILON, FRICTION


@dataclass(frozen=True)
class Chain:
    """θ (d,), velocity w (d,), γ m̂ of the last step (d,), and the mass: v, v_max (d,), t."""

    theta: Tensor
    velocity: Tensor
    pace: Tensor
    v: Tensor
    v_max: Tensor
    t: int = 0


def init(theta: Tensor) -> Chain:
    """A chain at rest, its mass not yet begun."""
    zero = torch.zeros_like(theta)
    return Chain(theta, zero, torch.ones_like(theta), zero, zero)


def at_rest(chain: Chain) -> Chain:
    """The chain with no momentum."""
    return replace(chain, velocity=torch.zeros_like(chain.velocity))


def mass(chain: Chain, gradient: Tensor, *, beta: float = BETA) -> Chain:
    """The chain with its AMSGrad mass updated by a gradient (d,)."""
    v = beta * chain.v + (1 - beta) * gradient.square()
    return replace(chain, v=v, v_max=torch.maximum(chain.v_max, v), t=chain.t + 1)


def inverse_mass(chain: Chain, *, beta: float = BETA, epsilon: float = EPSILON) -> Tensor:
    """m̂ (d,) of a chain whose mass has seen a gradient."""
    return 1 / ((chain.v_max / (1 - beta**chain.t)).sqrt() + epsilon)


def step(
    chain: Chain,
    gradient: Tensor,
    *,
    rate: float,
    n: int,
    generator: torch.Generator,
    noise: float = 1.0,
    friction: float = FRICTION,
    beta: float = BETA,
    epsilon: float = EPSILON,
    frozen: bool = False,
) -> Chain:
    """One step along the gradient (d,) of U at ``chain.theta``.

    rate: γ. n: N, the number of structures. noise: factor of the noise's standard deviation,
    sqrt(T) times any ramp. frozen: leaves the mass as it is (it must have been begun).
    """
    if not frozen:
        chain = mass(chain, gradient, beta=beta)
    pace = rate * inverse_mass(chain, beta=beta, epsilon=epsilon)
    # the momentum goes on while γ m̂ changes: w = γ m̂ p is rescaled
    velocity = chain.velocity * (pace / chain.pace)
    velocity = (1 - friction) * velocity - friction * pace * gradient
    if noise:
        drawn = torch.randn(
            pace.shape, generator=generator, dtype=pace.dtype, device=generator.device
        ).to(pace.device)
        velocity += (friction * noise * math.sqrt(2 / n)) * pace.sqrt() * drawn
    return replace(chain, theta=chain.theta + velocity, velocity=velocity, pace=pace)


# ------------------------------------------------------------------------- minibatches


def newest_first(n: int, size: int = 5) -> tuple[Tensor, Tensor]:
    """Probability q (n,) of each structure per draw, and its weight 1/(n q) (n,), newest last.

    The newest is drawn with probability 1/size, the others share the rest; sums of ``size``
    weighted draws divided by ``size`` are unbiased for the mean over all n.
    """
    q = torch.full((n,), (1 - 1 / size) / max(1, n - 1), dtype=torch.float64)
    q[-1] = 1 / size if n > 1 else 1.0
    return q, 1 / (n * q)


def draw(n: int, size: int, generator: torch.Generator) -> tuple[list[int], list[float]]:
    """Structures of one minibatch and their weights, which sum the gradient to the mean over all.

    Up to ``size`` structures: all of them, weight 1/n each. More: ``size`` draws with replacement;
    one drawn twice is computed once, with twice the weight.
    """
    if n <= size:
        return list(range(n)), [1 / n] * n
    q, weight = newest_first(n, size)
    drawn = torch.multinomial(q, size, replacement=True, generator=generator)
    chosen, times = drawn.unique(return_counts=True)
    weights = (times * weight[chosen] / size).tolist()
    return chosen.tolist(), weights


def uniform(n: int, size: int, generator: torch.Generator) -> tuple[list[int], list[float]]:
    """``size`` different structures (all, where there are fewer), each as likely as any other."""
    size = min(size, n)
    chosen = torch.randperm(n, generator=generator)[:size].sort().values.tolist()
    return chosen, [1 / size] * size
