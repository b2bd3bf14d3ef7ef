"""Posteriors on a fixed data set: the right law, and the same bits however the work is cut up."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tiny import molecules, potential, problem
from tunesmith.config import DataSettings, TuneConfig, TuneSettings
from tunesmith.core import Weights
from tunesmith.errors import CheckpointError, ConfigError
from tunesmith.tune import fixed, sghmc
from tunesmith.tune.anchor import GaussianPrior
from tunesmith.tune.chains import SGHMC
from tunesmith.tune.cycles import Cyclical
from tunesmith.tune.density import begun
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.problem import Fit, Problem
from tunesmith.tune.sghmc import uniform
from tunesmith.tune.subspace import All

READOUT = "readouts.0.linear.weight"
LOSS = GaussianLikelihood(energy="0.2 eV", forces="0.2 eV/Å")
PARALLEL = SGHMC(members=3, steps=20, learning_rate=1e-3, batch_size=3, together=2)
LONG = Cyclical(members=3, converge=20, cycle=20, learning_rate=1e-3, batch_size=3)


@cache
def uninterrupted(sampler: SGHMC | Cyclical) -> Fit:
    """Of `labelled`, in one piece."""
    return sampler.fit(labelled())


class Readout(All):
    """One linear readout moves, so that the energies are linear in what moves."""

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        return {READOUT: model.weights()[READOUT]}


def labelled(seed: int = 1, **changes: Any) -> Problem:
    return problem(molecules(5), anchor=GaussianPrior(), loss=LOSS, seed=seed, **changes)


# -------------------------------------------------------------------------- the right law

SIGMA, WIDTH = 3e-4, 0.05


def linear() -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """Energies drawn from the model itself; mean and precision of the posterior in closed form.

    The forces' noise is so large that they say nothing. The narrow prior keeps the noise heads,
    which would lower it, where they are.
    """
    loss = GaussianLikelihood(energy=f"{SIGMA} eV", forces="1e4 eV/Å")
    task = problem(molecules(4), subspace=Readout(), anchor=GaussianPrior(sigma=WIDTH), loss=loss)
    model, frames = task.potential, task.train
    batch, _ = collate(model, examples(model, frames, task.e0s))
    full = model.weights()
    start = full[READOUT]

    def energies(moved: torch.Tensor) -> torch.Tensor:
        return model.evaluate(full | {READOUT: moved}, batch).energy.detach()

    at = energies(start)
    slopes = torch.stack([energies(start + row) - at for row in torch.eye(4).double()], dim=1)
    random = np.random.default_rng(1)
    shift = slopes @ torch.tensor(WIDTH * random.normal(size=4)) + SIGMA * torch.tensor(
        random.normal(size=4)
    )
    train = []
    for frame, energy in zip(frames, at + shift, strict=True):
        assert frame.label is not None
        total = float(energy) + task.e0s.total(frame.atoms.numbers)
        train.append(replace(frame, label=replace(frame.label, energy=total)))
    precision = slopes.T @ slopes / SIGMA**2 + torch.eye(4).double() / WIDTH**2
    mean = start + torch.linalg.solve(precision, slopes.T @ shift / SIGMA**2)
    return replace(task, train=train), mean, precision


@pytest.mark.parametrize(
    "sampler",
    [
        SGHMC(members=12, steps=150, learning_rate=0.02, together=12),
        Cyclical(
            members=12, converge=200, cycle=40,
            learning_rate=0.01, last_rate=0.005, cycle_rate=0.01,
        ),
    ],
    ids=lambda s: s.kind,
)  # fmt: skip
def test_the_posterior_of_a_linear_model(sampler: SGHMC | Cyclical) -> None:
    """Mean and covariance, in coordinates in which the posterior is N(0, I)."""
    task, mean, precision = linear()
    fit = sampler.fit(task)
    samples = (fit.moved[READOUT] - mean) @ torch.linalg.cholesky(precision)
    m, d = samples.shape
    assert (samples.mean(0).abs() < 4 / m**0.5).all()
    square = float(samples.square().mean())
    assert abs(square - 1) < 4 * (2 / (m * d)) ** 0.5
    # away from the start, and not the prior: the labels are what narrows one direction
    prior = torch.eye(4).double() / WIDTH**2
    assert float(torch.linalg.eigvalsh(precision - prior)[-1]) * WIDTH**2 > 10


def test_minibatches_draw_every_structure_alike() -> None:
    """Weights sum to the mean over all; every pair of four is as likely, by counting."""
    generator = torch.Generator().manual_seed(0)
    drawn = [uniform(4, 2, generator) for _ in range(6000)]
    assert {tuple(weights) for _, weights in drawn} == {(0.5, 0.5)}
    counts = Counter(tuple(chosen) for chosen, _ in drawn)
    assert sorted(counts) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert all(abs(n - 1000) < 4 * (6000 * 5 / 36) ** 0.5 for n in counts.values())
    assert uniform(3, 5, generator) == ([0, 1, 2], [1 / 3] * 3)


# --------------------------------------------------------------------------- the same bits


def same(a: Fit, b: Fit) -> bool:
    parts = ((a.moved, b.moved), (a.noise, b.noise), (a.replay, b.replay))
    return a.histories == b.histories and all(
        torch.equal(w, other[name]) for one, other in parts for name, w in one.items()
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize("sampler", [PARALLEL, LONG], ids=lambda s: s.kind)
@pytest.mark.parametrize("killed_at", [27, 45])
def test_killed_and_run_again(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, sampler: SGHMC | Cyclical, killed_at: int
) -> None:
    """In a first task or in a later one, with a checkpoint after every step."""
    whole = uninterrupted(sampler)
    steps, real = 0, sghmc.step

    def counted(*args: Any, **settings: Any) -> sghmc.Chain:
        nonlocal steps
        steps += 1
        if steps > killed_at:
            raise Killed
        return real(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(sghmc, "step", counted)
        patch.setattr(fixed, "SAVE_EVERY", 0.0)
        with pytest.raises(Killed):
            sampler.fit(labelled(), tmp_path)
    left, before = 0, steps - 1

    def counting(*args: Any, **settings: Any) -> sghmc.Chain:
        nonlocal left
        left += 1
        return real(*args, **settings)

    monkeypatch.setattr(sghmc, "step", counting)
    again = sampler.fit(labelled(), tmp_path)
    assert same(again, whole)
    total = 60 if sampler is PARALLEL else 80
    assert left == total - before + (before % 2 if sampler is PARALLEL and before < 40 else 0)
    left = 0
    assert same(sampler.fit(labelled(), tmp_path), whole)
    assert left == 0, "a finished chain walks on"


@pytest.mark.parametrize("sampler", [PARALLEL, LONG], ids=lambda s: s.kind)
def test_an_executor_gives_the_same_bits(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, sampler: SGHMC | Cyclical
) -> None:
    """In many pieces there, in one piece here; and the checkpoints it leaves are good here."""
    here = uninterrupted(sampler)
    monkeypatch.setattr(fixed, "SAVE_EVERY", 0.05)
    with ThreadPoolExecutor(2) as pool:
        there = sampler.fit(labelled(), tmp_path, executor=pool)
    assert same(here, there)
    assert same(sampler.fit(labelled(), tmp_path), here)


def test_members_are_the_chains_or_the_samples() -> None:
    fit = uninterrupted(PARALLEL)
    assert len(fit.histories) == len(fit.moved[READOUT]) == 3
    assert fit.noise_scale == LOSS.scale
    assert fit.details == {"chains": 3, "steps": 20}
    assert [len(history) for history in fit.histories] == [20, 20, 20]
    fit = uninterrupted(LONG)
    assert len(fit.histories) == 1
    assert len(fit.moved[READOUT]) == 3
    assert fit.histories[0][-1]["step"] == 80
    assert not torch.equal(*fit.moved[READOUT][:2])


def test_the_history_holds_the_mean_of_what_was_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry is the mean of U over its steps, whatever they are cut into."""
    found: list[float] = []
    real = fixed.Density.value

    def seen(*args: Any, **settings: Any) -> torch.Tensor:
        values = real(*args, **settings)
        found.append(float(values[0].detach()))
        return values

    monkeypatch.setattr(fixed.Density, "value", seen)
    history = LONG.fit(labelled()).histories[0]
    ends = [int(entry["step"]) for entry in history]
    assert ends[-1] == 80
    means = [np.mean(found[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    assert [entry["train_loss"] for entry in history] == pytest.approx(means)
    assert history[-1]["epoch"] == pytest.approx(80 * 3 / 5)


# ------------------------------------------------------------------------------ the rest


def test_random_weights_are_each_chains_own() -> None:
    class Random(Readout):
        initial: str = "random"

        def start(self, model: Any, generator: torch.Generator) -> Weights:
            return {READOUT: torch.randn(4, generator=generator, dtype=torch.float64)}

    members = begun(labelled(subspace=Random()), 3, "sghmc")
    assert len(members.moved[READOUT].unique(dim=0)) == 3
    pretrained = begun(labelled(), 3, "sghmc").moved[READOUT]
    assert torch.equal(pretrained, torch.stack([potential().weights()[READOUT]] * 3))


def test_progress_says_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed, "SHOW_EVERY", 0.0)
    said: list[str] = []
    PARALLEL.fit(labelled(), report=said.append)
    assert said[0].startswith("chain 1, 2: step 1 of 20, 0 sampled")
    assert said[-1].startswith("chain 3: step 20 of 20, 1 sampled; −log posterior")
    assert said[-1].endswith("about 0 s left")


def test_what_makes_no_sense_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"first_steps: on a fixed data set .* leave"):
        PARALLEL.model_copy(update={"first_steps": 30}).fit(labelled())
    with pytest.raises(ConfigError, match="first_steps"):  # before anything is read or written
        TuneConfig(
            data=DataSettings(train=("none.xyz",)),
            tune=TuneSettings(sampler=SGHMC(first_steps=30), loss=LOSS),
        )
    with pytest.raises(ConfigError, match="cyclical samples a posterior and needs a likelihood"):
        LONG.fit(problem(molecules(2)))
    PARALLEL.fit(labelled(), tmp_path)
    for other in (
        lambda: PARALLEL.model_copy(update={"friction": 0.2}).fit(labelled(), tmp_path),
        lambda: PARALLEL.fit(labelled(seed=2), tmp_path),
        lambda: PARALLEL.fit(replace(labelled(), train=molecules(6)), tmp_path),
    ):
        with pytest.raises(CheckpointError, match="of another problem or of other settings"):
            other()
    (tmp_path / "chains-0.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        PARALLEL.fit(labelled(), tmp_path)
