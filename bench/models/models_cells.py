"""A cell of the bench: one fine-tuning of a public model and what it is worth afterwards, or the
untouched model itself."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.models.crystals import crystal_file, made
from bench.runner.parts import Named, Options, Record
from bench.shared.clocks import cpu_seconds
from bench.shared.data_sets import drawn, labelled, put
from bench.shared.training import ALONE, BATCH, VALID, errors, per_epoch, replay_head, tuned
from tunesmith import TuneConfig, open_model, read_frames

#: replayed crystals a step: they have several times the neighbours of a molecule
REPLAYED = 2
ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class Cell(Named):
    """One fine-tuning, or `ZERO_SHOT` of no frames and steps. frames: labels in all."""

    model: str
    system: str
    frames: int
    strategy: str
    steps: int


def prepare(cells: list[Cell], options: Options) -> None:
    """The crystals of every model."""
    for model in dict.fromkeys(cell.model for cell in cells):
        if not crystal_file(options.work, model, "forgetting").exists():
            made(options.work, model, options.copies, options.every)


def computed(cell: Cell, options: Options) -> Record:
    """Fine-tune one cell and measure it. Errors in meV/Å and meV/atom, times in CPU seconds.

    Energies are compared without their mean error: the untouched model has another zero. Forgetting
    is against what the untouched model says of the crystals kept for it.
    """
    out, spent = options.work / "cells" / cell.name, dict[str, Any]()
    sizes = [options.held_out, cell.frames]
    test, train = drawn(labelled(options.data, cell.system), sizes, cell.system, seed=2)
    if cell.strategy != ZERO_SHOT:
        config = configured(cell, options.work, put(out.with_suffix(".xyz"), train))
        spent = _spent(config, cell, out)
    model = open_model(cell.model if cell.strategy == ZERO_SHOT else out)
    began = cpu_seconds()
    found = errors(model, test)
    spent["cpu_per_frame"] = (cpu_seconds() - began) / len(test)
    crystals, _ = read_frames(crystal_file(options.work, cell.model, "forgetting"))
    forgotten = errors(model, crystals)
    result = {
        **spent,
        "force_mae": found["force_mae_meV_per_A"],
        "force_rmse": found["force_rmse_meV_per_A"],
        "energy_mae": found["energy_mae_meV_per_atom"],
        "force_rms_reference": found["force_rms_reference_meV_per_A"],
        "forgetting_mae": forgotten["force_mae_meV_per_A"],
        "forgetting_rms_reference": forgotten["force_rms_reference_meV_per_A"],
    }
    if cell.strategy != ZERO_SHOT and (head := replay_head(out)) is not None:
        result["forgetting_mae_replay_head"] = errors(head, crystals)["force_mae_meV_per_A"]
    return result


def configured(cell: Cell, place: Path, train: Path) -> TuneConfig:
    """The strategy with the bench's budget; it replays crystals where it replays."""
    epochs = math.ceil(cell.steps / per_epoch(cell.frames))
    # the rate falls to zero with the budget, so that no strategy is caught on its way
    course = {"batch_size": BATCH, "epochs": epochs, "patience": epochs, "schedule": "cosine"}
    tune: dict[str, Any] = {"e0": {"method": "reestimate"}, "sampler": course}
    if cell.strategy == "pseudolabel":
        replayed = [str(crystal_file(place, cell.model, "replay"))]
        how = {"kind": "pseudolabel", "match": "any", "batch_size": REPLAYED}
        tune["anchor"] = how | {"frames": replayed}
        # the published 1e-4 is for tens of thousands of steps
        course |= {"learning_rate": 1e-3, "ema": 0.999}
    return TuneConfig(
        strategy=cell.strategy,
        model={"source": cell.model},
        data={"train": [str(train)], "valid_fraction": VALID},
        tune=tune,
        execute=ALONE,
    )


def _spent(config: TuneConfig, cell: Cell, out: Path) -> Record:
    """CPU seconds of the sampler, of an epoch and of everything, and the steps."""
    sampler: Any = config.tune.sampler
    spent = tuned(config, out)
    return {
        "cpu": spent["cpu"],
        "cpu_fit": spent["cpu_fit"],
        "cpu_epoch": spent["cpu_fit"] / sampler.epochs,
        "steps_done": sampler.epochs * per_epoch(cell.frames),
        "epochs": sampler.epochs,
        "best_epoch": spent["summary"].get("best_epoch"),
        "learning_rate": sampler.learning_rate,
    }
