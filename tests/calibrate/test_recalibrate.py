"""Recalibration on a validation set: planted scales come back, few frames are not believed."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from ase import Atoms
from scipy import optimize

from tunesmith.calibrate import scores
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.recalibrate import ONE_RECORD, recalibrated
from tunesmith.core import E0s, Frame, Label, Prediction, Quantities
from tunesmith.errors import DataError, ModelError

ATOMS = 4


@dataclass
class Known:
    """A posterior that knows the labels' laws but for a scale: predictions by frame."""

    table: dict[float, tuple[float, float, np.ndarray, np.ndarray]]
    spread: bool = True
    e0s: E0s | None = None
    calls: list[int] = field(default_factory=list)

    def predict(self, frames: list[Atoms], *, stress: bool = False) -> Prediction:
        self.calls.append(len(frames))
        rows = [self.table[float(atoms.positions[0, 0])] for atoms in frames]
        energy, energy_std, forces, forces_std = zip(*rows, strict=True)
        mean = Quantities(np.array(energy), np.concatenate(forces))
        spread = Quantities(np.array(energy_std) ** 2, np.concatenate(forces_std) ** 2)
        counts = np.array([len(atoms) for atoms in frames])
        return Prediction(mean, counts, var_model=spread if self.spread else None)


def made(n: int, energy: float, forces: float, seed: int = 0) -> tuple[Known, list[Frame]]:
    """Errors drawn with ``energy`` and ``forces`` times the stated standard deviations."""
    rng = np.random.default_rng(seed)
    table, frames = {}, []
    for i in range(n):
        atoms = Atoms("H4", positions=rng.normal(size=(ATOMS, 3)))
        atoms.positions[0, 0] = i
        stds = np.exp(rng.normal(size=(ATOMS, 3)))
        std = float(np.exp(rng.normal()))
        label = Label(float(rng.normal()), rng.normal(size=(ATOMS, 3)))
        frames.append(Frame(atoms, label, f"made#{i}"))
        table[float(i)] = (
            label.energy + energy * std * rng.normal(), std,
            label.forces + forces * stds * rng.normal(size=(ATOMS, 3)), stds,
        )  # fmt: skip
    return Known(table), frames


@pytest.mark.parametrize(("energy", "forces"), [(1.0, 1.0), (0.3, 4.0), (5.0, 0.5)])
def test_planted_scales_come_back(energy: float, forces: float) -> None:
    """σ of e²/σ² over n standard normals is sqrt(2/n); forces have 12 components a frame."""
    n = 400
    laws = recalibrated(*made(n, energy, forces))
    assert abs(laws["energy"].std(1.0) / energy - 1) < 4 * np.sqrt(2 / n) / 2
    assert abs(laws["forces"].std(1.0) / forces - 1) < 4 * np.sqrt(2 / (12 * n)) / 2 + 0.005
    assert laws["energy"].records == laws["forces"].records == n


def test_without_belief_it_is_the_scale_of_largest_likelihood() -> None:
    """The limit a → 1, b → 0 against a numerical minimum of the Gaussian NLL."""
    posterior, frames = made(7, 2.0, 3.0)
    laws = recalibrated(posterior, frames, GammaCalibration(1 + 1e-12, 1e-12))
    prediction = posterior.predict([f.atoms for f in frames])
    std = prediction.std()
    assert std is not None
    labels = [f.label for f in frames if f.label is not None]
    error = prediction.mean.energy - [label.energy for label in labels]
    best = optimize.minimize_scalar(
        lambda s: scores.gaussian_nll(error, s * std.energy), bounds=(0.1, 20), method="bounded"
    )
    assert laws["energy"].std(1.0) == pytest.approx(best.x, rel=1e-4)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_one_record_of_belief_beats_both_extremes_on_few_frames(scale: float) -> None:
    """Mean log-likelihood of fresh errors after five validation frames, 500 times; where σ is
    within a factor of two of right."""
    found: dict[str, list[float]] = {"one": [], "none": [], "loop": []}
    priors = {"one": ONE_RECORD, "none": GammaCalibration(1.001, 1e-3), "loop": GammaCalibration()}
    for seed in range(500):
        posterior, frames = made(5, scale, 1.0, seed)
        for name, prior in priors.items():
            factor = float(recalibrated(posterior, frames, prior)["energy"].std(1.0))
            # E of log N(e; 0, factor²) over e ~ N(0, scale²), up to a constant
            found[name].append(-0.5 * (scale / factor) ** 2 - np.log(factor))
    mean = {name: np.mean(values) for name, values in found.items()}
    assert mean["one"] > mean["none"]
    if scale < 2:  # where errors are much larger than σ, caution pays
        assert mean["one"] > mean["loop"]


def test_before_any_frame_it_leaves_spreads_alone() -> None:
    assert ONE_RECORD.std(0.7) == pytest.approx(0.7)


def test_forces_are_one_record_a_frame() -> None:
    posterior, frames = made(3, 1.0, 1.0)
    law = recalibrated(posterior, frames)["forces"]
    squares = [
        np.mean(((f - frame.label.forces) / s) ** 2)  # type: ignore[union-attr]
        for (_, _, f, s), frame in zip(posterior.table.values(), frames, strict=True)
    ]
    assert law.posterior == pytest.approx((1.5 + 1.5, 0.5 + sum(squares) / 2))


def test_components_without_any_spread_say_nothing() -> None:
    """Forces that symmetry makes zero: members agree to rounding, and e/σ is noise."""
    posterior, frames = made(6, 1.0, 1.0)
    expected = recalibrated(posterior, frames)["forces"]
    for i, (e, s, f, stds) in list(posterior.table.items()):
        more = np.vstack([f, np.zeros(3)]), np.vstack([stds, np.full(3, 1e-9)])
        posterior.table[i] = (e, s, *more)
        frame = frames[int(i)]
        assert frame.label is not None
        label = Label(frame.label.energy, np.vstack([frame.label.forces, np.full(3, 1e-5)]))
        frames[int(i)] = Frame(frame.atoms + Atoms("H"), label, frame.origin)
    found = recalibrated(posterior, frames)["forces"]
    assert found.posterior == pytest.approx(expected.posterior)


def test_energies_that_are_left_open_make_no_record() -> None:
    posterior, frames = made(4, 1.0, 1.0)
    posterior.e0s = E0s({1: 0.0, 8: 0.0}, elements=(1, 8), compositions=((2, 1),))
    assert set(recalibrated(posterior, frames)) == {"forces"}


def test_frames_are_predicted_a_few_at_a_time() -> None:
    posterior, frames = made(19, 1.0, 1.0)
    recalibrated(posterior, frames)
    assert sum(posterior.calls) == 19
    assert max(posterior.calls) <= 8


def test_what_cannot_be_done_is_refused() -> None:
    posterior, frames = made(2, 1.0, 1.0)
    with pytest.raises(DataError, match="no labelled structure"):
        recalibrated(posterior, [Frame(frames[0].atoms, None, "bare")])
    posterior.spread = False
    with pytest.raises(ModelError, match="a single fit has no spread"):
        recalibrated(posterior, frames)
