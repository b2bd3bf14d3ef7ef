"""The parts there are keep the law of their kind; and a part that breaks it is seen."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tiny import crystals, e0s, molecules, potential
from tunesmith.acquire.batch import CommitteeScore, Greedy, RandomChoice
from tunesmith.acquire.target import Target
from tunesmith.acquire.threshold import Threshold
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.contracts import Sampler
from tunesmith.core import Members
from tunesmith.explore.pool import Pool
from tunesmith.explore.state import Answer
from tunesmith.features.representation import Representation
from tunesmith.posterior.ensemble import posterior_of
from tunesmith.posterior.spread_rules import ByTangentKernel
from tunesmith.posterior.tangent import Tangent
from tunesmith.registry import ANCHORS, EXPLORERS, LOSSES, SAMPLERS, SPREADS, SUBSPACES
from tunesmith.testing import parts_contract
from tunesmith.tune.anchor import GaussianPrior, NoAnchor
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem
from tunesmith.tune.subspace import All

RULES = ("lcmd", "posterior-variance", "kcenter")
SUBSPACE = {
    "all": ({}, {"initial": "random"}),
    "blocks": ({"names": ("readouts", "products.1")},),
    "freeze-first": ({},),
    "freeze-readout": ({},),
    "lora": ({"rank": 1}, {"rank": 1, "factors": "outer"}),
}
SAMPLER: dict[str, dict[str, Any]] = {
    "adamw": {"epochs": 2, "batch_size": 2},
    "by-size": {"members": 2, "max_rate": 1e-3},
    "committee": {"members": 2, "epochs": 2, "batch_size": 2},
    "sghmc": {"members": 3, "steps": 20},
    "cyclical": {"members": 2, "converge": 20, "cycle": 20},
}


class Vectors(Representation):
    kind: ClassVar[str] = "vectors"
    kernel: ClassVar[Any] = "linear"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", RULES)
def test_rules_on_features(rule: Any, seed: int) -> None:
    parts_contract.check_acquirer(Greedy(representation=Vectors(), rule=rule), seed)


@pytest.mark.parametrize("seed", range(3))
def test_scores_and_chance(seed: int) -> None:
    parts_contract.check_acquirer(CommitteeScore(), seed)
    parts_contract.check_acquirer(RandomChoice(), seed, by_chance=True)


def test_a_rule_that_looks_at_the_order_is_seen() -> None:
    class First(RandomChoice):
        def choose(self, candidates: Any, n: int, rng: np.random.Generator) -> Any:
            picks = super().choose(candidates, n, rng)
            return type(picks)(np.arange(n), picks.scores, picks.nearest)

    with pytest.raises(AssertionError):
        parts_contract.check_acquirer(First(), 0)


@pytest.mark.parametrize(
    ("kind", "settings"), [(k, s) for k in SUBSPACES.names() for s in SUBSPACE[k]]
)
def test_subspaces(kind: str, settings: dict[str, Any]) -> None:
    parts_contract.check_subspace(SUBSPACES.get(kind)(**settings), potential(), 4)


def test_a_subspace_that_lies_about_being_linear_is_seen() -> None:
    class Bent(All):
        def expand(self, weights: Any, moved: Any) -> Any:
            own = {name: weights[name] + (moved[name] - weights[name]) ** 3 for name in moved}
            return {**weights, **own}

    with pytest.raises(AssertionError):
        parts_contract.check_subspace(Bent(), potential(), 4)


@pytest.mark.parametrize(
    "anchor",
    [NoAnchor(), GaussianPrior(), GaussianPrior(sigma=0.2), GaussianPrior(mean="zero", scale=0.3)]
    + [ANCHORS.get(kind)() for kind in ("multihead", "pseudolabel")],
    ids=lambda anchor: repr(anchor)[:40],
)
def test_anchors(anchor: Any) -> None:
    parts_contract.check_anchor(anchor, 2)


def test_an_anchor_of_another_width_is_seen() -> None:
    class Wide(GaussianPrior):
        def std(self, unit: Any) -> Any:
            return 2 * super().std(unit)

        def penalty(self, moved: Any, start: Any, unit: Any, n: int) -> Any:
            return super().penalty(moved, start, unit, n) * 3

    with pytest.raises(AssertionError):
        parts_contract.check_anchor(Wide(), 2)


def test_laws() -> None:
    rng = np.random.default_rng(0)
    std = rng.uniform(0.05, 1.0, 400)
    bent = PowerLaw.fit(std, rng.normal(0, 1.4 * std**0.7))
    taught = GammaCalibration()
    for s in std[:50]:
        taught = taught.update(s, rng.normal(0, 2 * s))
    for law in (GammaCalibration(), taught, PowerLaw(), bent):
        parts_contract.check_law(law, 1)


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_setting_that_would_never_be_read_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"Three\.count: a setting of this name would never be read"
    ):

        class Three(Sampler):
            kind: ClassVar[str] = "three"
            count: int = 3


@pytest.mark.parametrize("kind", LOSSES.names())
def test_losses(kind: str) -> None:
    model = potential()
    batch, targets = collate(model, examples(model, crystals(3), e0s()))
    out = model.evaluate(model.weights(), batch, stress=True)
    parts_contract.check_loss(LOSSES.get(kind)(), out, batch, targets, 5)
    if kind == "huber":
        parts_contract.check_loss(Huber(energy=0.0, stress=0.0), out, batch, targets, 5)


def test_a_loss_that_looks_past_the_forces_is_seen() -> None:
    class Blind(Huber):
        def __call__(self, out: Any, batch: Any, targets: Any) -> Any:
            return super().__call__(replace(out, forces=targets.forces), batch, targets)

    model = potential()
    batch, targets = collate(model, examples(model, crystals(2), e0s()))
    out = model.evaluate(model.weights(), batch, stress=True)
    with pytest.raises(AssertionError, match="forces"):
        parts_contract.check_loss(Blind(), out, batch, targets, 5)


def problem(sampler: Sampler) -> Problem:
    frames = molecules(5)
    likely = sampler.needs_likelihood
    return Problem(
        potential(torch.float32),
        All(),
        GaussianPrior() if likely else NoAnchor(),
        GaussianLikelihood() if likely else Huber(),
        frames[:4],
        frames[4:],
        e0s(),
        seed=3,
    )


@pytest.mark.parametrize("kind", SAMPLERS.names())
def test_samplers(kind: str, tmp_path: Path) -> None:
    sampler = SAMPLERS.get(kind)(**SAMPLER[kind])
    if kind == "by-size":  # a thousand steps are its schedule
        sampler = sampler.of(4).model_copy(update={"epochs": 2, "patience": 2})
    parts_contract.check_sampler(sampler, problem(sampler), tmp_path)


def members(n: int, dtype: torch.dtype = torch.float64) -> Members:
    model, generator = potential(dtype), torch.Generator().manual_seed(1)
    start = {k: v for k, v in model.weights().items() if k in model.names.trainable()}
    moved = {
        k: v + 0.05 * torch.randn((n, *v.shape), generator=generator).to(v)
        for k, v in start.items()
    }
    return Members(model.base, model.weights(), All(), moved, e0s())


@pytest.mark.parametrize("n", [1, 3])
def test_members_are_a_posterior(n: int) -> None:
    parts_contract.check_posterior(posterior_of(potential(), members(n)), molecules(3))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", SPREADS.names())
def test_spreads(kind: str, n: int, tmp_path: Path) -> None:
    frames = [f for f in molecules(9) if len(f.atoms) == 9]
    parts_contract.check_spread(SPREADS.get(kind)(), potential(), members(n), frames, tmp_path)


def test_a_spread_that_forgets_what_it_has_learnt_is_seen(tmp_path: Path) -> None:
    class Forgetful(ByTangentKernel):
        def opened(self, tensors: dict[str, torch.Tensor]) -> Any:
            return super().opened({k: v[1:] for k, v in tensors.items()})

    frames = [f for f in molecules(9) if len(f.atoms) == 9]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPREADS.entries, "ntk", f"{__name__}:Forgetful")
        patch.setattr(sys.modules[__name__], "Forgetful", Forgetful, raising=False)
        with pytest.raises(AssertionError):
            parts_contract.check_spread(Forgetful(), potential(), members(2), frames, tmp_path)


def test_a_posterior_with_a_spread_that_nobody_answers_for_is_seen() -> None:
    class Loud(Tangent):
        def predict(self, *frames: Any, **how: Any) -> Any:
            said = super().predict(*frames, **how)
            return replace(said, var_model=self.members.predict(*frames).var_model)

    frames, own = molecules(4), members(3)
    known = ByTangentKernel().fitted(potential(), own, frames[:3])
    with pytest.raises(AssertionError, match="nobody answers for"):
        parts_contract.check_posterior(Loud(posterior_of(potential(), own).members, known), frames)


@pytest.mark.parametrize("ensemble", ["langevin", "nose-hoover", "npt"])
def test_dynamics(ensemble: str) -> None:
    frame = crystals(1)[0]
    md = EXPLORERS.get("md")(start="x.xyz", ensemble=ensemble, temperature="300 K")
    posterior = posterior_of(potential(), members(1))

    def answer(walker: int, atoms: Any) -> Answer:
        mean = posterior.predict([atoms], stress=True).mean
        return Answer(float(mean.energy[0]), mean.forces, mean.stress[0])

    parts_contract.check_dynamics(md, [frame.atoms], answer)


def test_a_pool_explores_without_taking_twice() -> None:
    parts_contract.check_pool_explorer(Pool(files="p.xyz", rounds=3, start=4), 19, 5, seed=1)

    class Forgetful(Pool):
        def step(self, state: Any, taken: Any) -> Any:
            return replace(super().step(state, taken), taken=tuple(taken))

    with pytest.raises(AssertionError):
        parts_contract.check_pool_explorer(Forgetful(files="p.xyz", rounds=3), 19, 5, seed=1)


def test_dynamics_that_remember_beside_their_state_are_seen() -> None:
    class Drifting(EXPLORERS.get("md")):  # type: ignore[misc]
        def step(self, state: Any, answer: Any) -> Any:
            moved = super().step(state, answer)
            one = replace(moved.walkers[0], positions=moved.walkers[0].positions + next(drift))
            return replace(moved, walkers=(one,))

    drift = itertools.count(0.0, 1e-6)
    md = Drifting(start="x.xyz", ensemble="nve")
    with pytest.raises(AssertionError, match="positions"):
        parts_contract.check_dynamics(
            md, [molecules(1)[0].atoms], lambda _, a: Answer(0.0, np.zeros((len(a), 3)))
        )


@pytest.mark.parametrize("target", [{"energy": "20 meV"}, {"forces": "50 meV/Å"}])
def test_criteria(target: dict[str, str]) -> None:
    atoms = molecules(1)[0].atoms
    parts_contract.check_criterion(Threshold(), Target(**target), atoms, GammaCalibration())


def test_a_criterion_that_does_not_listen_is_seen() -> None:
    class Deaf(Threshold):
        def decide(self, limits: Any, prediction: Any, calibration: Any, gap: float = 0) -> Any:
            return replace(super().decide(limits, prediction, calibration, gap), label=False)

    atoms = molecules(1)[0].atoms
    with pytest.raises(AssertionError):
        parts_contract.check_criterion(Deaf(), Target(energy="9 meV"), atoms, GammaCalibration())


def test_a_sampler_without_a_seed_is_seen(tmp_path: Path) -> None:
    class Careless(SAMPLERS.get("adamw")):  # type: ignore[misc]
        def fit(self, problem: Any, *rest: Any, **named: Any) -> Any:
            found = super().fit(problem, *rest, **named)
            moved = {k: v + 1e-3 * torch.rand(()) for k, v in found.moved.items()}
            return type(found)(moved, found.histories, found.finished)

    sampler = Careless(epochs=1)
    with pytest.raises(AssertionError):
        parts_contract.check_sampler(sampler, problem(sampler), tmp_path)
