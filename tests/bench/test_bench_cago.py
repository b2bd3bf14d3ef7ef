"""The bench cago: its frames are the truth's, its laws those it names, its tables right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cago import cago_tables, cago_water
from bench.cago.cago_attacks import (
    BELOW,
    MEMBERS,
    MENDED,
    NONE,
    PLAIN,
    PLAIN_ERROR,
    TARGETS,
    TWICE,
    _law,
    _points,
    _ratios,
    cells,
)
from bench.cago.cago_learning import ATTACKS, LEARNERS, METHODS, TIMES, Course
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.config import load_run


def test_attacks_are_all_different_and_both_laws_meet_every_target() -> None:
    for quick in (False, True):
        found = cells(quick)
        assert len({c.name for c in found}) == len(found)
        most = max(c.calibrators for c in found)
        for times in TARGETS:
            for law in (PLAIN, NONE):
                assert any((c.times, c.law, c.calibrators) == (times, law, most) for c in found)
    sizes = {c.calibrators for c in cells(False) if (c.law, c.attackers) == (PLAIN, 3)}
    assert sizes == {3, 5, 10, MEMBERS}
    # below the plain error and at it, where three bring other three to agree, by all as well
    everyone = {c.times for c in cells(False) if c.attackers == MEMBERS}
    assert everyone >= {BELOW, PLAIN_ERROR, TWICE}


@pytest.mark.parametrize("system", cago_water.SYSTEMS)
def test_frames_of_dynamics_have_the_labels_of_the_truth(system: str, tmp_path: Path) -> None:
    path = tmp_path / "frames.xyz"
    frames = cago_water.kept(path, [system, 1, 2, 300.0, 7])
    again = cago_water.kept(path, ["another system", 0, 0, 0.0, 0])  # kept, not made again
    assert len(frames) == len(again) == 1
    known, fresh = frames[0].label, cago_water.label(frames[0].atoms)
    assert known is not None
    assert known.energy == pytest.approx(fresh.energy, abs=1e-5)
    assert known.forces == pytest.approx(fresh.forces, abs=1e-4)
    assert bool(frames[0].atoms.pbc.all()) == (system == cago_water.BOX)
    assert (known.stress is not None) == (system == cago_water.BOX)
    molecules = frames[0].atoms.positions.reshape(-1, 3, 3)
    bonds = np.linalg.norm(molecules[:, 1:] - molecules[:, :1], axis=-1)
    assert (np.abs(bonds - 0.97) < 0.15).all()  # O and its own two H, of every molecule


def test_a_law_is_of_the_members_that_calibrate() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(30):
        s = 0.03 * np.exp(0.6 * rng.normal(size=(6, 3)))
        errors.append(s * rng.normal(size=(10, 6, 3)) + 2 * s * rng.normal(size=(6, 3)))
    own = [e[[1, 4, 7]] for e in errors]
    std = np.concatenate([e.std(axis=0, ddof=1).ravel() for e in own])
    wanted = PowerLaw.fit(std, np.concatenate([e.reshape(3, -1) for e in own], axis=1))
    by_name = {c.law: c for c in cells(False)}
    found = _law(by_name[PLAIN], errors, (1, 4, 7))
    assert (found.a, found.b) == pytest.approx((wanted.a, wanted.b))
    assert _law(by_name[NONE], errors, (1, 4, 7)) is None
    steeper = _law(by_name[MENDED], errors, (1, 4, 7)).std([0.01, 0.1])
    assert steeper[1] / steeper[0] > 1.5 * 10**found.b


def test_error_bars_are_judged_on_frames_that_no_law_has_seen() -> None:
    """Errors three times the spread on both: a law of either makes them right on the other."""
    rng = np.random.default_rng(3)

    def frames(n: int) -> list[np.ndarray]:
        size = 0.03 * np.exp(0.5 * rng.normal(size=(n, 1, 5, 3)))
        own = rng.normal(size=(n, 10, 5, 3))
        return list(size * (own + np.sqrt(8) * rng.normal(size=(n, 1, 5, 3))))

    seen, fresh = frames(200), frames(100)
    std, errors = _points(fresh)
    assert (std.shape, errors.shape) == ((1500,), (10, 1500))
    np.testing.assert_allclose(std, errors.std(axis=0, ddof=1))
    found = _ratios(seen, fresh)
    # E[1/σ̂²] of ten is 9/7 of 1/σ²
    assert found["raw"] == pytest.approx(3 * np.sqrt(9 / 7), rel=0.06)
    assert found["calibrated"] == pytest.approx(1, rel=0.08)
    assert found["frames"] == 100
    # where errors do not grow with the spread there is one factor
    flat = [e / np.abs(e).max() for e in fresh]
    own = [0.1 * e + rng.normal(size=e.shape[1:]) for e in flat]
    assert _ratios(own, own)["calibrated"] == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("learner", LEARNERS)
def test_courses_are_what_tunesmith_run_takes(learner: str, tmp_path: Path) -> None:
    for method in METHODS:
        course = Course(method, learner, "box", 1, False)
        config = course.config(3, tmp_path / "start.xyz", tmp_path / "test.xyz")
        read = load_run(None, _flat(config))
        kind = "attack" if method in ATTACKS else method
        assert (read.acquire.kind, read.explore.rounds, read.seed) == (kind, 3, 1)
        assert getattr(read.acquire, "times", TIMES) == TIMES
        assert getattr(read.acquire, "beyond_calibration", False) == (method == "attack")
        random = learner == "scratch"
        assert (read.tune.subspace.initial == "random") == random
        assert read.tune.sampler.epochs_for(5) == (80 if random else 40)
        assert read.tune.sampler.vary == "bootstrap-splits"


def _flat(values: dict[str, object], front: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{front}{name}.")
        else:
            found.append(f"{front}{name}={value}")
    return found


def test_the_error_of_an_rms_is_that_of_many_draws() -> None:
    rng = np.random.default_rng(1)
    many = [cago_tables.rms(rng.gamma(2.0, size=40)) for _ in range(2000)]
    roots, errors = np.array(many).T
    assert np.mean(errors) == pytest.approx(np.std(roots), rel=0.1)


def test_tables_say_what_was_found() -> None:
    row = {"reason": "on target", "displacement": 0.2, "largest_force": 3.0, "evaluations": 9}
    structures = [
        row | {"system": "box", "error": 0.1, "before": 0.04},
        row | {"system": "cluster", "error": 0.2, "before": 0.04, "reason": "too far"},
        row | {"system": "cluster", "error": None, "before": 0.04, "reason": "too far"},
    ]
    structures = [s | {"off": 0.01, "largest_std": 0.13} for s in structures]
    record = {"times": 2.0, "target": 0.1, "law": PLAIN, "calibrators": 20, "attackers": 3}
    line = cago_tables.attacks([record | {"structures": structures}]).splitlines()[-1]
    cells_of = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells_of[:5] == ["2", "100", "calibrated", "20", "3"]
    assert cells_of[5].startswith("158 ±")  # sqrt((100² + 200²)/2)
    assert cells_of[6].startswith("1.58 ±")
    assert cells_of[7:11] == ["200", "100", "40", "1 of 3"]
    assert cells_of[11:14] == ["0.100", "1.30", "1"]  # off, worst atom, without a label


def course(method: str, seed: int, last: float) -> dict[str, Any]:
    about = {"aim": 0.08, "target": 0.01, "on_target": 3, "attacked": 4, "error": 0.1 * last}
    rounds = [{"labels": 5, "round": 0, "about": {}}, {"labels": 9, "round": 1, "about": about}]
    simulated = {"0": {"members": 3, "stable": 2}, "1": {"members": 3, "stable": 3}}
    members = {"0": 0.12, "1": 0.1 * last}
    own = {"method": method, "learner": "scratch", "system": "box", "seed": seed}
    return own | {"rounds": rounds, "simulated": simulated, "members": members}


def test_courses_are_held_against_each_other_seed_by_seed() -> None:
    records = [course("attack", 0, 0.8), course("attack", 1, 0.9), course("hot-md", 0, 0.4)]
    assert cago_tables.learning(records).splitlines()[2] == (
        "| scratch | box | attack | 0 | 120 (5), 80 (9) | 2 of 3 (5), 3 of 3 (9) |"
    )
    attack, hot = cago_tables.against(records).splitlines()[2:]
    assert attack == "| scratch | box | attack | 2 | 9–9 | 85.0 ± 5.0 | – | – | 6 of 6 |"
    assert hot == "| scratch | box | hot-md | 1 | 9–9 | 40.0 | 2.00 (1) | – | 3 of 3 |"
    both = [*records, course("hot-md", 1, 0.9), course("attack-within", 1, 0.6)]
    *_, within, hot = cago_tables.against(both).splitlines()
    assert "| attack-within | 1 | 9–9 | 60.0 | 1.50 (1) | – |" in within
    assert "| 1.41 ± 0.49 (2) | 0.67 (1) |" in hot  # of exp(mean of ln 2 and ln 1)


def test_what_was_asked_for_is_held_against_what_was_aimed_at() -> None:
    records = [course("attack", 0, 0.8), course("attack", 1, 0.9)]
    told = cago_tables.proposals(records).splitlines()[2]
    front = "| scratch | box | attack | 1 | 80.0 ± 0.0 | 0, 0 | – | 6 of 8 | 0 | 85.0 ± 5.0 |"
    assert told == f"{front} 1.06 ± 0.06 | 0 | 0 | 0 |"
    # of frames that were not attacked nothing was aimed at
    for record, attacked in zip(records, (4, 0), strict=True):
        about = record["rounds"][1]["about"]
        about |= {"attacked": attacked, "as_they_are": 8 - attacked, "on_target": 0}
        about |= {"error_of_attacks": 0.04} if attacked else {}
        about |= {"wanted": 0.2, "plain": 0.1 if attacked else 0.07}
        record["rounds"][1]["chosen"] = [{"refused": "large"}, {"refused": None}]
    told = cago_tables.proposals(records).splitlines()[2]
    assert "| 2, 1 | 100 | 0 of 4 | 12 | 85.0 ± 5.0 | 0.50 | 0 | 2 |" in told


def test_errors_round_by_round_with_their_labels() -> None:
    records = [course("attack", 0, 0.8), course("attack", 1, 0.9), course("hot-md", 0, 0.4)]
    records[1]["rounds"][1]["labels"] = 7
    attack, hot = cago_tables.rounds(records).splitlines()[2:]
    assert attack == (
        "| scratch | box | attack | 120.0 ± 0.0 (5) | 85.0 ± 5.0 (7–9) | hot-md 2.00 (1) |"
    )
    assert hot == "| scratch | box | hot-md | 120.0 (5) | 40.0 (9) |  |"
