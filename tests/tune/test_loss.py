"""The losses against scipy's and numpy's functions and against mace's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.special import huber

from tiny import crystals, e0s, molecules, potential
from tunesmith.core import Frame
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.potential import Evaluation
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood
from tunesmith.tune.loss import Huber, MACEUniversal


def batch_of(frames: list[Frame]):
    model = potential()
    return collate(model, examples(model, frames, e0s()))


def prediction(batch, targets, scale: float, stress: bool) -> Evaluation:
    """The targets plus noise of the given size, so that both branches of Huber occur."""
    g = torch.Generator().manual_seed(5)

    def near(t):
        return t + scale * torch.randn(t.shape, generator=g, dtype=t.dtype)

    zero = torch.nan_to_num(targets.stress)
    return Evaluation(near(targets.energy), near(targets.forces), near(zero) if stress else None)


@pytest.mark.parametrize("scale", [0.003, 0.05, 1.0])
def test_huber_is_eqs_8_to_11_by_scipy_and_numpy(scale):
    """Per-atom energy beside; norms by numpy, Huber's function by scipy."""
    frames = molecules(4) + crystals(2)
    frames[1] = Frame(frames[1].atoms, frames[1].label, "w", weight=3.0)
    batch, targets = batch_of(frames)
    out = prediction(batch, targets, scale, stress=True)
    loss = Huber(energy=7.0, forces=11.0, stress=2.0, delta=0.02)
    expected, start = 0.0, 0
    for b, frame in enumerate(frames):
        n = len(frame.atoms)
        energy = huber(0.02, float(out.energy[b] - targets.energy[b]) / n)
        errors = (out.forces - targets.forces)[start : start + n].numpy()
        force = np.mean(huber(0.02, np.linalg.norm(errors, axis=1)))
        stress = 0.0
        if frame.label.stress is not None:
            error = (out.stress[b] - targets.stress[b]).numpy()
            stress = huber(0.02, np.linalg.norm(error, "fro"))
        expected += frame.weight * (7 * energy + 11 * force + 2 * stress)
        start += n
    assert float(loss(out, batch, targets)) == pytest.approx(expected / len(frames), rel=1e-12)


@pytest.mark.parametrize("kind", [Huber, GaussianLikelihood])
@pytest.mark.parametrize("scale", [0.003, 0.05])
def test_no_axis_is_preferred(kind, scale):
    """Every error turned by one rotation is the same error: a loss that takes components apart, or
    averages over them where the paper takes a norm, sees another one."""
    batch, targets = batch_of(crystals(2))
    targets = replace(targets, stress=torch.nan_to_num(targets.stress))
    out = prediction(batch, targets, scale, stress=True)
    turn = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    turned = Evaluation(
        out.energy,
        targets.forces + (out.forces - targets.forces) @ turn.T,
        targets.stress + turn @ (out.stress - targets.stress) @ turn.T,
    )
    loss = kind() if kind is Huber else kind(energy="10 meV")
    assert float(loss(turned, batch, targets)) == pytest.approx(
        float(loss(out, batch, targets)), rel=1e-12
    )


def test_gradient_is_finite_where_a_prediction_is_exact():
    batch, targets = batch_of(molecules(2))
    forces = targets.forces.clone().requires_grad_()
    energy = targets.energy.clone().requires_grad_()
    Huber()(Evaluation(energy, forces), batch, targets).backward()
    assert torch.equal(forces.grad, torch.zeros_like(forces))
    assert torch.equal(energy.grad, torch.zeros_like(energy))


def test_huber_gradient_against_finite_differences():
    batch, targets = batch_of(molecules(3) + crystals(1))
    out = prediction(batch, targets, 0.03, stress=True)
    inputs = [t.clone().requires_grad_() for t in (out.energy, out.forces, out.stress)]
    loss = Huber(delta=0.02)
    assert torch.autograd.gradcheck(lambda *t: loss(Evaluation(*t), batch, targets), inputs)


@pytest.mark.parametrize("scale", [0.003, 1.0])
def test_universal_is_maces(scale):
    mace_loss = mace_files.module("mace.modules.loss")
    frames = molecules(3) + crystals(2)
    frames[0] = Frame(frames[0].atoms, frames[0].label, "w", weight=2.0)
    # forces of all four classes of mace's δ
    for frame, size in zip(frames, (1, 150, 250, 400, 1), strict=True):
        frame.label.forces[:] *= size / np.linalg.norm(frame.label.forces, axis=1).max()
    batch, targets = batch_of(frames)
    out = prediction(batch, targets, scale, stress=True)
    ones = torch.ones(len(frames), dtype=torch.float64)
    labelled = ~targets.stress.isnan().any(-1).any(-1)

    class Reference(dict):
        __getattr__ = dict.__getitem__

    reference = Reference(
        energy=targets.energy,
        forces=targets.forces,
        stress=torch.nan_to_num(targets.stress),
        ptr=torch.cat([torch.zeros(1, dtype=torch.long), batch.counts.cumsum(0)]),
        energy_weight=targets.weight * ones,
        forces_weight=targets.weight * ones,
        stress_weight=targets.weight * labelled,
    )
    predicted = {"energy": out.energy, "forces": out.forces, "stress": out.stress}
    theirs = mace_loss.UniversalLoss(3.0, 50.0, 2.0, 0.02)(reference, predicted)
    ours = MACEUniversal(energy=3.0, forces=50.0, stress=2.0, delta=0.02)(out, batch, targets)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
