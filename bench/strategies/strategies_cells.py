"""Cells of the bench: one fine-tuning by the Python API and what it is worth afterwards; the
untouched model; what strategies cost, in turns."""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.runner.parts import Named, Options, Record
from bench.shared.data_sets import isolated, labelled, put
from bench.shared.training import ALONE, BATCH, VALID, errors, per_epoch, replay_head, tuned
from bench.strategies.strategies_plan import COSTS, Cell
from tunesmith import TuneConfig, evaluate, open_model
from tunesmith.core import Frame
from tunesmith.data.formats import read_frames
from tunesmith.errors import TunesmithError
from tunesmith.potentials import zoo

MODEL = "organic-xs"
FORGETTING = "forgetting"
#: of the cost section: labels, and steps of the optimiser
LABELS, STEPS = 50, 100


@dataclass(frozen=True)
class Untouched(Named):
    """The untouched model on the forgetting set or on a system's held-out frames."""

    on: str


@dataclass(frozen=True)
class Cost(Named):
    """The cost section: so many rounds of all strategies, in turns in one process."""

    of: str
    rounds: int


def parts(
    data: Path, system: str, frames: int, seed: int, held_out: int
) -> tuple[list[Frame], list[Frame]]:
    """Isolated atoms and N labels; and the held-out frames.

    The held-out frames are the same for all seeds and are never trained on; a seed draws its
    order of the others, and the first N of it are the N labels, so that smaller sets are part of
    larger ones.
    """
    known = labelled(data, system)
    order = np.random.default_rng(2).permutation(len(known))
    if held_out + frames > len(known):
        sys.exit(f"{system} has {len(known)} frames, not {held_out} + {frames}.")
    drawn = np.random.default_rng([1, seed]).permutation(order[held_out:])[:frames]
    train = isolated(data, system) + [known[i] for i in drawn]
    return train, [known[i] for i in order[:held_out]]


def untouched(cell: Untouched, options: Options) -> Record:
    """Force RMSE (meV/Å)."""
    if cell.on == FORGETTING:
        frames = forgetting_set(options.forgetting)
    else:
        _, frames = parts(options.data, cell.on, 0, 0, options.held_out)
    return {"force_rmse": force_rmse(open_model(MODEL), frames)}


def computed(cell: Cell, options: Options) -> Record:
    """Fine-tune one cell and measure it. Errors in meV/Å and meV/atom, times in CPU seconds.

    A training that the package itself ends with an error is a result too: ``failed`` says why.
    """
    out = options.work / "cells" / cell.name
    train, test = parts(options.data, cell.system, cell.frames, cell.seed, options.held_out)
    try:
        spent = trained(cell, train, out)
    except TunesmithError as error:
        return {"failed": str(error)}
    remembered, model = forgetting_set(options.forgetting), open_model(out)
    head, result = replay_head(out), evaluate(model, test).summary()
    return {
        **spent,
        "force_rmse": result["force_rmse_meV_per_A"],
        "energy_rmse": result["energy_rmse_meV_per_atom"],
        "energy_rmse_relative": result["energy_rmse_within_composition_meV_per_atom"],
        "forgetting": force_rmse(model, remembered),
        "forgetting_replay_head": None if head is None else force_rmse(head, remembered),
    }


def trained(cell: Cell, train: list[Frame], out: Path, processes: int = 1) -> Record:
    """Fine-tune into a new folder; CPU seconds of the sampler and of everything, and the steps."""
    config = configured(cell, put(out.with_suffix(".xyz"), train), processes)
    sampler: Any = config.tune.sampler
    spent = tuned(config, out)
    summary = spent.pop("summary")
    if hasattr(sampler, "epochs"):
        steps = int(sampler.epochs) * per_epoch(cell.frames)
    else:
        steps = int(getattr(sampler, "total_steps", None) or sampler.steps)
    return spent | {
        "steps": steps,
        "weights": trainable(config),
        "learning_rate": sampler.learning_rate,
        "stopped": summary["stopped"],
        "best_epoch": summary.get("best_epoch"),
    }


def configured(cell: Cell, train: Path, processes: int = 1) -> TuneConfig:
    """The strategy as it is named, with the bench's budget, seed and E0s."""
    given: dict[str, Any] = {
        "strategy": cell.strategy,
        "model": {"source": MODEL},
        "data": {"train": [str(train)], "valid_fraction": VALID},
        "tune": {"e0": {"method": cell.e0}},
        "seed": cell.seed,
        "execute": ALONE | {"processes": processes},
    }
    named = TuneConfig(**given)
    budget: dict[str, Any] = {"batch_size": BATCH}
    if "epochs" in type(named.tune.sampler).model_fields:
        epochs = math.ceil(cell.steps / per_epoch(cell.frames))
        budget |= {"epochs": epochs, "patience": epochs}  # never stops early
    given["tune"]["sampler"] = budget
    return TuneConfig(**given)


def trainable(config: TuneConfig) -> int:
    """Numbers that move, of one member."""
    space, generator = config.tune.subspace, torch.Generator().manual_seed(0)
    start = space.start(zoo.load(MODEL), generator)
    return sum(w.numel() for name, w in start.items() if space.moves(name))


def force_rmse(posterior: Any, frames: list[Frame]) -> float:
    """meV/Å; energies have another zero than the labels and are not looked at."""
    return float(errors(posterior, frames)["force_rmse_meV_per_A"])


def forgetting_set(number: int) -> list[Frame]:
    """The forgetting set, or every so many of it: at most ``number``, spread over all of it."""
    frames, _ = read_frames(zoo.shipped_frames(MODEL, "forgetting"))
    return frames[:: math.ceil(len(frames) / number)]


def costs(cell: Cost, options: Options) -> Record:
    """CPU and wall seconds of the strategies in turns, and their medians.

    Per step: of the sampler alone. In all: of the whole call, set-up and export included. The
    ratios to naive are medians over the rounds, each taken within its round.
    """
    train, _ = parts(options.data, cell.of, LABELS, 0, options.held_out)
    out, runs = options.work / "cost", dict[str, list[Record]]()
    # the first fit of a process also pays for whatever is made once
    trained(Cell(cell.of, LABELS, "naive", "reestimate", 0, 2 * per_epoch(LABELS)), train, out)
    for turn in range(cell.rounds):
        for name, processes in COSTS.items():
            it = Cell(cell.of, LABELS, name.partition(",")[0], "reestimate", turn, STEPS)
            began = time.perf_counter()
            found = trained(it, train, out, processes)
            runs.setdefault(name, []).append(found | {"wall": time.perf_counter() - began})
    naive = runs["naive"]

    def ratio(name: str, part: str) -> float:
        pairs = zip(runs[name], naive, strict=True)
        return median((a[part] / a["steps"]) / (b[part] / b["steps"]) for a, b in pairs)

    strategies = {
        name: {
            "cpu_per_step": median(r["cpu_fit"] / r["steps"] for r in of),
            "cpu_in_all": median(r["cpu"] for r in of),
            "per_step_to_naive": ratio(name, "cpu_fit"),
            "in_all_to_naive": ratio(name, "cpu"),
            "wall_to_naive": ratio(name, "wall"),
            "steps": of[0]["steps"],
            "weights": of[0]["weights"],
        }
        for name, of in runs.items()
    }
    return {"system": cell.of, "strategies": strategies}
