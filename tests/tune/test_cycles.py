"""The long chain on a fixed data set."""

from concurrent.futures import ThreadPoolExecutor

import torch

from tiny import e0s, molecules, potential, problem
from tunesmith.core import Members
from tunesmith.tune import sghmc
from tunesmith.tune.anchor import GaussianPrior
from tunesmith.tune.chains import SGHMC
from tunesmith.tune.cycles import Course, sample
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood

LOSS = GaussianLikelihood(energy="0.2 eV", forces="0.2 eV/Å")
SETTINGS = SGHMC(members=3, learning_rate=5e-3, batch_size=3)
COURSE = Course(converge=100, cycle=10, rate=1e-3)


def sampled(executor: ThreadPoolExecutor | None = None, course: Course = COURSE) -> Members:
    what = problem(molecules(4), anchor=GaussianPrior(), loss=LOSS, seed=1)
    return sample(SETTINGS, SETTINGS.start(what), what, course, executor=executor)


def test_samples_fit_and_differ() -> None:
    members, model = sampled(), potential()
    assert len(members) == 3
    assert members.noise_scale == LOSS.scale
    batch, targets = collate(model, examples(model, molecules(4), e0s()))

    def surprise(weights: dict[str, torch.Tensor], noise: dict[str, torch.Tensor]) -> float:
        return float(LOSS(model.evaluate(weights, batch, features=True), batch, targets, noise))

    before = surprise(model.weights(), members.noise_of(0))
    found = [surprise(members.expand(i), members.noise_of(i)) for i in range(3)]
    assert max(found) < 0.9 * before
    for w in members.moved.values():
        assert w.numel() < 12 or len(w.flatten(1).unique(dim=0)) == 3


def test_the_same_on_an_executor() -> None:
    here, there = sampled(), sampled(ThreadPoolExecutor(1))
    assert all(torch.equal(w, there.moved[n]) for n, w in here.moved.items())


def test_a_sample_ends_each_cycle_and_the_mass_freezes(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    rates, frozen = [], []
    real = sghmc.step

    def seen(*args, **settings):  # type: ignore[no-untyped-def]
        rates.append(settings["rate"])
        frozen.append(settings["frozen"])
        return real(*args, **settings)

    monkeypatch.setattr(sghmc, "step", seen)
    sampled()
    assert len(rates) == 130
    assert rates[0] == 5e-3
    assert rates[100] == rates[110] == rates[120] == 1e-3
    assert frozen.index(True) == 90
    assert all(frozen[90:])
