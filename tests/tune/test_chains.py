"""Chains of the posterior: gradients, priors, and the same numbers wherever they run."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from tiny import crystals, e0s, molecules, potential, problem
from tunesmith.core import Frame, Members
from tunesmith.data.e0 import choose_e0s
from tunesmith.errors import ConfigError, TrainingError
from tunesmith.potentials import zoo
from tunesmith.tune.anchor import GaussianPrior, NoAnchor
from tunesmith.tune.chains import SGHMC
from tunesmith.tune.density import Density, task_of
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem

LOSS = GaussianLikelihood(energy="0.2 eV", forces="0.2 eV/Å", stress="0.05 eV/Å^3")
SHORT = SGHMC(members=3, steps=20, learning_rate=1e-3)


def task(frames: list[Frame] | None = None, **changes: Any) -> Problem:
    """To sample the posterior of frames under the Gaussian prior."""
    return problem(frames or [], **{"anchor": GaussianPrior(), "loss": LOSS} | changes)


def begun(sampler: SGHMC = SHORT) -> Members:
    return sampler.start(task())


def density(anchor: Any, stress: bool = True, **changes: Any) -> Density:
    frames = molecules(2) + (crystals(1) if stress else [])
    what = task(frames, anchor=anchor, **changes)
    return Density(task_of(SHORT, SHORT.start(what), what, (0, 1), SHORT.plan(20)))


@pytest.mark.parametrize("anchor", [NoAnchor(), GaussianPrior(scale=0.1)])
def test_gradient_against_finite_differences(anchor: GaussianPrior | NoAnchor) -> None:
    """Weights and noise head, energy, forces and stress, prior; float64, central differences."""
    target = density(anchor)
    generator = torch.Generator().manual_seed(1)
    theta = target.theta + 0.05 * torch.randn(
        target.theta.shape, generator=generator, dtype=torch.float64
    )
    chosen, weights = [0, 1, 2], [0.5, 0.3, 0.2]
    gradient = target.gradient(theta, chosen, weights)
    for part in (slice(None, len(target.at.start)), slice(len(target.at.start), None)):
        direction = torch.zeros_like(theta)
        direction[:, part] = torch.randn(
            direction[:, part].shape, generator=generator, dtype=torch.float64
        )
        h = 1e-5
        up, down = (target.value(theta + s * h * direction, chosen, weights) for s in (1, -1))
        found, expected = (gradient * direction).sum(1), (up - down) / (2 * h)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


def test_the_prior_is_a_gaussian_over_n() -> None:
    """Its part of U: what is left of U when the flat prior's U is taken off."""
    flat, held = density(NoAnchor()), density(GaussianPrior(scale=0.1))
    theta = held.theta + 0.1
    extra = held.value(theta, [0], [1.0]) - flat.value(theta, [0], [1.0])
    std = 0.1 * float(held.at.start.square().mean().sqrt())
    d = len(held.at.start)
    squares = (theta[:, :d] - held.at.start).square().sum(1) + theta[:, d:].square().sum(1)
    torch.testing.assert_close(extra, squares / (2 * 3 * std**2), rtol=1e-9, atol=0.0)


def test_weights_of_a_batch_weigh_its_structures() -> None:
    target = density(NoAnchor())
    single = [target.value(target.theta, [i], [1.0]) for i in range(3)]
    found = target.value(target.theta, [0, 2], [0.25, 0.6])
    torch.testing.assert_close(found, 0.25 * single[0] + 0.6 * single[2])


def test_chains_of_a_task_are_each_as_if_alone() -> None:
    members = begun()
    runs = [
        SHORT.model_copy(update={"together": together}).update(
            members, task(molecules(3)), number=0
        )
        for together in (1, 3)
    ]
    for name, w in runs[0].moved.items():
        torch.testing.assert_close(runs[1].moved[name], w, rtol=1e-6, atol=1e-8)


def test_all_members_start_at_the_pretrained_weights() -> None:
    members = begun()
    full = potential().weights()
    for name, w in members.moved.items():
        assert torch.equal(w, torch.stack([full[name]] * 3))
    assert not torch.equal(members.noise["0.weight"][0], members.noise["0.weight"][1])


def test_an_update_raises_the_likelihood_and_spreads_the_members() -> None:
    model, frames = potential(), molecules(4)
    sampler = SGHMC(members=2, steps=60, learning_rate=5e-3)
    before = begun(sampler)
    after = sampler.update(before, task(frames), number=0)
    batch, targets = collate(model, examples(model, frames, e0s()))

    def surprise(members: Members) -> float:
        out = model.evaluate(members.expand(0), batch, features=True)
        return float(LOSS(out, batch, targets, members.noise_of(0)))

    assert surprise(after) < 0.5 * surprise(before)
    assert all(not torch.equal(w[0], w[1]) for n, w in after.moved.items() if w[0].numel() > 4)


def test_same_numbers_in_sequence_and_in_threads() -> None:
    frames = molecules(7)
    runs = []
    for executor in (None, ThreadPoolExecutor(3)):
        members = begun()
        for number in range(2):
            members = SHORT.update(
                members, task(frames[: 4 + number], seed=4), number=number, executor=executor
            )
        runs.append(members)
    for name in runs[0].moved:
        assert torch.equal(runs[0].moved[name], runs[1].moved[name])
    for name in runs[0].noise:
        assert torch.equal(runs[0].noise[name], runs[1].noise[name])


@pytest.mark.slow
def test_same_numbers_in_other_processes() -> None:
    """With a model that the other process must find and load by itself."""
    model, frames = zoo.load("organic-xs"), molecules(2)
    zero = choose_e0s("foundation", frames=frames, foundation=model.e0s)
    sampler = SGHMC(members=2, steps=20)
    what = task(frames, potential=model, e0s=zero)
    start = sampler.start(what)
    context = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other processes
    try:
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            there, here = (
                sampler.update(start, what, number=0, executor=executor)
                for executor in (pool, None)
            )
    finally:
        torch.set_num_threads(threads)
    for name in here.moved:
        assert torch.equal(here.moved[name], there.moved[name])


def test_seed_and_number_decide_the_numbers() -> None:
    frames = molecules(2)

    def run(seed: int, number: int) -> torch.Tensor:
        return torch.cat([
            w.flatten()
            for w in SHORT.update(begun(), task(frames, seed=seed), number=number).moved.values()
        ])  # fmt: skip

    assert torch.equal(run(1, 0), run(1, 0))
    assert not torch.equal(run(1, 0), run(2, 0))
    assert not torch.equal(run(1, 0), run(1, 1))


def test_at_temperature_zero_chains_agree_but_for_their_noise_heads() -> None:
    cold = SGHMC(members=2, steps=20, temperature=0, together=1)
    members = begun(cold)
    same = replace(members, noise={n: torch.stack([w[0]] * 2) for n, w in members.noise.items()})
    after = cold.update(same, task(molecules(3)), number=0)
    for w in after.moved.values():
        assert torch.equal(w[0], w[1])


def test_a_loss_that_is_no_likelihood_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a likelihood, which 'huber' is not"):
        SHORT.start(task(loss=Huber()))


def test_a_diverging_chain_is_said() -> None:
    wild = SGHMC(members=2, steps=40, learning_rate=1e12)
    with pytest.raises(TrainingError, match="diverged"):
        wild.update(begun(wild), task(molecules(2)), number=0)
