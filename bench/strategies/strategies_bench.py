"""Fine-tuning strategies side by side on small sets of acac and 3BPA, from organic-xs.

Every strategy has the same number of optimiser steps (``--steps``) on N labels, of which a tenth
choose the best epoch as `tunesmith tune` does. The cells of the first seed come first, so that a
partial run is already a table. The costs of strategies are measured in turns in one process.
"""

from collections.abc import Callable
from typing import Any

from bench.runner.parts import Bench, Found, Options, Part, Record
from bench.shared.training import BATCH, VALID
from bench.strategies import strategies_findings, strategies_tables
from bench.strategies.strategies_cells import (
    FORGETTING,
    MODEL,
    Cost,
    Untouched,
    computed,
    costs,
    untouched,
)
from bench.strategies.strategies_plan import BEST_E0, COSTS, Cell, grid, work


def told(result: Record) -> str:
    return (
        f"{result['force_rmse']:.1f} meV/Å, {result['energy_rmse']:.2f} meV/atom, on the "
        f"forgetting set {result['forgetting']:.0f} meV/Å"
    )


def options(add: Callable[..., Any]) -> None:
    add("--systems", nargs="+", default=list(BEST_E0), choices=list(BEST_E0))
    add("--sizes", type=int, nargs="+", default=[10, 50, 200], help="labels")
    add("--steps", type=int, default=800, help="of the optimiser, the same for all strategies")
    add("--held-out", type=int, default=200, help="frames that measure")
    add("--forgetting", type=int, default=10_000, help="structures of the forgetting set at most")
    add("--rounds", type=int, default=5, help="of the costs")


def plan(o: Options) -> list[Cell]:
    cells = grid(o.systems, o.sizes, 1 + max(o.seeds), o.steps, quick=o.quick)
    return [cell for cell in cells if cell.seed in o.seeds]


def about(o: Options, found: Found) -> dict[str, Any]:
    known = {r["on"]: r["force_rmse"] for r in found.get("untouched", [])}
    cost = next(iter(found.get("costs", [])), {})
    return {"steps": o.steps, "best_e0": BEST_E0, "foundation": known, "cost": cost}


def report(found: Found) -> str:
    """Tables and findings, without a title."""
    verdicts = strategies_findings.verdicts(found)
    return f"{strategies_tables.page(found)}\n## Beside the paper\n\n{verdicts}\n"


def conditions(o: Options) -> dict[str, Any]:
    given = {"model": MODEL, "batch_size": BATCH, "valid_fraction": VALID}
    return given | {"held_out": o.held_out, "forgetting": o.forgetting}


BENCH = Bench(
    name="strategies",
    packages=("torch", "mace-torch", "e3nn", "numpy", "tunesmith"),
    parts={
        # the costs alone, before any cell runs beside them
        "costs": Part(
            cell=Cost,
            plan=lambda o: [Cost(o.systems[0], o.rounds)] if not o.quick else [],
            run=costs,
            cost=lambda cell, _: 70.0 * cell.rounds * len(COSTS) / 6,
            conditions=conditions,
        ),
        "untouched": Part(
            cell=Untouched,
            plan=lambda o: [Untouched(on) for on in (FORGETTING, *o.systems)],
            run=untouched,
            cost=lambda *_: 20.0,
            told=lambda r: f"{r['force_rmse']:.1f} meV/Å",
            conditions=conditions,
        ),
        "cells": Part(
            cell=Cell,
            plan=plan,
            run=computed,
            cost=lambda cell, _: work(cell),
            told=told,
            conditions=conditions,
            ordered=True,
        ),
    },
    options=options,
    data=True,
    quick={
        **{"systems": ["acac"], "sizes": [10], "seeds": [0], "steps": 40},
        **{"held_out": 40, "forgetting": 40},
    },
    seeds=range(2),
    about=about,
    page=report,
)
