"""bench/cago.py: its frames are the truth's, its laws those it names, its tables right."""

from pathlib import Path

import numpy as np
import pytest

import cago_table
import cago_water
from cago_attacks import MEMBERS, MENDED, NONE, PLAIN, TARGETS, _law, cells
from cago_learning import METHODS, Course
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.config import load_run


def test_attacks_are_all_different_and_both_laws_meet_every_target() -> None:
    for quick in (False, True):
        found = cells(quick)
        assert len({c.name for c in found}) == len(found)
        most = max(c.calibrators for c in found)
        for target in TARGETS:
            for law in (PLAIN, NONE):
                assert any((c.target, c.law, c.calibrators) == (target, law, most) for c in found)
    sizes = {(c.calibrators, c.attackers) for c in cells(False) if c.law == PLAIN}
    assert sizes >= {(m, n) for m in (3, 5, 10, MEMBERS) for n in (3, MEMBERS)}


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


def test_courses_are_what_tunesmith_run_takes(tmp_path: Path) -> None:
    for method in METHODS:
        config = Course(method, 1, False).config(3, tmp_path / "test.xyz")
        read = load_run(None, _flat(config))
        assert (read.acquire.kind, read.explore.rounds, read.seed) == (method, 3, 1)


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
    many = [cago_table.rms(rng.gamma(2.0, size=40)) for _ in range(2000)]
    roots, errors = np.array(many).T
    assert np.mean(errors) == pytest.approx(np.std(roots), rel=0.1)


def test_tables_say_what_was_found() -> None:
    row = {"reason": "on target", "displacement": 0.2, "largest_force": 3.0, "evaluations": 9}
    structures = [
        row | {"system": "box", "error": 0.1, "before": 0.04},
        row | {"system": "cluster", "error": 0.2, "before": 0.04, "reason": "too far"},
        row | {"system": "cluster", "error": None, "before": 0.04, "reason": "too far"},
    ]
    record = {"target": 100, "law": PLAIN, "calibrators": 20, "attackers": 3}
    line = cago_table.attacks([record | {"structures": structures}]).splitlines()[-1]
    cells_of = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells_of[:4] == ["100", "calibrated", "20", "3"]
    assert cells_of[4].startswith("158 ±")  # sqrt((100² + 200²)/2)
    assert cells_of[5:10] == ["1.58", "200", "100", "40", "1 of 3"]
    assert cells_of[10] == "1"  # without a label
    about = {"aim": 0.08, "target": 0.1, "on_target": 3, "attacked": 4, "error": 0.09}
    rounds = [
        {"labels": 5, "test": {cago_table.FORCE: 120.0}, "round": 0, "about": {}},
        {"labels": 9, "test": {cago_table.FORCE: 80.0}, "round": 1, "about": about},
    ]
    simulated = {"0": {"members": 4, "stable": 2}, "1": {"members": 4, "stable": 4}}
    course = {"method": "attack", "seed": 0, "rounds": rounds, "simulated": simulated}
    assert cago_table.learning([course]).splitlines()[-1] == (
        "| attack | 0 | 120 (5), 80 (9) | 2 of 4 (5), 4 of 4 (9) |"
    )
    assert "| attack | 0 | 1 | 80 | 3 of 4 | 90 |" in cago_table.proposals([course])
