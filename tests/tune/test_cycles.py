"""The schedule of one long chain on a fixed data set, and that it learns."""

import math

import pytest
import torch

from tiny import e0s, molecules, potential, problem
from tunesmith.errors import ConfigError
from tunesmith.settings import build
from tunesmith.tune.anchor import GaussianPrior
from tunesmith.tune.cycles import Cyclical
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood

LOSS = GaussianLikelihood(energy="0.2 eV", forces="0.2 eV/Å")
SETTINGS = Cyclical(
    members=3, converge=100, cycle=20, batch_size=3,
    learning_rate=5e-3, last_rate=5e-4, cycle_rate=1e-3,
)  # fmt: skip


def test_samples_fit_and_differ() -> None:
    model, frames = potential(), molecules(4)
    fit = SETTINGS.fit(problem(frames, anchor=GaussianPrior(), loss=LOSS, seed=1))
    batch, targets = collate(model, examples(model, frames, e0s()))
    full = model.weights()

    def surprise(i: int) -> float:
        moved = {name: w[i] for name, w in fit.moved.items()}
        noise = {name: w[i] for name, w in fit.noise.items()}
        return float(
            LOSS(model.evaluate(full | moved, batch, features=True), batch, targets, noise)
        )

    before = float(LOSS(model.evaluate(full, batch), batch, targets))
    assert max(surprise(i) for i in range(3)) < 0.9 * before
    for w in fit.moved.values():
        assert w.numel() < 12 or len(w.flatten(1).unique(dim=0)) == 3


def test_the_course_of_the_step_size() -> None:
    """Written out: exponential decay, then cosines; the mass frozen at 90, samples at the ends."""
    plan = SETTINGS.plan()
    steps = [plan.at(i) for i in range(plan.steps)]
    assert len(steps) == 160
    assert steps[0].rate == 5e-3
    assert steps[50].rate == pytest.approx(math.sqrt(5e-3 * 5e-4))
    assert steps[99].rate == pytest.approx(5e-4, rel=0.03)
    assert steps[110].rate == steps[130].rate == pytest.approx(0.5e-3)
    assert [i for i, step in enumerate(steps) if step.rate == 1e-3] == [100, 120, 140]
    assert [i for i, step in enumerate(steps) if step.rest] == [100, 120, 140]
    assert [i for i, step in enumerate(steps) if step.sample] == [119, 139, 159]
    assert [step.frozen for step in steps] == [False] * 90 + [True] * 70


def test_noise_sets_in_once_the_mass_is_known() -> None:
    noise = torch.tensor([SETTINGS.plan().at(i).noise for i in range(160)])
    assert (noise[:21] == 0).all()
    assert ((noise[21:25] > 0) & (noise[21:25] < 1)).all()
    assert (noise[25:] == 1).all()


def test_settings_are_found_by_their_kind_and_refused_where_unknown() -> None:
    found = build(Cyclical, {"kind": "cyclical", "cycle": 50_000}, "tune.sampler")
    assert isinstance(found, Cyclical)
    assert found.plan().cycle == 50_000
    with pytest.raises(ConfigError, match="first_steps"):
        build(Cyclical, {"kind": "cyclical", "first_steps": 50}, "tune.sampler")
