"""Public foundation models on small sets of DFT labels: untouched, and fine-tuned three ways.

Every strategy has the same number of optimiser steps (``--steps``). Forgetting is the force error
on crystals that the untouched model relaxed and rattled, against what it said of them; pseudolabel
replays crystals of other compositions. Models of different environments are run one after the other
with the same ``--out``.
"""

from collections.abc import Callable
from typing import Any

from bench.models.models_cells import REPLAYED, ZERO_SHOT, Cell, computed, prepare
from bench.runner.parts import Bench, Found, Options, Part, Record
from bench.runner.tables import described, grouped, table
from bench.shared.training import BATCH, VALID

STRATEGIES = ("naive", "lora", "pseudolabel")
#: of a structure of each, for the time a step takes
ATOMS = {"ethanol": 9, "acac": 15, "3bpa": 27}


def options(add: Callable[..., Any]) -> None:
    add("--models", nargs="+", default=["7net-0", "chgnet:0.3.0"])
    add("--systems", nargs="+", default=list(ATOMS), choices=list(ATOMS))
    add("--sizes", nargs="+", type=int, default=[100, 20], help="labels")
    add("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    add("--steps", type=int, default=500, help="of the optimiser, the same for all strategies")
    add("--held-out", type=int, default=200, help="frames that measure")
    add("--copies", type=int, default=3, help="of every crystal")
    add("--every", type=int, default=1, help="only every so many of the crystals")


def grid(o: Options) -> list[Cell]:
    """Cells in the order they are worth having."""
    found = [Cell(m, s, 0, ZERO_SHOT, 0) for m in o.models for s in o.systems]
    for size in o.sizes:
        for system in o.systems:
            for strategy in o.strategies:
                found += [Cell(m, system, size, strategy, o.steps) for m in o.models]
    return found


def cost(cell: Cell, _: Options) -> float:
    """CPU seconds."""
    atoms = ATOMS[cell.system] + 8 * (cell.strategy == "pseudolabel")
    return 10 + 0.016 * atoms**1.15 * cell.steps * (cell.frames > 0)


def told(result: Record) -> str:
    return (
        f"{result['force_mae']:.1f} meV/Å, {result['energy_mae']:.2f} meV/atom, crystals "
        f"{result['forgetting_mae']:.0f} meV/Å"
    )


def conditions(o: Options) -> dict[str, Any]:
    given = {"batch_size": BATCH, "replayed": REPLAYED, "valid_fraction": VALID}
    return given | {"held_out": o.held_out, "copies": o.copies}


# -------------------------------------------------------------------------------- tables


def page(found: Found) -> str:
    """A table for every model, and what they were measured on."""
    models = grouped(found["cells"], lambda r: r["model"])
    parts = [
        f"## {model}\n\n{table(sorted(own, key=_order), COLUMNS)}\n"
        for model, own in models.items()
    ]
    return "\n".join([*parts, f"Measured with: {described(found)}. {found['conditions']}.", ""])


def _order(r: Record) -> tuple[int, ...]:
    rank = (ZERO_SHOT, *STRATEGIES).index(r["strategy"])
    return list(ATOMS).index(r["system"]), r["frames"], r["steps"], rank


def _kept(r: Record) -> str:
    head = r.get("forgetting_mae_replay_head")
    return f"{r['forgetting_mae']:.0f}" + ("" if head is None else f" (replay head {head:.0f})")


def _spent(shown: str) -> Callable[[Record], str]:
    return lambda r: "–" if r["strategy"] == ZERO_SHOT else shown.format_map(r)


COLUMNS: dict[str, Any] = {
    "system": "{system}",
    "labels": lambda r: str(r["frames"] or "–"),
    "strategy": "{strategy}",
    "force MAE meV/Å": "{force_mae:.1f}",
    "force RMSE": "{force_rmse:.1f}",
    "energy MAE meV/atom": "{energy_mae:.2f}",
    "crystals, force MAE meV/Å": _kept,
    "steps": _spent("{steps_done}"),
    "CPU s per epoch": _spent("{cpu_epoch:.1f}"),
    "CPU s in all": _spent("{cpu:.0f}"),
}


BENCH = Bench(
    name="public-models",
    packages=("torch", "sevenn", "chgnet", "mace-torch", "e3nn", "numpy", "tunesmith"),
    parts={
        "cells": Part(
            cell=Cell,
            plan=grid,
            run=computed,
            cost=cost,
            told=told,
            conditions=conditions,
            prepare=prepare,
            ordered=True,
        )
    },
    options=options,
    data=True,
    quick={
        **{"systems": ["ethanol"], "sizes": [20], "steps": 20, "strategies": ["naive"]},
        **{"held_out": 40, "copies": 2, "every": 8},
    },
    page=page,
)
