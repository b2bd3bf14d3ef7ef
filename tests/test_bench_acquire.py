"""bench/acquire.py: which cells there are and what they cost, and what its tables say."""

import itertools
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule

import acquire
import acquire_cells
import acquire_findings
import acquire_gp
import acquire_table
from acquire_plan import (
    BASELINE,
    COMMITTEES,
    GP,
    MAIN,
    OTHERS,
    POOLS,
    QUICK,
    SECOND,
    Cell,
    grid,
    selected,
    work,
)
from acquire_table import FORCE, Courses, page
from tunesmith.core import Frame, Label
from tunesmith.report.curves import METRICS
from tunesmith.uncertainty.ensemble import open_model

ALL = grid(list(POOLS), 5)
REACTIVE = ("small", "large")

# ------------------------------------------------------------------------------ the plan


def test_the_grid_is_whole_and_no_cell_stands_in_it_twice() -> None:
    assert max(Counter(ALL).values()) == 1
    assert len({c.name for c in ALL}) == len(ALL)
    for pool in REACTIVE:
        for method in (BASELINE, *MAIN):
            assert {c.seed for c in ALL if (c.pool, c.method) == (pool, method)} == set(range(5))
        assert {c.method for c in ALL if c.pool == pool} == {
            *(BASELINE, GP),
            *(*MAIN, *SECOND, *OTHERS, *COMMITTEES),
        }


def test_every_course_has_its_random_one_of_the_same_seed() -> None:
    for full in (False, True):
        cells = grid(list(POOLS), 5, full=full)
        for cell in cells:
            assert Cell(cell.pool, BASELINE, cell.seed) in cells or cell.method == GP


def test_what_tells_most_comes_first_and_all_of_it_fits_an_afternoon() -> None:
    courses = [c for c in ALL if c.method != GP]
    first = courses[: 2 * (1 + len(MAIN) + len(SECOND))]
    assert {c.seed for c in first} == {0}
    assert {c.pool for c in first} == set(REACTIVE)
    assert ALL[0].method == GP
    assert sum(work(c) for c in ALL) < 3 * 3600
    assert sum(work(c) for c in grid(list(POOLS), 5, full=True)) > sum(work(c) for c in ALL)
    assert work(Cell("large", "committee-force", 0)) > 2 * work(Cell("large", BASELINE, 0))


@pytest.mark.parametrize("method", sorted({c.method for c in ALL} - {GP}))
def test_every_method_is_a_configuration(method: str) -> None:
    settings = acquire_cells.configured("nowhere", POOLS["small"], Cell("small", method, 3))
    assert settings.acquire.batch == POOLS["small"].batch
    assert settings.acquire.name.replace(" ", "-") == method.replace("-pv", "-posterior-variance")
    assert (settings.seed, settings.tune.sampler.max_rate) == (3, 1e-3)
    assert settings.tune.sampler.members == (3 if method in COMMITTEES else 1)


def test_cells_are_selected_by_all_conditions() -> None:
    chosen = selected(ALL, ["pool=small", "seed=1,2"])
    assert {c.seed for c in chosen} == {1, 2}
    assert {c.pool for c in chosen} == {"small"}
    with pytest.raises(SystemExit, match="FIELD=VALUE"):
        selected(ALL, ["rule=lcmd"])


# ------------------------------------------------------------------------ what is measured


def test_outliers_are_those_without_neighbours() -> None:
    rng = np.random.default_rng(0)
    frames = [Frame(molecule("CH3OH"), None, f"{i}") for i in range(38)]
    frames += [Frame(molecule("CH3OH"), None, "odd") for _ in range(2)]
    for i, frame in enumerate(frames):
        frame.atoms.positions += rng.normal(0, 0.01 if i < 38 else 0.4, (6, 3))
    assert acquire_cells.outliers(frames) == [38, 39]


def test_residual_processes_know_nothing_of_a_zero_of_energy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other energies of the elements change no score: the E0s take them up."""
    monkeypatch.setattr(acquire_gp, "KINDS", {"activation": ("activation", True)})
    known = open_model("organic-xs")
    rng = np.random.default_rng(0)
    structures = []
    for name in ("H2O", "CH4", "CH3OH"):
        for _ in range(20):
            structures.append(molecule(name))
            structures[-1].positions += rng.normal(0, 0.1, structures[-1].positions.shape)
    own = known.predict(structures).mean.energy + rng.normal(0, 0.1, 60)

    def scores(carbon: float) -> dict[str, float]:
        labels = own + [carbon * a.symbols.count("C") for a in structures]
        frames = [
            Frame(a, Label(float(e), np.zeros((len(a), 3))), f"{i}")
            for i, (a, e) in enumerate(zip(structures, labels, strict=True))
        ]
        return acquire_gp.table("organic-xs", frames, 0)["activation"]

    found = scores(0.0)
    assert scores(7.0) == pytest.approx(found, rel=1e-3)
    assert 0 <= found["coverage90"] <= 1
    assert 50 < found["rmse_meV"] < 300
    assert found["n"] >= 2


# --------------------------------------------------------------------------------- tables

#: rounds that a method needs to be as good as it gets
NEEDED = {BASELINE: 8, "ntk": 4, "activation": 4, "soap": 6, "morgan": 7, "committee": 7}
PROCESS = {"n": 100, "rmse_meV": 45.0, "rmse_before_meV": 200.0, "ece": 0.02, "ence": 0.1}


def course(method: str, seed: int) -> dict[str, Any]:
    """Errors that fall to 100 in as many rounds as a method needs."""
    needed = NEEDED[method.partition("-")[0]]
    rounds = [
        {
            "labels": 10 * (i + 1),
            "test": dict.fromkeys(METRICS, 100.0 + 50 * max(0, needed - i) + seed),
            "spearman": {"energy": None, "forces": None if method == BASELINE else 0.5},
        }
        for i in range(9)
    ]
    odd = 0.2 if method.endswith("-pv") else 0.06
    return {"rounds": rounds, "outliers": odd, "cpu": 100.0, "failed_calls": 0}


def world() -> dict[str, Any]:
    """What the bench would write if all published findings held."""
    made = []
    for cell in ALL:
        if cell.method != GP:
            made.append(asdict(cell) | course(cell.method, cell.seed))
            continue
        table = {
            kind: PROCESS | {"nll": nll, "coverage90": covers}
            for kind, nll, covers in (
                ("ntk", -1.44, 0.857),
                ("activation", -1.68, 0.88),
                ("soap", -1.0, 0.8),
                ("ntk, random weights", -0.9, 0.7),
                ("activation, random weights", -0.8, 0.7),
            )
        }
        made.append(asdict(cell) | {"gp": table, "cpu": 20.0})
    return {
        "cells": made,
        "machine": {"cpu": "a CPU"},
        "conditions": {"model": "m", "labels": "GFN1-xTB", "quick": False},
        "pools": {name: asdict(pool) for name, pool in POOLS.items()},
    }


def test_methods_are_compared_with_the_same_seeds_of_random() -> None:
    courses = Courses(world())
    row = courses.compared("small", "ntk-lcmd", FORCE)
    assert row is not None
    assert (row["seeds"], row["round_gain"]) == (5, 0.5)
    few = courses.compared("small", "ntk-pv", FORCE)
    assert few is not None
    assert few["seeds"] == 2
    # random falls from 500 to 100 in steps of 50, ntk from 300
    assert few["auc_ratio"] == pytest.approx((1400 / 2700 + 1409 / 2709) / 2)
    assert courses.spearman("small", "ntk-pv") == 0.5
    assert math.isnan(courses.spearman("small", BASELINE))


def test_reactive_pools_have_a_picture_and_only_of_what_is_finished(tmp_path: Path) -> None:
    found = world()
    found["cells"] = [r for r in found["cells"] if r["pool"] != "large"]
    acquire_table.pictures(found, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["acquire-small.png"]


def test_tables_have_as_many_columns_in_every_row() -> None:
    lines = page(world()).splitlines()
    rows = [(i, line.count(" | ")) for i, line in enumerate(lines) if line.startswith("|")]
    assert len(rows) > 60
    for (i, a), (j, b) in itertools.pairwise(rows):
        if j == i + 1:
            assert a == b, lines[j]


def test_a_table_of_a_part_is_still_one() -> None:
    nothing = world() | {"cells": []}
    assert "a CPU" in page(nothing)
    assert {f.within for f in acquire_findings.findings(nothing)} == {"not measured"}
    found = world()
    found["cells"] = [c for c in found["cells"] if c["method"] not in (BASELINE, GP)]
    found["cells"][0] = {**asdict(Cell("small", "ntk-lcmd", 0)), "failed": "the loss is nan."}
    assert "ntk-lcmd, seed 0: the loss is nan." in page(found)
    assert "not measured" in acquire.report(found)


def test_quick_cells_have_a_cost_too() -> None:
    assert all(work(c, QUICK) > 0 for c in grid(["small"], 1, quick=True))


# ------------------------------------------------------------------------------- findings


def test_all_findings_hold_where_they_were_put_in() -> None:
    assert [f.text for f in acquire_findings.findings(world()) if not f.holds] == []


@pytest.mark.parametrize(
    ("method", "change", "text"),
    [
        ("ntk-lcmd", course("soap-lcmd", 0), "30 % fewer rounds than random (forces)"),
        ("committee-force", course("ntk-lcmd", 0), "better committee"),
        ("ntk-pv", {"outliers": 0.05}, "pv picks outliers too often"),
        ("soap-lcmd", {"outliers": 0.3}, "where lcmd does not"),
    ],
)
def test_a_finding_that_does_not_hold_is_found_out(
    method: str, change: dict[str, Any], text: str
) -> None:
    found = world()
    for record in found["cells"]:
        if record["method"] == method:
            record |= change
    (finding,) = [f for f in acquire_findings.findings(found) if text in f.text]
    assert not finding.holds


def test_an_interval_that_covers_too_little_is_found_out() -> None:
    found = world()
    for record in found["cells"]:
        if record["method"] == GP:
            record["gp"]["ntk"]["coverage90"] = 0.7
    (finding,) = [f for f in acquire_findings.findings(found) if "90 % interval" in f.text]
    assert finding.within == "4 of 8"
