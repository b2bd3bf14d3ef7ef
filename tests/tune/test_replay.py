"""Replay: which structures, whose labels, and what they add to a training."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

from tiny import crystals, molecules, potential, problem
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.errors import ConfigError, DataError
from tunesmith.potentials import zoo
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.adamw_fit import AdamWFit
from tunesmith.tune.anchor import GaussianPrior, NoAnchor
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.loss import Huber, MACEUniversal
from tunesmith.tune.problem import Problem
from tunesmith.tune.replay import Multihead, Pseudolabel, Replay, predicted
from tunesmith.tune.replay_batches import ReplayBatches
from tunesmith.tune.subspace import All, Blocks

READOUT = "readouts.0.linear.weight"


def replayed(n: int = 5, **settings: float) -> Replay:
    """Structures that the tiny model labels itself."""
    anchor = Pseudolabel(**settings)
    return anchor.replay(potential(), molecules(n, seed=5) + crystals(1, seed=6), Huber())


def task(**changes: object) -> Problem:
    return problem(molecules(4), molecules(2, seed=9), **{"replay": replayed()} | changes)


# ------------------------------------------------------------------------- which, and whose


def test_only_structures_of_the_targets_elements_are_replayed() -> None:
    model = zoo.load("organic-xs")
    water = [Frame(molecule("H2O"), None, "water")]
    chosen = Pseudolabel().select(model, water, seed=0)
    every = Pseudolabel(match="any").select(model, water, seed=0)
    assert {z for f in chosen for z in f.atoms.numbers} == {1, 8}
    assert len(every) == 400 > len(chosen) > 0
    wanted = sum(set(f.atoms.numbers.tolist()) <= {1, 8} for f in every)
    assert len(chosen) == wanted


def test_a_number_of_them_is_drawn_by_the_seed() -> None:
    model, water = zoo.load("organic-xs"), [Frame(molecule("CH3CH2OH"), None, "ethanol")]
    few = Pseudolabel(number=20)
    names = [[f.origin for f in few.select(model, water, seed)] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    order = [int(name.partition("#")[2]) for name in names[0]]
    assert len(order) == 20
    assert order == sorted(order)


def test_nothing_to_replay_is_refused(tmp_path: Path) -> None:
    path, water = tmp_path / "methane.xyz", [Frame(molecule("H2O"), None, "water")]
    write_frames(path, molecules(1))
    with pytest.raises(DataError, match="none of the 1 structures to replay is made of H and O"):
        Pseudolabel(frames=(str(path),)).select(potential(), water, seed=0)
    with pytest.raises(DataError, match="ships no structures to replay; name files"):
        Pseudolabel().select(potential(), molecules(1), seed=0)
    with pytest.raises(ConfigError, match="nothing would be replayed"):
        Multihead(energy=0.0, forces=0.0)


def test_pseudolabels_are_the_models_own_and_stored_labels_are_not_read(tmp_path: Path) -> None:
    model, path = potential(), tmp_path / "structures.xyz"
    write_frames(path, molecules(3) + crystals(2))
    anchor = Pseudolabel(frames=(str(path),), match="any")
    selected = anchor.select(model, [], seed=0)
    assert all(f.label is None for f in selected)
    found = anchor.replay(model, selected, Huber())
    assert found.e0s.values == model.e0s
    for frame in found.frames:
        (label,) = predicted(model, [frame])
        assert frame.label is not None
        assert frame.label.energy == pytest.approx(label.energy, abs=1e-9)
        np.testing.assert_allclose(frame.label.forces, label.forces, atol=1e-9)
        assert (frame.label.stress is None) == (not frame.atoms.pbc.all())
    stream = ReplayBatches(model, found, 5, 0)
    assert float(stream.value(model.weights(), 0).detach()) == pytest.approx(0, abs=1e-12)


def test_original_labels_keep_their_own_zero_of_energy(tmp_path: Path) -> None:
    """Of files it is estimated anew, of the shipped structures it is the model's."""
    model, path = potential(), tmp_path / "old.xyz"
    frames = molecules(9)
    write_frames(path, frames)
    anchor = Multihead(frames=(str(path),))
    found = anchor.replay(model, anchor.select(model, frames, 0), Huber())
    labels = np.array([f.label.energy for f in found.frames if f.label])
    ours = np.array([label.energy for label in predicted(model, found.frames)])
    zero = np.array([found.e0s.total(f.atoms.numbers) for f in found.frames])
    own = np.array([sum(model.e0s[z] for z in f.atoms.numbers) for f in found.frames])
    residual = labels - (ours - own + zero)
    assert abs(residual.mean()) < 1e-6
    assert np.abs(labels - ours).min() > 100
    shipped = Multihead(number=5)
    organic = zoo.load("organic-xs")
    chosen = shipped.select(organic, molecules(2), 0)
    assert shipped.replay(organic, chosen, Huber()).e0s.values == organic.e0s
    unlabelled = tmp_path / "bare.xyz"
    write_frames(unlabelled, [replace(f, label=None) for f in frames])
    with pytest.raises(DataError, match="has no label"):
        Multihead(frames=(str(unlabelled),)).select(model, frames, 0)


def test_weights_of_the_replay_loss() -> None:
    """A.1: λ_E = 1, λ_F = 10 beside the target's 10 and 10."""
    loss = replayed(energy=2.0).loss
    assert (loss.energy, loss.forces, loss.stress) == (2.0, 10.0, 1.0)
    universal = MACEUniversal(forces=7.0)
    other = Pseudolabel().replay(potential(), molecules(1), universal).loss
    assert other == universal
    with pytest.raises(ConfigError, match="standard deviations instead of weights"):
        Pseudolabel(forces=2.0).replay(potential(), molecules(1), GaussianLikelihood())


# ----------------------------------------------------------------------- two heads, one body


def test_the_replay_head_has_readouts_of_its_own_and_shares_the_rest() -> None:
    model = potential()
    at = Coordinates(model, All(), pretrained(model, All(), 0), replay=True)
    readouts = sum(model.weights()[n].numel() for n in model.names.readouts)
    alone = Coordinates(model, All(), pretrained(model, All(), 0), replay=False)
    assert len(at) == len(alone) + readouts
    generator = torch.Generator().manual_seed(0)
    theta = at.start + torch.randn(len(at), generator=generator, dtype=torch.float64)
    target, other = at.target(theta), at.replay(theta)
    for name in target:
        own = name in model.names.readouts
        assert torch.equal(target[name], other[name]) == (not own)
    moved, replay = at.split(theta[None])
    assert torch.equal(at.join(moved, replay), theta[None])
    assert set(replay) == set(model.names.readouts)


@pytest.mark.parametrize("names", ["readouts", "read*", "*outs.1*"])
def test_replay_beside_readouts_alone_is_refused(names: str) -> None:
    """Every head has its own: nothing that replay could hold would move."""
    model, alone = potential(), Blocks(names=(names,))
    start = pretrained(model, alone, 0)
    with pytest.raises(ConfigError, match="replay would hold nothing"):
        Coordinates(model, alone, start, replay=True)
    assert len(Coordinates(model, alone, start, replay=False)) > 0
    more = Blocks(names=(names, "products.0"))
    Coordinates(model, more, pretrained(model, more, 0), replay=True)


def test_every_pass_replays_all_structures_in_another_order() -> None:
    found = replayed(6)
    stream = ReplayBatches(potential(), found, 3, 11)
    energies = {round(e.energy, 9) for e in stream._data}
    passes = [
        [
            round(float(e), 9)
            for step in range(3 * k, 3 * k + 3)
            for e in stream.batch(step)[1].energy
        ]
        for k in range(3)
    ]
    assert all(Counter(p) == Counter(energies) for p in passes)
    assert len({tuple(p) for p in passes}) > 1
    again = ReplayBatches(potential(), found, 3, 11)
    assert torch.equal(again.batch(7)[1].forces, stream.batch(7)[1].forces)
    small = ReplayBatches(potential(), replace(found, batch_size=2), 3, 11)
    assert len(small.batch(0)[0]) == 2


def test_the_loss_is_that_of_the_target_plus_weight_times_that_of_replay() -> None:
    what = task(replay=replayed(weight=0.25))
    run = AdamWFit(AdamW(batch_size=3), what, None)
    generator = torch.Generator().manual_seed(2)
    start = run.coordinates.start
    theta = start + 0.05 * torch.randn(start.shape, generator=generator, dtype=torch.float64)
    batch, targets = collate(what.potential, run.train)
    out = what.potential.evaluate(run.coordinates.target(theta), batch, stress=what.stress)
    expected = what.loss(out, batch, targets)
    assert what.replay is not None
    batch, targets = run.stream.batch(0)
    out = what.potential.evaluate(run.coordinates.replay(theta), batch, stress=True)
    expected = expected + 0.25 * what.replay.loss(out, batch, targets)
    found = run.loss(theta, run.train).detach()
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_gradient_with_replay_by_finite_differences() -> None:
    run = AdamWFit(AdamW(), task(anchor=GaussianPrior(scale=0.1)), None)
    generator = torch.Generator().manual_seed(3)
    start = run.coordinates.start
    theta, way = (torch.randn(start.shape, generator=generator, dtype=torch.float64) for _ in "ab")
    theta = (start + 0.05 * theta).requires_grad_()
    (gradient,) = torch.autograd.grad(run.loss(theta, run.train), theta)
    h = 1e-5
    up, down = (float(run.loss((theta + s * h * way).detach(), run.train)) for s in (1, -1))
    assert float(gradient @ way) == pytest.approx((up - down) / (2 * h), rel=1e-5)


def test_what_replay_is_for() -> None:
    """With it the old structures stay known while the target is learnt; without, they do not."""
    found = replayed(5)

    def forgotten(replay: Replay | None) -> tuple[float, float]:
        settings = AdamW(epochs=40, batch_size=2, learning_rate=1e-2, ema=0.9)
        fit = settings.fit(task(replay=replay))
        model = potential()
        own = {n: w[0] for n, w in fit.moved.items()}
        head = {n: w[0] for n, w in fit.replay.items()}
        data = examples(model, found.frames, found.e0s)
        batch, targets = collate(model, data)
        out = model.evaluate(All().expand(model.weights(), own | head), batch, stress=True)
        return float(found.loss(out, batch, targets)), min(
            e["valid_loss"] for e in fit.histories[0]
        )

    (with_it, learnt), (without, plain) = forgotten(found), forgotten(None)
    assert with_it < 0.2 * without
    assert learnt < 3 * plain


def test_restart_with_replay_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AdamW(epochs=4, batch_size=2, learning_rate=1e-2, checkpoint_every="0 s")
    whole = settings.fit(task())
    evaluate, calls = ReplayBatches.value, 0

    def counted(*args):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls > 5:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(ReplayBatches, "value", counted)
    with pytest.raises(KeyboardInterrupt):
        settings.fit(task(), tmp_path)
    monkeypatch.undo()
    again = settings.fit(task(), tmp_path)
    assert again.histories == whole.histories
    assert all(torch.equal(again.moved[k], whole.moved[k]) for k in whole.moved)
    assert all(torch.equal(again.replay[k], whole.replay[k]) for k in whole.replay)


# ------------------------------------------------------------------------- priors


def test_a_prior_of_unit_variance_around_zero() -> None:
    """−log N(θ; 0, I)/n against torch's own, up to its constant."""
    theta = torch.linspace(-1, 2, 7, dtype=torch.float64)
    prior = GaussianPrior(sigma=1.0, mean="zero")
    unit, start = torch.full((7,), 0.3, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    law = torch.distributions.Normal(0.0, 1.0)
    expected = -(law.log_prob(theta) - law.log_prob(torch.zeros(()))).sum() / 5
    assert float(prior.penalty(theta, start, unit, 5)) == pytest.approx(float(expected))
    assert NoAnchor().penalty(theta, start, unit, 5) is None
    wide = prior.wider(2.0)
    assert float(wide.penalty(theta, start, unit, 5)) == pytest.approx(float(expected) / 4)
    with pytest.raises(ConfigError, match="keep one"):
        GaussianPrior(sigma=1.0, scale=0.2)


def test_the_priors_width_is_the_rms_of_the_weights() -> None:
    model = potential()
    at = Coordinates(model, All(), pretrained(model, All(), 0), replay=False)
    own = torch.cat([model.weights()[n].reshape(-1) for n in model.names.trainable()])
    rms = float(own.square().mean().sqrt())
    assert torch.allclose(GaussianPrior(scale=0.4).std(at.unit), own.new_tensor(0.4 * rms))
