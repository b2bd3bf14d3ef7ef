"""Who should choose what is labelled: representations and rules against chance and committees.

Courses of rounds from two reactive pools, which recipes/reactions/make.py makes with tblite, and
two of plain dynamics, acac and 3BPA of ``--data``; and the residual Gaussian processes of the same
representations. The cells that tell most come first.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bench.acquire import acquire_findings, acquire_tables
from bench.acquire.acquire_cells import METHOD, MODEL, computed, pools, prepare
from bench.acquire.acquire_plan import POOLS, QUICK, Cell, grid, work
from bench.runner.parts import Bench, Found, Options, Part, Record


def told(result: Record) -> str:
    if "gp" in result:
        return "; ".join(f"{k} covers {v['coverage90']:.2f}" for k, v in result["gp"].items())
    last = result["rounds"][-1]
    return f"{last['test']['force_rmse_meV_per_A']:.0f} meV/Å with {last['labels']} labels"


def options(add: Callable[..., Any]) -> None:
    add("--pools", nargs="+", default=list(POOLS), choices=list(POOLS))
    add("--full", action="store_true", help="all methods with all seeds: several times as long")
    add(
        "--rest",
        action="store_true",
        help="do again what was finished before rounds were measured on the pool's rest",
    )


def plan(given: Options) -> list[Cell]:
    cells = grid(given.pools, 1 + max(given.seeds), full=given.full, quick=given.quick)
    return [cell for cell in cells if cell.seed in given.seeds]


def older(result: Record, given: Options) -> bool:
    """Whether a cell is wanted once more since its rounds were not measured on the rest."""
    return bool(given.rest) and any(not r.get("rest") for r in result.get("rounds", ()))


def report(found: Found) -> str:
    """Tables and findings, without a title."""
    verdicts = acquire_findings.verdicts(found)
    return f"{acquire_tables.page(found)}\n## Beside the paper\n\n{verdicts}\n"


BENCH = Bench(
    name="acquire",
    packages=("torch", "mace-torch", "tblite", "dscribe", "rdkit", "numpy", "tunesmith"),
    parts={
        "cells": Part(
            cell=Cell,
            plan=plan,
            run=computed,
            cost=lambda cell, o: work(cell, pools(o.quick)),
            told=told,
            # that rounds are measured on the rest too changes nothing else: older cells are as good
            conditions=lambda o: {"model": MODEL, "labels": METHOD, "quick": o.quick},
            prepare=prepare,
            again=older,
            ordered=True,
        )
    },
    options=options,
    quick={"pools": list(QUICK), "seeds": [0]},
    seeds=range(5),
    about=lambda o, _: {"pools": {p: asdict(v) for p, v in pools(o.quick).items()}},
    page=report,
    pictures=acquire_tables.pictures,
)
