"""The bench acquire: which cells there are and what they cost, and what its tables say."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule

from bench.acquire import (
    acquire_bench,
    acquire_cells,
    acquire_findings,
    acquire_tables,
    residual_processes,
)
from bench.acquire.acquire_findings import Finding, Number
from bench.acquire.acquire_plan import (
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
    work,
)
from bench.acquire.acquire_tables import FORCE, Courses, page
from bench.runner.cells import selected
from bench.runner.command import parsed, planned, written
from bench.runner.lines import Lines
from tunesmith.core import Frame, Label
from tunesmith.posterior.ensemble import open_model
from tunesmith.report.curves import METRICS

ALL = grid(list(POOLS), 5)
REACTIVE = ("small", "large")
OPTIONS = parsed(acquire_bench.BENCH, [])

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
    assert sum(work(c) for c in ALL) < 4 * 3600
    assert sum(work(c) for c in grid(list(POOLS), 5, full=True)) > sum(work(c) for c in ALL)
    assert work(Cell("large", "committee-force", 0)) > 2 * work(Cell("large", BASELINE, 0))


@pytest.mark.parametrize("method", sorted({c.method for c in ALL} - {GP}))
def test_every_method_is_a_configuration(method: str) -> None:
    settings = acquire_cells.configured(Cell("small", method, 3), OPTIONS)
    assert settings.acquire.batch == POOLS["small"].batch
    assert settings.acquire.name.replace(" ", "-") == method.replace("-pv", "-posterior-variance")
    assert (settings.seed, settings.tune.sampler.max_rate) == (3, 1e-3)
    assert settings.tune.sampler.members == (3 if method in COMMITTEES else 1)


def test_cells_are_selected_by_all_conditions() -> None:
    chosen = selected(ALL, ["pool=small", "seed=1,2"], Cell)
    assert {c.seed for c in chosen} == {1, 2}
    assert {c.pool for c in chosen} == {"small"}
    with pytest.raises(SystemExit, match="FIELD=VALUE"):
        selected(ALL, ["rule=lcmd"], Cell)


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
    monkeypatch.setattr(residual_processes, "KINDS", {"activation": ("activation", True)})
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
        return residual_processes.table("organic-xs", frames, 0)["activation"]

    found = scores(0.0)
    assert scores(7.0) == pytest.approx(found, rel=1e-3)
    assert 0 <= found["coverage90"] <= 1
    assert 50 < found["rmse_meV"] < 300
    assert found["n"] >= 2


# --------------------------------------------------------------------------------- tables

#: rounds that a method needs to be as good as it gets, by forces; energies where others
NEEDED = {BASELINE: 8, "ntk": 4, "activation": 4, "soap": 6, "morgan": 7}
BY_RULE = {"ntk-pv": 3, "activation-pv": 3, "soap-pv": 7}
COMMITTEE = {"committee-force": (7, 9), "committee-energy": (9, 7)}
PROCESS = {"n": 100, "rmse_meV": 45.0, "rmse_before_meV": 200.0, "ece": 0.02, "ence": 0.1}


def course(method: str, seed: int, rest: bool = False) -> dict[str, Any]:
    """Errors that fall to 100 in as many rounds as a method needs."""
    kind = method.partition("-")[0]
    forces, energies = COMMITTEE.get(method) or (BY_RULE.get(method) or NEEDED[kind],) * 2

    def errors(i: int, offset: float) -> dict[str, float]:
        needed = {m: forces if m.startswith("force") else energies for m in METRICS}
        return {m: offset + 50 * max(0, n - i) + seed for m, n in needed.items()}

    rounds = [
        {
            "labels": 10 * (i + 1),
            "test": errors(i, 100.0),
            "spearman": {"energy": None, "forces": None if method == BASELINE else 0.5},
        }
        for i in range(9)
    ]
    if rest:
        for i, done in enumerate(rounds):
            done["rest"] = {"structures": 300 - i, **errors(i, 200.0)}
    odd = 0.2 if method.endswith("-pv") else 0.06
    return {"rounds": rounds, "outliers": odd, "cpu": 100.0, "failed_calls": 0}


def world() -> dict[str, Any]:
    """What the bench would write if all published findings held, of all methods with all seeds."""
    made = []
    for cell in grid(list(POOLS), 5, full=True):
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


def without(found: dict[str, Any], method: str, seeds: Iterable[int]) -> dict[str, Any]:
    found["cells"] = [r for r in found["cells"] if r["method"] != method or r["seed"] not in seeds]
    return found


def test_methods_are_compared_with_the_same_seeds_of_random() -> None:
    courses = Courses(without(world(), "ntk-pv", (2, 3, 4)))
    row = courses.compared("small", "ntk-lcmd", FORCE)
    assert row is not None
    assert (row["seeds"], row["round_gain"], row["round_gain_interval"]) == (5, 0.5, (0.5, 0.5))
    few = courses.compared("small", "ntk-pv", FORCE)
    assert few is not None
    assert few["seeds"] == 2
    # random falls from 500 to 100 in steps of 50, ntk by pv from 250
    assert few["auc_ratio"] == pytest.approx((1200 + 1209) / (2700 + 2709))
    assert few["auc_ratio_pairs"] == pytest.approx((1200 / 2700 + 1209 / 2709) / 2)
    assert courses.spearman("small", "ntk-pv") == 0.5
    assert math.isnan(courses.spearman("small", BASELINE))
    among = courses.compared("small", "ntk-pv", FORCE, "soap-kcenter")
    assert among is not None
    assert (among["seeds"], among["round_gain"]) == (2, 0.5)


def test_the_rest_is_compared_where_it_was_measured() -> None:
    """Cells that are older than its measurement stand beside those that have it."""
    found = world()
    assert "on the rest" not in page(found)
    for record in found["cells"]:
        if record["method"] in (BASELINE, "ntk-lcmd") and record["seed"] < 3:
            record |= course(record["method"], record["seed"], rest=True)
    courses = Courses(found)
    row = courses.compared("small", "ntk-lcmd", FORCE, on="rest")
    assert row is not None
    assert (row["seeds"], row["final"], row["round_gain"]) == (3, 201, 0.5)
    assert courses.compared("small", "ntk-pv", FORCE, on="rest") is None
    assert courses.compared("small", "ntk-lcmd", FORCE, on="test") is not None
    table = page(found).partition("on the rest")[2].partition("###")[0]
    assert "| ntk-lcmd | 3 | 201 ± 1 | 1.00 [1.00, 1.00] |" in table
    assert "ntk-pv" not in table


def test_cells_without_the_rest_are_done_again_only_when_asked_to(tmp_path: Path) -> None:
    rest = parsed(acquire_bench.BENCH, ["--rest"])
    for asked, given in ((False, OPTIONS), (True, rest)):
        assert acquire_bench.older(course(BASELINE, 0), given) == asked
        assert not acquire_bench.older(course(BASELINE, 0, rest=True), given)
        assert not acquire_bench.older({"gp": {}}, given)
    lines = Lines(tmp_path / "cells.jsonl", {}, Cell)
    lines.add(Cell("small", BASELINE, 0), course(BASELINE, 0))
    lines.add(Cell("small", BASELINE, 0), course(BASELINE, 7, rest=True))
    again = Lines(tmp_path / "cells.jsonl", {}, Cell).found
    assert list(again.values()) == [course(BASELINE, 7, rest=True)], "the newer line counts"


def test_records_stand_in_the_order_of_the_plan_whenever_they_were_done(tmp_path: Path) -> None:
    bench, path = acquire_bench.BENCH, tmp_path / "cells.jsonl"
    options = parsed(bench, ["--out", str(path), "--pools", "small"])
    lines = Lines(path, bench.parts["cells"].conditions(options), Cell, "cells")
    for cell in (Cell("large", BASELINE, 4), *reversed(planned(bench.parts["cells"], options))):
        lines.add(cell, {"failed": "the loss is nan.", "cpu": 1.0})
    found: dict[str, Any] = {"machine": {"cpu": "a CPU"}}
    written(bench, options, found)
    asked = [Cell(**r["asked"]) for r in found["cells"]]
    assert asked[:-1] == planned(bench.parts["cells"], options)
    assert asked[-1] == Cell("large", BASELINE, 4)


def test_a_committee_is_said_to_be_a_mean() -> None:
    assert "| committee-force (mean of 3) | 5 |" in page(world())
    assert "| ntk-lcmd | 5 |" in page(world())


def test_reactive_pools_have_a_picture_and_only_of_what_is_finished(tmp_path: Path) -> None:
    found = world()
    found["cells"] = [r for r in found["cells"] if r["pool"] != "large"]
    acquire_tables.pictures(found, tmp_path)
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
    assert {f.verdict for f in acquire_findings.findings(nothing)} == {"not measured"}
    found = world()
    found["cells"] = [c for c in found["cells"] if c["method"] not in (BASELINE, GP)]
    found["cells"][0] = {**asdict(Cell("small", "ntk-lcmd", 0)), "failed": "the loss is nan."}
    assert "ntk-lcmd, seed 0: the loss is nan." in page(found)
    assert "not measured" in acquire_bench.report(found)


def test_quick_cells_have_a_cost_too() -> None:
    assert all(work(c, QUICK) > 0 for c in grid(["small"], 1, quick=True))


# ------------------------------------------------------------------------------- findings


def test_all_findings_hold_where_they_were_put_in() -> None:
    found = acquire_findings.findings(world())
    assert {f.text: f.verdict for f in found} == {f.text: "agrees" for f in found}


@pytest.mark.parametrize(
    ("method", "like", "text"),
    [
        ("ntk-lcmd", "random", "fewer rounds than random, forces"),
        ("activation-lcmd", "committee-force", "and energies"),
        ("committee-force", "ntk-lcmd", "below committee-force's"),
        ("committee-force", "committee-energy", "committee-force is below random in force AUC"),
        ("committee-force", "ntk-lcmd", "above in energy AUC"),
        ("committee-energy", "soap-lcmd", "committee-energy is above"),
        ("soap-kcenter", "ntk-lcmd", "SOAP with k-center"),
        ("ntk-pv", "soap-pv", "smaller force AUC than LCMD"),
        ("soap-pv", "ntk-pv", "by SOAP a larger one"),
    ],
)
def test_a_finding_that_does_not_hold_is_found_out(method: str, like: str, text: str) -> None:
    found = world()
    for record in found["cells"]:
        if record["method"] == method:
            record |= course(like, record["seed"])
    (finding,) = [f for f in acquire_findings.findings(found) if text in f.text]
    assert "disagrees" in finding.verdict


@pytest.mark.parametrize("rule", ["pv", "lcmd"])
def test_outliers_taken_as_often_are_found_out(rule: str) -> None:
    found = world()
    for record in found["cells"]:
        if record["method"] == f"ntk-{rule}":
            record["outliers"] = 0.1 + 0.1 * (rule == "lcmd")
    (finding,) = [f for f in acquire_findings.findings(found) if "more outliers" in f.text]
    assert finding.verdict == ("agrees" if rule == "pv" else "agrees 4, disagrees 2")


def test_random_weights_that_cover_as_much_are_found_out() -> None:
    found = world()
    for record in found["cells"]:
        if record["method"] == GP:
            record["gp"]["ntk"]["coverage90"] = 0.6 + 0.05 * record["seed"]
    (finding,) = [f for f in acquire_findings.findings(found) if "cover less" in f.text]
    assert finding.verdict == "agrees 2, open 2"
    number = finding.cases["small ntk"]
    assert number is not None
    assert number.value == pytest.approx(0)
    assert (number.between or (0, 0))[0] < 0 < (number.between or (0, 0))[1]


def test_there_is_no_verdict_without_an_error_bar() -> None:
    for seeds, verdict in (((1, 2, 3, 4), "too few seeds"), ((2, 3, 4), "too few seeds")):
        found = without(world(), "committee-force", seeds)
        (finding,) = [f for f in acquire_findings.findings(found) if "(0.85)" in f.text]
        assert finding.verdict == verdict
    assert "[" in finding.measured()
    assert "(2)" in finding.measured()


def test_a_number_across_a_limit_is_open() -> None:
    finding = Finding("", {}, least=0)
    verdicts = {
        ends: finding.of(Number(0.2, ends, 5))
        for ends in ((0.1, 0.3), (-0.1, 0.3), (0.0, 0.3), (-0.3, 0.0), (-0.3, -0.1))
    }
    assert list(verdicts.values()) == ["agrees", "open", "open", "disagrees", "disagrees"]


def test_plain_dynamics_are_no_case_of_the_papers() -> None:
    cases = {case for f in acquire_findings.findings(world()) for case in f.cases}
    assert {case.partition(" ")[0] for case in cases} == set(REACTIVE)
