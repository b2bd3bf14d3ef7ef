"""What on-the-fly runs ask by, and what they learn from: is there anything in it?

Short runs of ethanol with GFN1-xTB, by the demo's settings otherwise: labels asked for by the
spread of four or two members or by the tangent kernel (`tune.spread: ntk`) of four or of one;
and, with two members, all labels learnt from or some of them, chosen by LCMD (`tune.keep`) or
by chance. All are held against the same labelled frames of trajectories of their own, which the
reference drove.
"""

from collections.abc import Callable
from typing import Any

from bench.onthefly import choices_tables
from bench.onthefly.choices_cells import QUICK, SCHEDULE, Cell, computed, grid, prepare
from bench.runner.parts import Bench, Options, Part


def options(add: Callable[..., Any]) -> None:
    add("--frames", type=int, default=40, help="labelled, of each second trajectory")


def conditions(o: Options) -> dict[str, Any]:
    schedule = list(QUICK if o.quick else SCHEDULE)
    return {"schedule": schedule, "seeds": len(o.seeds), "frames": o.frames}


BENCH = Bench(
    name="onthefly-choices",
    packages=("torch", "mace-torch", "ase", "tblite", "numpy", "tunesmith"),
    parts={
        "cells": Part(
            cell=Cell,
            plan=lambda o: grid(o.seeds),
            run=computed,
            # updates are most of it
            cost=lambda cell, o: (10 if o.quick else 60) * (cell.members + 0.5),
            told=lambda r: f"{r['labels']} labels, {r['md_time_ps']:.2f} ps",
            conditions=conditions,
            prepare=prepare,
            ordered=True,
        )
    },
    options=options,
    quick={"seeds": [0], "frames": 6},
    seeds=range(3),
    page=choices_tables.page,
)
