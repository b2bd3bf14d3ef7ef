"""Recalibration on a validation set: planted scales come back, few frames are not believed."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from ase import Atoms
from scipy import optimize

from tunesmith.calibrate import scores
from tunesmith.calibrate.few_members import as_of
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.calibrate.recalibrate import (
    ONE_RECORD,
    facts_of,
    out_of_bag,
    recalibrated,
    said_of,
)
from tunesmith.contracts import Posterior
from tunesmith.core import BY_MEMBERS, E0s, Frame, Label, Prediction, Quantities
from tunesmith.errors import DataError, ModelError

ATOMS = 4


@dataclass
class Known(Posterior):
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


@dataclass
class Crystals(Posterior):
    """A committee of crystals, with stress; noise: variance it predicts beside its members'."""

    each: list[list[Quantities]]
    noise: float | None = None

    def predict(self, frames: list[Atoms], *, stress: bool = False) -> Prediction:
        at = [int(atoms.info["number"]) for atoms in frames]
        each = [
            Quantities(
                np.concatenate([m[i].energy for i in at]),
                np.concatenate([m[i].forces for i in at]),
                np.concatenate([m[i].stress for i in at]) if stress else None,  # type: ignore[misc]
            )
            for m in self.each
        ]

        def over(what: str) -> Quantities:
            parts = [
                np.array([getattr(q, name) for q in each]) for name in ("energy", "forces")
            ] + ([np.array([q.stress for q in each])] if stress else [])
            kept = [p.mean(0) if what == "mean" else p.var(0, ddof=1) for p in parts]
            return Quantities(*kept)

        variance, noise = over("variance"), None
        if self.noise is not None:
            noise = Quantities(*(np.full_like(v, self.noise) for v in _parts(variance)))
        counts = np.array([len(atoms) for atoms in frames])
        return Prediction(over("mean"), counts, variance, noise, tuple(each))


def _parts(q: Quantities) -> list[np.ndarray]:
    return [q.energy, q.forces, *([] if q.stress is None else [q.stress])]


def crystals(n: int, members: int, seed: int = 0) -> tuple[list[list[Quantities]], list[Frame]]:
    """Members that err about the labels by 0.1 eV, 0.2 eV/Å and 0.003 eV/Å³ and share another
    error, three times as large; every other structure is no crystal."""
    rng = np.random.default_rng(seed)
    said: list[list[Quantities]] = [[] for _ in range(members)]
    frames = []

    def symmetric(size: float) -> np.ndarray:
        upper = np.triu(size * rng.normal(size=(3, 3)))
        return upper + np.triu(upper, 1).T

    for i in range(n):
        atoms = Atoms("H4", rng.normal(size=(ATOMS, 3)), cell=[5] * 3, pbc=i % 2 == 0)
        atoms.info["number"] = i
        known = Label(float(rng.normal()), rng.normal(size=(ATOMS, 3)), symmetric(0.1))
        if i % 2:
            known = Label(known.energy, known.forces)
        frames.append(Frame(atoms, known, f"crystal#{i}"))
        common = 0.3 * rng.normal(), 0.6 * rng.normal(size=(ATOMS, 3)), symmetric(0.009)
        for m in said:
            stress = np.full((3, 3), np.nan)
            if known.stress is not None:
                stress = known.stress + common[2] + symmetric(0.003)
            m.append(
                Quantities(
                    np.array([known.energy + common[0] + 0.1 * rng.normal()]),
                    known.forces + common[1] + 0.2 * rng.normal(size=(ATOMS, 3)),
                    stress[None],
                )
            )
    return said, frames


def test_stress_is_calibrated_as_forces_are_each_component_once() -> None:
    """Members' errors over their spread are √10 in all three quantities."""
    n = 300
    said, frames = crystals(n, 8)
    laws = recalibrated(Crystals(said), frames, PowerLaw(width=0.0, rate=0.5))
    assert list(laws) == ["energy", "forces", "stress"]
    assert laws["stress"].records == n // 2
    assert laws["stress"].table
    assert sum(row[1] for row in laws["stress"].table) == 6 * n // 2
    for name, points in (("energy", n), ("forces", 12 * n), ("stress", 3 * n)):
        # the spread of eight is itself uncertain: E[1/σ̂²] = 7/5 of 1/σ²
        assert laws[name].std(1.0) == pytest.approx(
            np.sqrt(10 * 7 / 5), rel=5 / np.sqrt(points) + 0.02
        )
    line = said_of(laws)[-1]
    assert line.startswith("stress: ")
    assert "eV/Å³" in line
    assert facts_of(laws)["stress"]["records"] == n // 2


def test_a_law_is_of_the_spread_that_it_is_applied_to() -> None:
    """With noise heads there are two spreads; each by its own law, both foretell the error."""
    said, frames = crystals(300, 8)
    noisy, plain = Crystals(said, noise=0.5), Crystals(said)
    laws, own = (recalibrated(p, frames, ONE_RECORD) for p in (noisy, plain))
    assert BY_MEMBERS not in own
    assert laws[BY_MEMBERS] == own["forces"]
    assert laws["forces"] != own["forces"]
    prediction = noisy.predict([frame.atoms for frame in frames])
    std, by_members = prediction.std(), prediction.var_model
    assert std is not None
    assert by_members is not None
    labels = np.concatenate([f.label.forces for f in frames if f.label is not None])
    off = np.sqrt(np.mean((prediction.mean.forces - labels) ** 2))
    whole = np.sqrt(np.mean(laws["forces"].std(std.forces) ** 2))
    alone = np.sqrt(np.mean(laws[BY_MEMBERS].std(np.sqrt(by_members.forces)) ** 2))
    assert whole == pytest.approx(off, rel=0.03)
    # that of the members' spread is right where it is typical: its square is too large on average
    assert alone == pytest.approx(off * np.sqrt(7 / 5), rel=0.06)
    mixed = np.sqrt(np.mean(laws["forces"].std(np.sqrt(by_members.forces)) ** 2))
    assert mixed < 0.5 * off


def test_a_floor_is_of_energies_and_forces_alone() -> None:
    """In eV and eV/Å it is far over any spread of stress."""
    said, frames = crystals(12, 8)
    law = PowerLaw(floor=0.02, rate=0.5)
    laws = recalibrated(Crystals(said), frames, law)
    assert laws["stress"] == recalibrated(Crystals(said), frames, PowerLaw(rate=0.5))["stress"]
    assert laws["forces"].floor == 0.02
    assert set(recalibrated(Crystals(said), frames, PowerLaw(floor=9.0))) == {"stress"}


def test_out_of_the_bag_there_is_no_noise_to_judge() -> None:
    said, frames = crystals(20, 6)
    unseen = [list(range(20))] * 6
    assert "stress" in out_of_bag(Crystals(said), frames, unseen)
    with pytest.raises(ModelError, match="only the spread of members"):
        out_of_bag(Crystals(said, noise=0.5), frames, unseen)


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


# ---------------------------------------------------------------------------- a power law


@dataclass
class Drawn(Posterior):
    """A committee whose members err by a σ^b, σ the spread they are drawn with, where that is more.

    Members and labels are functions of a structure's first coordinate, a number, alone.
    """

    several: int = 12
    a: float = 0.5
    b: float = 0.6

    def forces(self, number: float) -> tuple[np.ndarray, np.ndarray]:
        """Of every member (M, n, 3), and the label's."""
        rng = np.random.default_rng(int(number))
        spread = 0.05 * np.exp(0.7 * rng.normal(size=(ATOMS, 3)))
        each = spread * rng.normal(size=(self.several, ATOMS, 3))
        # a member's square error is that of the mean plus (M − 1)/M of the spread's
        of_mean = (self.a * spread**self.b) ** 2 - (1 - 1 / self.several) * spread**2
        return each, each.mean(0) + np.sqrt(np.maximum(of_mean, 0)) * rng.normal(size=(ATOMS, 3))

    def predict(self, frames: list[Atoms], *, stress: bool = False) -> Prediction:
        each = np.concatenate([self.forces(a.positions[0, 0])[0] for a in frames], axis=1)
        energy = np.random.default_rng(0).normal(size=(self.several, len(frames)))
        members = tuple(Quantities(e, f) for e, f in zip(energy, each, strict=True))
        variance = Quantities(energy.var(0, ddof=1), each.var(0, ddof=1))
        counts = np.array([len(atoms) for atoms in frames])
        mean = Quantities(energy.mean(0), each.mean(0))
        return Prediction(mean, counts, var_model=variance, members=members)

    def frames(self, n: int) -> list[Frame]:
        rng = np.random.default_rng(n)
        found = []
        for i in range(n):
            atoms = Atoms("H4", positions=rng.normal(size=(ATOMS, 3)))
            atoms.positions[0, 0] = i
            found.append(Frame(atoms, Label(0.0, self.forces(i)[1]), f"drawn#{i}"))
        return found


BELIEF = PowerLaw(rate=0.5)


def of_law(law: PowerLaw) -> tuple[float, float]:
    return law.a, law.b


def test_a_power_law_is_fitted_to_every_members_errors() -> None:
    """Also where the structures were predicted in several batches."""
    posterior = Drawn()
    frames = posterior.frames(150)
    law = recalibrated(posterior, frames, BELIEF)["forces"]
    each, labels = zip(*(posterior.forces(i) for i in range(150)), strict=True)
    std = np.concatenate(each, axis=1).std(axis=0, ddof=1)
    errors = np.concatenate(each, axis=1) - np.concatenate(labels)
    assert (law.a, law.b) == pytest.approx(of_law(PowerLaw.fit(std, errors)), rel=1e-9)
    assert law.records == 150 * 12
    # of so few members a spread is itself uncertain, by 1/sqrt(2 · 11): the exponent is too small
    diluted = 0.6 * 0.49 / (0.49 + 1 / 22)
    assert law.b == pytest.approx(diluted, abs=0.06)
    assert recalibrated(posterior, frames)["forces"].kind == "gamma"


def test_too_few_points_learn_one_by_one_from_the_belief() -> None:
    posterior = Drawn()
    laws = recalibrated(posterior, posterior.frames(3), BELIEF)
    assert (laws["energy"].records, laws["forces"].records) == (3, 36), "structures; components"
    assert abs(laws["energy"].b - 1) < 0.2
    fixed = recalibrated(posterior, posterior.frames(9), PowerLaw(rate=0.5, width=0))["forces"]
    assert (fixed.b, fixed.records) == (1, 9)
    floored = recalibrated(posterior, posterior.frames(9), PowerLaw(rate=0.5, floor=0.02))["forces"]
    assert floored.floor == 0.02
    one = recalibrated(posterior, posterior.frames(1), BELIEF)["forces"]
    assert (one.records, one.rate) == (1, 0.5)
    many = recalibrated(posterior, posterior.frames(99), BELIEF)
    lines = said_of({"energy": laws["energy"], "forces": many["forces"]})
    assert "from 3 structures, too few to say where it holds" in lines[0]
    assert "from 1188 points, seen to hold for error bars from" in lines[1]
    assert "error bars are" in said_of({"forces": ONE_RECORD})[0]


def test_out_of_bag_only_members_that_have_not_seen_a_structure_count() -> None:
    """By hand; and those that have seen it, which reproduce its label, change nothing."""
    posterior = Drawn(several=6)
    frames = posterior.frames(4)
    unseen = [[0], [0, 1], [0, 1, 2], [1], [3], []]  # 3 of 0, 1; one of 2 and of 3: left out
    law = out_of_bag(posterior, frames, unseen, BELIEF)["forces"]
    std, error = [], []
    for i, fresh in ((0, [0, 1, 2]), (1, [1, 2, 3])):
        each, label = posterior.forces(i)
        std.append(each[fresh].std(axis=0, ddof=1))
        error.append(each[fresh] - label)
    std = as_of(std, [3, 3], 6)
    expected = PowerLaw.fit(np.concatenate(std), np.concatenate(error, axis=1))
    assert (law.a, law.b, law.records) == pytest.approx((*of_law(expected), 24), rel=1e-9)
    gamma = out_of_bag(posterior, frames, unseen)["forces"]
    assert gamma.mean_square == pytest.approx(
        np.mean([np.mean((e.mean(0) / s) ** 2) for s, e in zip(std, error, strict=True)])
    )
    assert out_of_bag(posterior, frames, [[0], [1], [2], [3], [], []]) == {}
    assert "unseen" in said_of({})[0]
    with pytest.raises(ModelError, match="only the spread of members can be judged"):
        out_of_bag(*made(2, 1.0, 1.0), [[0], [0]])
