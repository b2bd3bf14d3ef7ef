"""The bench onthefly-choices: its runs, what is drawn by chance, what its tables say."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.onthefly import choices_bench
from bench.onthefly.choices_cells import THINNED, Cell, chosen_by, grid
from bench.onthefly.choices_tables import asked_by, learnt_from, page
from bench.runner.command import parsed, written
from tunesmith.loop.onthefly import learning

ALL = grid([0, 1, 2])


def test_every_run_is_there_once_and_each_thinning_has_its_like_by_chance() -> None:
    assert len({cell.name for cell in ALL}) == len(ALL)
    kept = Counter((c.keep, c.by, c.seed) for c in ALL if c.keep)
    assert {k for k, by, _ in kept if by == "lcmd"} == {k for k, by, _ in kept if by == "chance"}
    whole = {c.seed for c in ALL if not c.keep and (c.spread, c.members, c.temperature) == THINNED}
    assert whole == {seed for *_, seed in kept}, "beside runs of the same kind that learn from all"


def test_by_chance_the_newest_stays_and_the_draw_is_the_runs_own() -> None:
    frames: Any = [object() for _ in range(20)]
    original = learning.thinned
    draws = {}
    for seed in (0, 1):
        with chosen_by(Cell("members", 2, 5, "chance", seed)):
            kept = learning.thinned(frames, 5, None)  # type: ignore[arg-type]
            assert kept == learning.thinned(frames, 5, None)  # type: ignore[arg-type]
            assert learning.thinned(frames[:5], 5, None) == frames[:5]  # type: ignore[arg-type]
        places = [frames.index(f) for f in kept]
        assert places == sorted(set(places))
        assert (len(places), places[-1]) == (5, 19)
        draws[seed] = places
    assert draws[0] != draws[1]
    assert learning.thinned is original
    with chosen_by(Cell("members", 2, 5, "lcmd", 0)):
        assert learning.thinned is original


def run(spread: str, members: int, seed: int, **changes: Any) -> dict[str, Any]:
    """A record with errors of about 10 meV, every fourth over K, and bars that grow with them or
    shrink."""
    sizes = np.where(np.arange(8) % 4, 0.01, 0.03) + 1e-4 * np.arange(8)
    errors = sizes * np.where(np.arange(8) % 2, 1, -1)
    return {
        **{"spread": spread, "members": members, "seed": seed, "keep": 0, "by": ""},
        **{"temperature": 1.0, "labels": 10 + seed, "interventions": 9, "threshold_eV": 0.02},
        "interventions_over_threshold": 1,
        "spent": {"update": 30.0, "first update": 5.0, "md": 4.0},
        "counts": {"update": 10},
        "errors": {
            **{"tuned": errors.tolist(), "untuned": [0.04, 0.06] * 4, "std": [0.011] * 8},
            **{"raw_std": [0.01] * 8, "tail": [0.01, *[0.5] * 7], "limit": [0.02] * 8},
            **{"tuned_f2": [4e-4] * 8, "untuned_f2": [0.09] * 8},
        },
        "bars": {"members": sizes.tolist(), "ntk 0.001": (0.1 - sizes).tolist()},
        **changes,
    }


def test_the_tables_say_what_was_measured() -> None:
    cells = [
        *(run("members", 2, seed) for seed in (0, 1)),
        run("members", 2, 0, keep=5, by="lcmd", labels=33),
        run("ntk", 1, 0, temperature=0.0),
    ]
    assert list(asked_by(cells)) == ["2 members, their spread", "one chain without noise, ntk"]
    assert list(learnt_from(cells)) == ["all labels", "at most 5, by lcmd"]
    found = {"machine": {"date": "today"}, "cells": cells}
    text = page(found | {"conditions": {"schedule": ["explore.time=1 fs"], "seeds": 1}})
    rows = {}
    for line in text.splitlines():
        name, *values = (part.strip() for part in line.strip("|").split("|"))
        rows.setdefault(name, values)
    assert rows["**labels**"] == ["10, 11", "10"]
    assert rows["over K when asked"] == ["2 of 18", "1 of 9"]
    assert rows["**share over K**"][1] == "25.0 ± 15.3 %"
    squares = [30**2, 10.1**2, 10.2**2, 10.3**2, 30.4**2, 10.5**2, 10.6**2, 10.7**2]
    assert rows["**energy RMSE, meV**"] == [f"{(sum(squares) / 8) ** 0.5:.1f}"] * 2
    assert rows["**force RMSE, meV/Å**"] == ["20.0"] * 2
    assert rows["**CPU s of all updates**"] == ["35, 35", "35"]
    assert "33" in text.partition("## What is learnt from")[2].partition("##")[0]
    last = text.partition("## Which error bar")[2]
    ranks = [line.split("|")[-2].strip() for line in last.splitlines() if " their spread |" in line]
    assert ranks == ["+1.00, +1.00", "-1.00, -1.00"]


def test_before_the_first_run_there_is_a_page_too(tmp_path: Path) -> None:
    bench = choices_bench.BENCH
    options = parsed(bench, ["--out", str(tmp_path / "none.jsonl")])
    text = written(bench, options, {"machine": {"cpu": "x"}})
    assert "Nothing is finished" in text
