"""Heavy steps of `strategies.py`, each in a process of its own: ``python strategies_cells.py STEP
JSON``. A cell is one fine-tuning by the Python API, and what it is worth afterwards."""

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from strategies_plan import Cell

MODEL = "organic-xs"
BATCH = 5
#: the share of the N labels that `tune` holds back to choose the best epoch
VALID = 0.1
#: file of frames and of isolated atoms, by system
FILES = {
    "acac": ("train_300K.xyz", "isolated_atoms.xyz"),
    "3bpa": ("train_300K.xyz", "iso_atoms.xyz"),
}


def prepare(
    data: str, folder: str, systems: list[str], sizes: list[int], seeds: int, held_out: int
) -> dict[str, Any]:
    """Write test.xyz and train-SEED-N.xyz (isolated atoms in front) below FOLDER/SYSTEM.

    The held-out frames are the same for all seeds and are never trained on; a seed draws its
    order of the others, and the first N of it are the N labels, so that smaller sets are part of
    larger ones.
    """
    import ase.io
    import numpy as np

    for system in systems:
        frames, atoms = (ase.io.read(Path(data) / system / name, ":") for name in FILES[system])
        out = Path(folder) / system
        out.mkdir(parents=True, exist_ok=True)
        for frame in (*frames, *atoms):
            results = frame.calc.results
            frame.calc = None
            frame.info = {"REF_energy": results["energy"]}
            if len(frame) == 1:
                frame.info["config_type"] = "IsolatedAtom"
                results["forces"] = np.zeros((1, 3))
            frame.arrays["REF_forces"] = results["forces"]
        order = np.random.default_rng(2).permutation(len(frames))
        if held_out + max(sizes) > len(frames):
            sys.exit(f"{system} has {len(frames)} frames, not {held_out} + {max(sizes)}.")
        ase.io.write(out / "test.xyz", [frames[i] for i in order[:held_out]], format="extxyz")
        for seed in range(seeds):
            drawn = np.random.default_rng([1, seed]).permutation(order[held_out:])
            for size in sizes:
                chosen = atoms + [frames[i] for i in drawn[:size]]
                ase.io.write(out / f"train-{seed}-{size}.xyz", chosen, format="extxyz")
    return {}


def foundation(folder: str, systems: list[str], forgetting: int) -> dict[str, Any]:
    """Force RMSE (meV/Å) of the untouched model, on the forgetting set and on the systems."""
    from tunesmith.data.formats import read_frames
    from tunesmith.posterior.ensemble import open_model

    untouched = open_model(MODEL)
    found = {"forgetting": force_rmse(untouched, _forgetting(forgetting))}
    for system in systems:
        frames, _ = read_frames(Path(folder) / system / "test.xyz")
        found[system] = force_rmse(untouched, frames)
    return found


def cell(folder: str, forgetting: int, **fields: Any) -> dict[str, Any]:
    """Fine-tune one cell and measure it. Errors in meV/Å and meV/atom, times in CPU seconds.

    A training that the package itself ends with an error is a result too: ``failed`` says why.
    """
    from tunesmith.data.formats import read_frames
    from tunesmith.errors import TunesmithError
    from tunesmith.posterior.ensemble import open_model
    from tunesmith.report.evaluate import evaluate

    it = Cell(**fields)
    out = Path(folder) / "cells" / it.name
    try:
        spent = tuned(it, Path(folder) / it.system / f"train-{it.seed}-{it.frames}.xyz", out)
    except TunesmithError as error:
        return {"failed": str(error)}
    test, _ = read_frames(Path(folder) / it.system / "test.xyz")
    remembered = _forgetting(forgetting)
    model = open_model(out)
    result = evaluate(model, test).summary()
    return {
        **spent,
        "force_rmse": result["force_rmse_meV_per_A"],
        "energy_rmse": result["energy_rmse_meV_per_atom"],
        "energy_rmse_relative": result["energy_rmse_within_composition_meV_per_atom"],
        "forgetting": force_rmse(model, remembered),
        "forgetting_replay_head": replay_head_rmse(out, remembered),
    }


def tuned(it: Cell, train: Path, out: Path) -> dict[str, Any]:
    """Fine-tune into a new folder; CPU seconds of the sampler and of everything, and the steps.

    ``cpu`` is that of the whole call of `fine_tune`: with reading, E0s, replay labels, the export
    and its check, without the imports of Python.
    """
    from tunesmith import fine_tune

    shutil.rmtree(out, ignore_errors=True)
    config = configured(it, train)
    sampler = config.tune.sampler
    started = cpu_seconds()
    with stopwatch(type(sampler)) as fits:
        summary = fine_tune(config, out)
    return {
        "cpu": cpu_seconds() - started,
        "cpu_fit": sum(fits),
        "steps": _steps(it, sampler),
        "weights": trainable(config),
        "learning_rate": sampler.learning_rate,
        "stopped": summary["stopped"],
        "best_epoch": summary.get("best_epoch"),
    }


def configured(it: Cell, train: Path) -> Any:
    """The strategy as it is named, with the bench's budget, seed and E0s."""
    from tunesmith import TuneConfig

    given: dict[str, Any] = {
        "strategy": it.strategy,
        "model": {"source": MODEL},
        "data": {"train": [str(train)], "valid_fraction": VALID},
        "tune": {"e0": {"method": it.e0}},
        "seed": it.seed,
        "execute": {"threads": 1, "processes": 1},  # workers would be counted with their imports
    }
    named = TuneConfig(**given)
    budget: dict[str, Any] = {"batch_size": BATCH}
    if "epochs" in type(named.tune.sampler).model_fields:
        epochs = math.ceil(it.steps / per_epoch(it.frames))
        budget |= {"epochs": epochs, "patience": epochs}  # never stops early
    given["tune"]["sampler"] = budget
    return TuneConfig(**given)


def per_epoch(frames: int) -> int:
    """Steps of an epoch over N labels of which `VALID` are held back."""
    return math.ceil((frames - max(1, round(VALID * frames))) / BATCH)


def _steps(it: Cell, sampler: Any) -> int:
    """Steps of the optimiser, or of one chain."""
    if hasattr(sampler, "epochs"):
        return int(sampler.epochs) * per_epoch(it.frames)
    return int(getattr(sampler, "total_steps", None) or sampler.steps)


def trainable(config: Any) -> int:
    """Numbers that move, of one member."""
    import torch

    from tunesmith.potentials import zoo

    space, generator = config.tune.subspace, torch.Generator().manual_seed(0)
    start = space.start(zoo.load(MODEL), generator)
    return sum(w.numel() for name, w in start.items() if space.moves(name))


def force_rmse(posterior: Any, frames: list[Any]) -> float:
    """meV/Å; energies have another zero than the labels and are not looked at."""
    from tunesmith.report.evaluate import evaluate

    summary = evaluate(posterior, frames, relative_energies=True).summary()
    return float(summary["force_rmse_meV_per_A"])


def replay_head_rmse(out: Path, frames: list[Any]) -> float | None:
    """The same of the mean of the replay heads, None where there is none."""
    from tunesmith.core import E0s
    from tunesmith.posterior import members_file
    from tunesmith.posterior.ensemble import Ensemble

    potential, members = members_file.load(out, dtype="float32", device="cpu")
    if not members.replay:
        return None
    heads = [members.replay_head(i) for i in range(len(members))]
    return force_rmse(Ensemble(potential, heads, E0s(potential.e0s)), frames)


def _forgetting(number: int) -> list[Any]:
    """The forgetting set, or every so many of it: at most ``number``, spread over all of it."""
    from tunesmith.data.formats import read_frames
    from tunesmith.potentials import zoo

    frames, _ = read_frames(zoo.shipped_frames(MODEL, "forgetting"))
    return frames[:: math.ceil(len(frames) / number)]


# --------------------------------------------------------------------------------- cost


def cost(
    folder: str, system: str, strategies: list[str], steps: int, rounds: int
) -> dict[str, Any]:
    """CPU seconds of the strategies in turns in one process, and their medians.

    Per step: of the sampler alone. In all: of the whole call, set-up and export included. The
    ratios to naive are medians over the rounds, each taken within its round.
    """
    size = 50
    train = Path(folder) / system / f"train-0-{size}.xyz"
    out = Path(folder) / "cost"
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in strategies}
    # the first fit of a process also pays for whatever is made once
    tuned(Cell(system, size, "naive", "reestimate", 0, 2 * per_epoch(size)), train, out)
    for turn in range(rounds):
        for name in strategies:
            it = Cell(system, size, name, "reestimate", turn, steps)
            runs[name].append(tuned(it, train, out))
            print(f"cost, round {turn + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
    naive = runs["naive"]

    def ratio(name: str, part: str) -> float:
        pairs = zip(runs[name], naive, strict=True)
        return median((a[part] / a["steps"]) / (b[part] / b["steps"]) for a, b in pairs)

    return {
        name: {
            "cpu_per_step": median(r["cpu_fit"] / r["steps"] for r in of),
            "cpu_in_all": median(r["cpu"] for r in of),
            "per_step_to_naive": ratio(name, "cpu_fit"),
            "in_all_to_naive": ratio(name, "cpu"),
            "steps": of[0]["steps"],
            "weights": of[0]["weights"],
        }
        for name, of in runs.items()
    }


def cpu_seconds() -> float:
    """Of this process and of the ended ones it started."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@contextmanager
def stopwatch(sampler: type[Any]) -> Iterator[list[float]]:
    """CPU seconds of every call of a sampler's ``fit`` while the block lasts."""
    fit: Callable[..., Any] = sampler.fit
    spent: list[float] = []

    def timed(*args: Any, **kwargs: Any) -> Any:
        started = cpu_seconds()
        found = fit(*args, **kwargs)
        spent.append(cpu_seconds() - started)
        return found

    inherited = "fit" not in vars(sampler)
    sampler.fit = timed
    try:
        yield spent
    finally:
        if inherited:
            del sampler.fit
        else:
            sampler.fit = fit


if __name__ == "__main__":
    known = {f.__name__: f for f in (prepare, foundation, cell, cost)}
    started = time.monotonic()
    answer = known[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 1)}))
