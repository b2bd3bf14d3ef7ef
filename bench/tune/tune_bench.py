"""Fine-tuning side by side: `tunesmith tune` against mace-torch's own `mace_run_train`.

Both are run as a user would, as commands of their own, in turns: the same start model, frames of
acac, loss, optimiser and number of updates (`SETTINGS`), one thread. Per program and seed are
measured: the time of every epoch (training and validation; start-up left out) on the clock and in
CPU time, which other work on the machine disturbs least, and the peak resident memory. Both results
are judged by one evaluator.
"""

import itertools
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from bench.runner.child import Measured, command, measured, needed
from bench.runner.parts import Bench, Found, Named, Options, Part, Record, of
from bench.runner.tables import described, grouped, table

STEPS = "bench.tune.tune_steps"
START, OURS, THEIRS = "start", "tunesmith", "mace_run_train"
SETTINGS: dict[str, Any] = {
    "batch_size": 5,
    "learning_rate": {"organic-xs": 1e-3, "64x0e+64x1o": 3e-3},
    "ema": 0.99,
    "clip": 10.0,
    "energy": 1.0,
    "forces": 10.0,
    "delta": 0.01,
}
#: changes to mace_run_train's flags that make less work for it; timed in short runs
LIGHTER = {
    "only the elements in the data": {"foundation_model_elements": "False"},
    "loss without stress": {"loss": "weighted"},
}


@dataclass(frozen=True)
class Run(Named):
    """One run of a program, or the `START` model. change: of `LIGHTER`, of mace_run_train's."""

    size: str
    program: str
    seed: int
    epochs: int
    change: str = ""


def prepare(cells: list[Run], o: Options) -> None:
    """Data and start models."""
    sizes = list(dict.fromkeys(cell.size for cell in cells))
    given: dict[str, Any] = {"data": str(o.data), "folder": str(o.work), "sizes": sizes}
    needed(f"{STEPS}:prepare", **given, n_train=o.frames, n_valid=o.held_out)


def computed(it: Run, options: Options) -> Record:
    """Seconds of every epoch, errors after it, memory; and the errors of the result."""
    folder, found = options.work, dict[str, Any]()
    model = folder / f"{it.size}.model"
    if it.program != START:
        out = folder / it.name
        shutil.rmtree(out, ignore_errors=True)
        program = run_tunesmith if it.program == OURS else run_mace
        run, moments, found["curves"], model = program(it, folder, out)
        found |= {"run_s": run.seconds, "run_cpu_s": run.cpu, "peak_mb": run.peak_mb}
        pairs = list(itertools.pairwise(moments))
        clock = median(b - a for a, b in pairs)
        cpu = median(run.cpu_until(b) - run.cpu_until(a) for a, b in pairs)
        found |= {"per_s": options.frames / clock, "per_cpu_s": options.frames / cpu}
    judged = needed(f"{STEPS}:judge", model=str(model), frames=str(folder / "valid.xyz"))
    keys = ("weights", "force_rmse_meV_per_A", "energy_rmse_meV_per_atom")
    return found | {key: judged[key] for key in keys}


# ------------------------------------------------------------------ the two programs

Told = tuple[Measured, list[float], dict[str, list[float]], Path]


def run_tunesmith(it: Run, folder: Path, out: Path) -> Told:
    """`tunesmith tune` with a stopwatch in its callback."""
    chosen = {
        "model.source": folder / f"{it.size}.model",
        "data.valid": folder / "valid.xyz",
        "seed": it.seed,
        "tune.e0": "isolated",
        "tune.sampler.learning_rate": SETTINGS["learning_rate"].get(it.size, 1e-3),
        "tune.sampler.epochs": it.epochs,
        "tune.sampler.patience": it.epochs,
        "tune.sampler.batch_size": SETTINGS["batch_size"],
        "tune.sampler.ema": SETTINGS["ema"],
        "tune.sampler.clip": SETTINGS["clip"],
        "tune.sampler.amsgrad": "true",
        "tune.loss.kind": "mace-universal",
        "tune.loss.energy": SETTINGS["energy"],
        "tune.loss.forces": SETTINGS["forces"],
        "tune.loss.delta": SETTINGS["delta"],
    }
    options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    arguments = ["tune", "--train", str(folder / "train.xyz"), "--out", str(out), *options]
    stamps, log = (folder / f"{it.name}{end}" for end in (".json", ".log"))
    step = command(f"{STEPS}:tunesmith", stamps=str(stamps), arguments=arguments)
    run = measured(step, log)
    timed = json.loads(stamps.read_text())
    keys = {"force_mae": "valid_force_mae_meV_per_A", "energy_mae": "valid_energy_mae_meV_per_atom"}
    curves = {name: [e[key] for e in timed["history"]] for name, key in keys.items()}
    return run, timed["moments"], curves, out / "final.model"


def run_mace(it: Run, folder: Path, out: Path) -> Told:
    """``mace_run_train``; its log has a line after every epoch, its results file the errors."""
    out.mkdir()
    flags = {
        "name": "tuned",
        "work_dir": out,
        "seed": it.seed,
        "foundation_model": folder / f"{it.size}.model",
        "multiheads_finetuning": "False",
        # the default drops elements that the data lacks and rescales the weights
        "foundation_model_elements": "True",
        "train_file": folder / "train.xyz",
        "valid_file": folder / "valid.xyz",
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "loss": "universal",
        "energy_weight": SETTINGS["energy"],
        "forces_weight": SETTINGS["forces"],
        "huber_delta": SETTINGS["delta"],
        "optimizer": "adamw",  # amsgrad is on and has no switch
        "lr": SETTINGS["learning_rate"].get(it.size, 1e-3),
        "weight_decay": 0.0,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": 1.0,
        "ema_decay": SETTINGS["ema"],
        "clip_grad": SETTINGS["clip"],
        "batch_size": SETTINGS["batch_size"],
        "valid_batch_size": 16,
        "max_num_epochs": it.epochs,
        "patience": it.epochs,
        "eval_interval": 1,
        "default_dtype": "float32",
        "device": "cpu",
        "num_workers": 0,
        "plot": "False",
        **LIGHTER.get(it.change, {}),
    }
    given = [f"--{key}={value}" for key, value in flags.items()]
    program = [sys.executable, "-m", "mace.cli.run_train", "--ema", *given]
    run = measured(program, folder / f"{it.name}.log")
    log = next((out / "logs").glob("*[0-9].log")).read_text()
    lines = [x for x in log.splitlines() if "INFO: Initial:" in x or "INFO: Epoch " in x]
    moments = [datetime.fromisoformat(x[:23]).timestamp() for x in lines]
    entries = map(json.loads, next((out / "results").glob("*.txt")).read_text().splitlines())
    errors = [e for e in entries if e["mode"] == "eval" and e["epoch"] is not None]
    keys = {"force_mae": "mae_f", "energy_mae": "mae_e_per_atom"}
    curves = {name: [1e3 * e[key] for e in errors] for name, key in keys.items()}
    return run, moments, curves, out / "tuned.model"


# -------------------------------------------------------------------------- the table


def page(found: Found) -> str:
    """A section for every size."""
    parts = [f"{described(found)}; one thread; frames of acac: {found['conditions']}."]
    for size, runs in grouped(found["runs"], lambda r: r["size"]).items():
        parts += _size(size, runs)
    return "\n\n".join(parts) + "\n"


def _scatter(key: str) -> Callable[[list[Record]], str]:
    def said(runs: list[Record]) -> str:
        values = [r[key] for r in runs]
        std = stdev(values) if len(values) > 1 else float("nan")
        return f"{mean(values):.2f} ± {std:.2f}"

    return said


def _middle(key: str, shown: str) -> Callable[[list[Record]], str]:
    return lambda runs: f"{median(r[key] for r in runs):{shown}}"


COLUMNS: dict[str, Any] = {
    "": lambda runs: runs[0]["program"],
    "structures/s": _middle("per_s", ".1f"),
    "per CPU second": _middle("per_cpu_s", ".1f"),
    "peak MB": _middle("peak_mb", ".0f"),
    "force RMSE meV/Å": _scatter("force_rmse_meV_per_A"),
    "energy RMSE meV/atom": _scatter("energy_rmse_meV_per_atom"),
    "whole run s": _middle("run_s", ".0f"),
}


def _size(size: str, runs: list[Record]) -> list[str]:
    whole = [r for r in runs if r["program"] != START and not r["change"]]
    programs = grouped(whole, lambda r: r["program"])
    parts = [f"## {size}, learning rate {SETTINGS['learning_rate'].get(size, 1e-3):g}"]
    parts += [
        f"Before: {r['force_rmse_meV_per_A']:.1f} meV/Å, {r['energy_rmse_meV_per_atom']:.1f} "
        f"meV/atom, {r['weights']} weights."
        for r in runs
        if r["program"] == START
    ]
    parts.append(table(programs.values(), COLUMNS))
    ours, theirs = ({r["seed"]: r for r in programs.get(p, [])} for p in (OURS, THEIRS))
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    if pairs:
        of = {k: median(a[k] / b[k] for a, b in pairs) for k in ("per_s", "per_cpu_s", "peak_mb")}
        less = median(b["run_cpu_s"] / a["run_cpu_s"] for a, b in pairs)
        parts.append(
            f"Ratios, medians over seeds: structures/s **{of['per_s']:.2f}**, per CPU second "
            f"**{of['per_cpu_s']:.2f}**, peak memory **{of['peak_mb']:.2f}**; CPU time of the "
            f"whole command, start-up included: {less:.2f} times less."
        )
    parts += [
        f"mace_run_train with {r['change']}: {r['per_cpu_s']:.1f} per CPU second (ratio "
        f"{median(x['per_cpu_s'] for x in ours.values()) / r['per_cpu_s']:.2f})."
        for r in runs
        if r["change"] and ours
    ]
    return parts


def pictures(found: Found, folder: Path) -> None:
    """``tune.png``: validation errors of the averaged weights per epoch."""
    from matplotlib.figure import Figure

    from tunesmith.report.plots import COLOURS, save

    sizes = grouped([r for r in found["runs"] if r.get("curves")], lambda r: r["size"])
    figure = Figure(figsize=(9, 3.2 * max(1, len(sizes))), layout="constrained")
    titles = {"force_mae": "force MAE (meV/Å)", "energy_mae": "energy MAE (meV/atom)"}
    rows = figure.subplots(max(1, len(sizes)), 2, squeeze=False)
    for axes, (size, runs) in zip(rows, sizes.items(), strict=False):
        for axis, (key, what) in zip(axes, titles.items(), strict=True):
            for r in (r for r in runs if not r["change"]):
                colour = COLOURS[(OURS, THEIRS).index(r["program"])]
                label = None if r["seed"] else r["program"]
                epochs, curve = range(1, 1 + len(r["curves"][key])), r["curves"][key]
                axis.plot(epochs, curve, color=colour, lw=1, alpha=0.8, label=label)
            axis.set(yscale="log", xlabel="epoch", ylabel=f"validation {what}", title=size)
            axis.legend()
    save(figure, folder / "tune.png")


def options(add: Callable[..., Any]) -> None:
    add("--sizes", nargs="+", default=["organic-xs", "64x0e+64x1o"], help="organic-xs or irreps")
    add("--epochs", type=int, nargs="+", default=[40, 15], help="of every size")
    add("--frames", type=int, default=450, help="to learn from")
    add("--held-out", type=int, default=50, help="frames that judge")


def plan(o: Options) -> list[Run]:
    """Both programs in turns."""
    found = []
    for size, epochs in zip(o.sizes, o.epochs * (1 if len(o.epochs) > 1 else 9), strict=False):
        found.append(Run(size, START, 0, 0))
        found += [Run(size, p, seed, epochs) for seed in o.seeds for p in (OURS, THEIRS)]
        found += [Run(size, THEIRS, 0, 3, change) for change in LIGHTER if not o.quick]
    return found


def cost(it: Run, o: Options) -> float:
    """CPU seconds: organic-xs does some 100 structures in one."""
    return 15 + it.epochs * (o.frames + o.held_out) / (90 if it.size == "organic-xs" else 25)


BENCH = Bench(
    name="tune",
    packages=("torch", "mace-torch", "e3nn", "numpy", "tunesmith"),
    parts={
        "runs": Part(
            cell=Run,
            plan=plan,
            run=computed,
            cost=cost,
            told=lambda r: (
                f"{r['force_rmse_meV_per_A']:.1f} meV/Å, {r.get('per_cpu_s', 0):.0f} "
                f"structures per CPU second, {r.get('peak_mb', 0):.0f} MB"
            ),
            conditions=of("frames", "held_out"),
            prepare=prepare,
            ordered=True,
        )
    },
    options=options,
    data=True,
    quick={"frames": 60, "held_out": 20, "seeds": [0], "epochs": [2]},
    seeds=range(3),
    page=page,
    pictures=pictures,
)
