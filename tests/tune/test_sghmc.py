"""The sampler against laws that are known: Gaussians, a linear model, and every possible draw."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from tunesmith.tune import annealing, sghmc

ALPHA = annealing.FRICTION


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frozen_chain(theta: torch.Tensor, inverse_mass: float) -> sghmc.Chain:
    """A chain whose inverse mass is given: bias correction 1, v_max = (1/m̂ − ε)²."""
    v_max = torch.full_like(theta, (1 / inverse_mass - annealing.EPSILON) ** 2)
    return replace(sghmc.init(theta), v_max=v_max, t=10**6)


def known_variance(k: float, n: int, temperature: float, pace: float) -> float:
    h = pace * ALPHA * k
    return temperature / (n * k) / (1 - h / (2 * (2 - ALPHA)))


@pytest.mark.parametrize("h", [0.02, 0.5, 2.0])
def test_the_known_variance_is_that_of_the_linear_recursion(h: float) -> None:
    """Of the map of (θ, w) with its noise, by a Lyapunov equation."""
    k, n, pace = 3.0, 7, h / (ALPHA * 3.0)
    a = 1 - ALPHA
    drive = -ALPHA * pace * k
    step = np.array([[1 + drive, a], [drive, a]])
    noise = ALPHA**2 * pace * 2 / n * np.ones((2, 2))
    variance = solve_discrete_lyapunov(step, noise)[0, 0]
    assert variance == pytest.approx(known_variance(k, n, 1.0, pace), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("pace", [0.3, 2.0, 8.0])
def test_stationary_law_of_a_gaussian(pace: float, temperature: float) -> None:
    """Constant step, frozen mass: 20 000 independent chains at one moment, mean 0.7."""
    k, n, count, inverse_mass = 2.0, 5, 20_000, 0.25
    random = generator(3)
    chain = frozen_chain(torch.full((count,), 0.7, dtype=torch.float64), inverse_mass)
    for _ in range(int(60 / (pace * k)) + 120):
        chain = sghmc.step(
            chain,
            k * (chain.theta - 0.7),
            rate=pace / inverse_mass,
            n=n,
            generator=random,
            noise=math.sqrt(temperature),
            frozen=True,
        )
    expected = known_variance(k, n, temperature, pace)
    variance = float(chain.theta.var())
    assert abs(variance - expected) < 4 * expected * math.sqrt(2 / count)
    assert abs(float(chain.theta.mean()) - 0.7) < 4 * math.sqrt(expected / count)


@pytest.mark.parametrize(("temperature", "pace"), [(1.0, 0.2), (1.0, 3.0), (2.0, 1.0)])
def test_stationary_law_of_a_bayesian_linear_model(temperature: float, pace: float) -> None:
    """y = X w + noise with a Gaussian prior: mean and covariance against the closed form."""
    rng = np.random.default_rng(1)
    rows, d, sigma, prior, count, inverse_mass = 12, 3, 0.4, 1.5, 8000, 0.1
    x = rng.normal(size=(rows, d))
    y = x @ np.array([1.0, -0.5, 0.25]) + sigma * rng.normal(size=rows)
    # U = mean over rows of (y − x w)² / 2σ² + |w|² / (2 rows prior²)
    curvature = x.T @ x / (rows * sigma**2) + np.eye(d) / (rows * prior**2)
    mean = np.linalg.solve(curvature, x.T @ y / (rows * sigma**2))
    values, axes = np.linalg.eigh(curvature)
    known = [known_variance(k, rows, temperature, pace / values[-1]) for k in values]
    covariance = axes @ np.diag(known) @ axes.T
    xt, yt = torch.tensor(x), torch.tensor(y)

    def gradient(theta: torch.Tensor) -> torch.Tensor:
        w = theta.view(count, d).requires_grad_()
        likelihood = ((yt - w @ xt.T) ** 2).mean(1) / (2 * sigma**2)
        u = (likelihood + (w**2).sum(1) / (2 * rows * prior**2)).sum()
        return torch.autograd.grad(u, w)[0].reshape(-1)

    chain = frozen_chain(torch.zeros(count * d, dtype=torch.float64), inverse_mass)
    random = generator(5)
    slowest = values[-1] / values[0] / pace
    for _ in range(int(12 * slowest) + 150):
        chain = sghmc.step(
            chain,
            gradient(chain.theta),
            rate=pace / values[-1] / inverse_mass,
            n=rows,
            generator=random,
            noise=math.sqrt(temperature),
            frozen=True,
        )
    samples = chain.theta.detach().view(count, d).numpy()
    diagonal = np.diag(covariance)
    assert np.all(np.abs(samples.mean(0) - mean) < 4 * np.sqrt(diagonal / count))
    error = np.sqrt((np.outer(diagonal, diagonal) + covariance**2) / count)
    assert np.all(np.abs(np.cov(samples.T) - covariance) < 4 * error)


def test_the_equations_of_the_paper_with_a_moving_mass_and_rate() -> None:
    """Momentum p and mass written out literally, with the same random numbers."""
    d, n, beta, eps = 6, 4, annealing.BETA, annealing.EPSILON
    scale = torch.linspace(0.1, 30.0, d, dtype=torch.float64)
    random = np.random.default_rng(2)
    noises = [torch.tensor(random.normal(size=d)) for _ in range(50)]
    rates = [annealing.cosine(i, 50, 1e-2) for i in range(50)]
    theta = torch.ones(d, dtype=torch.float64)
    p = v = v_max = torch.zeros(d, dtype=torch.float64)
    for i, (rate, drawn) in enumerate(zip(rates, noises, strict=True), 1):
        g = scale * theta
        v = beta * v + (1 - beta) * g**2
        v_max = torch.maximum(v_max, v)
        m = 1 / (torch.sqrt(v_max / (1 - beta**i)) + eps)
        xi = drawn * torch.sqrt(2 / (rate * m * n))
        p = p - ALPHA * g - ALPHA * p + ALPHA * xi
        theta = theta + rate * m * p

    chain = sghmc.init(torch.ones(d, dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        queue = iter(noises)
        patch.setattr(torch, "randn", lambda *a, **k: next(queue))
        for rate in rates:
            chain = sghmc.step(chain, scale * chain.theta, rate=rate, n=n, generator=generator())
    torch.testing.assert_close(chain.theta, theta, rtol=1e-10, atol=1e-12)


def test_steps_are_pure() -> None:
    chain = sghmc.init(torch.ones(3))
    gradient = torch.tensor([1.0, 2.0, 3.0])
    first = sghmc.step(chain, gradient, rate=0.1, n=1, generator=generator())
    second = sghmc.step(chain, gradient, rate=0.1, n=1, generator=generator())
    assert torch.equal(first.theta, second.theta)
    assert torch.equal(chain.theta, torch.ones(3))
    assert chain.t == 0


def test_a_frozen_mass_stays() -> None:
    chain = sghmc.mass(sghmc.init(torch.zeros(2)), torch.ones(2))
    after = sghmc.step(
        chain, 100 * torch.ones(2), rate=0.1, n=1, generator=generator(), frozen=True
    )
    assert torch.equal(after.v_max, chain.v_max)
    assert torch.equal(sghmc.inverse_mass(after), sghmc.inverse_mass(chain))


@pytest.mark.parametrize(("n", "size"), [(6, 5), (7, 3), (8, 4)])
def test_weighted_draws_are_unbiased_over_all_draws(n: int, size: int) -> None:
    """Σ over all n^size draws of probability × weighted sum = mean over all structures."""
    gradients = np.random.default_rng(0).normal(size=(n, 4))
    q, weight = (t.numpy() for t in sghmc.newest_first(n, size))
    assert q.sum() == pytest.approx(1)
    assert q[-1] == pytest.approx(1 / size)
    total = np.zeros(4)
    for drawn in itertools.product(range(n), repeat=size):
        rows = list(drawn)
        total += np.prod(q[rows]) * (weight[rows, None] * gradients[rows]).sum(0) / size
    np.testing.assert_allclose(total, gradients.mean(0), atol=1e-12)


def test_a_draw_weighs_as_drawn() -> None:
    n, size = 9, 5
    for seed in range(20):
        chosen, weights = sghmc.draw(n, size, generator(seed))
        q, weight = sghmc.newest_first(n, size)
        drawn = torch.multinomial(q, size, replacement=True, generator=generator(seed)).tolist()
        assert chosen == sorted(set(drawn))
        expected = [drawn.count(i) * float(weight[i]) / size for i in chosen]
        assert weights == pytest.approx(expected)


def test_the_newest_is_in_two_batches_of_three() -> None:
    """1 − (4/5)^5 = 0.672 of batches of five hold it, within 4 standard errors."""
    random, n = generator(1), 4000
    seen = sum(11 in sghmc.draw(12, 5, random)[0] for _ in range(n)) / n
    assert abs(seen - 0.67232) < 4 * math.sqrt(0.672 * 0.328 / n)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_few_structures_are_all_taken(n: int) -> None:
    assert sghmc.draw(n, 5, generator()) == (list(range(n)), [1 / n] * n)


def test_schedule_after_a_label() -> None:
    """2000 steps: 400 without noise, 100 of ramp, cosine to the floor."""
    rate, noise = zip(*(annealing.per_label(i, 2000, 1e-3) for i in range(2000)), strict=True)
    assert rate[0] == 1e-3
    assert rate[1000] == pytest.approx(5e-4)
    assert rate[1900] == pytest.approx(1e-3 / 2 * (1 + math.cos(math.pi * 1900 / 2000)))
    assert rate[-1] == annealing.FLOOR
    assert max(noise[:401]) == 0
    assert noise[450] == pytest.approx(0.5)
    assert min(noise[500:]) == 1
    assert annealing.cosine(2000, 2000, 1e-3) == annealing.FLOOR


def test_cycles_begin_anew_and_convergence_decays() -> None:
    assert annealing.cyclical(0, 50, 1e-3) == annealing.cyclical(50, 50, 1e-3) == 1e-3
    assert annealing.cyclical(49, 50, 1e-3) < 2e-6
    assert annealing.converging(0, 100, 1e-2, 1e-4) == 1e-2
    assert annealing.converging(100, 100, 1e-2, 1e-4) == pytest.approx(1e-4)
