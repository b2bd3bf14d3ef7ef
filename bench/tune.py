"""Fine-tuning side by side: `tunesmith tune` against mace-torch's own `mace_run_train`.

    python bench/tune.py --data FOLDER [--quick] [--json FILE]

Both are run as a user would, as commands of their own, in turns: the same start model, frames,
loss, optimiser and number of updates (`SETTINGS`), one thread. FOLDER holds acac/train_300K.xyz
and acac/isolated_atoms.xyz. Per program and seed are measured: the time of every epoch (training
and validation; start-up left out) on the clock and in CPU time, which other work on the machine
disturbs least, and the peak resident memory. Both results are judged by one evaluator.
"""

import argparse
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import measure

HERE = Path(__file__).parent
STEPS = HERE / "tune_steps.py"
PROGRAMS = ("tunesmith", "mace_run_train")
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
class Result:
    """One run. epochs: (s, CPU s) of every epoch; curves: validation errors per epoch."""

    seconds: float
    cpu: float
    peak_mb: float
    epochs: list[tuple[float, float]]
    curves: dict[str, list[float]]
    model: str

    def speed(self, n_train: int) -> tuple[float, float]:
        """Structures per second and per CPU second, of the median epoch."""
        return tuple(n_train / median(e[i] for e in self.epochs) for i in (0, 1))  # type: ignore


def _result(
    run: measure.Measured, moments: list[float], curves: dict[str, list[float]], model: Path
) -> Result:
    pairs = itertools.pairwise(moments)
    epochs = [(b - a, run.cpu_until(b) - run.cpu_until(a)) for a, b in pairs]
    return Result(run.seconds, run.cpu, run.peak_mb, epochs, curves, str(model))


# ------------------------------------------------------------------ the two programs


def run_tunesmith(folder: Path, start: str, size: str, seed: int, epochs: int) -> Result:
    """`tunesmith tune` with a stopwatch in its callback."""
    out = folder / f"tunesmith-{size}-{seed}"
    chosen = {
        "model.source": start,
        "data.valid": folder / "valid.xyz",
        "seed": seed,
        "tune.e0": "isolated",
        "tune.sampler.learning_rate": SETTINGS["learning_rate"].get(size, 1e-3),
        "tune.sampler.epochs": epochs,
        "tune.sampler.patience": epochs,
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
    stamps = folder / f"{out.name}.json"
    request = json.dumps({"stamps": str(stamps), "arguments": arguments})
    command = [sys.executable, str(STEPS), "tunesmith", request]
    run = measure.run(command, folder / f"{out.name}.log")
    timed = json.loads(stamps.read_text())
    curves = {
        "force_mae": [e["valid_force_mae_meV_per_A"] for e in timed["history"]],
        "energy_mae": [e["valid_energy_mae_meV_per_atom"] for e in timed["history"]],
    }
    return _result(run, timed["moments"], curves, out / "final.model")


def run_mace(
    folder: Path,
    start: str,
    size: str,
    seed: int,
    epochs: int,
    change: dict[str, str] | None = None,
) -> Result:
    """``mace_run_train``; its log has a line after every epoch, its results file the errors."""
    out = folder / "-".join(["mace", size, str(seed), *(change or {}).values()])
    out.mkdir()
    flags = {
        "name": "tuned",
        "work_dir": out,
        "seed": seed,
        "foundation_model": start,
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
        "lr": SETTINGS["learning_rate"].get(size, 1e-3),
        "weight_decay": 0.0,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": 1.0,
        "ema_decay": SETTINGS["ema"],
        "clip_grad": SETTINGS["clip"],
        "batch_size": SETTINGS["batch_size"],
        "valid_batch_size": 16,
        "max_num_epochs": epochs,
        "patience": epochs,
        "eval_interval": 1,
        "default_dtype": "float32",
        "device": "cpu",
        "num_workers": 0,
        "plot": "False",
        **(change or {}),
    }
    command = [sys.executable, "-m", "mace.cli.run_train", "--ema"]
    command += [f"--{key}={value}" for key, value in flags.items()]
    run = measure.run(command, folder / f"{out.name}.log")
    log = next((out / "logs").glob("*[0-9].log")).read_text()
    lines = [x for x in log.splitlines() if "INFO: Initial:" in x or "INFO: Epoch " in x]
    moments = [datetime.fromisoformat(x[:23]).timestamp() for x in lines]
    entries = map(json.loads, next((out / "results").glob("*.txt")).read_text().splitlines())
    errors = [e for e in entries if e["mode"] == "eval" and e["epoch"] is not None]
    curves = {
        "force_mae": [1e3 * e["mae_f"] for e in errors],
        "energy_mae": [1e3 * e["mae_e_per_atom"] for e in errors],
    }
    return _result(run, moments, curves, out / "tuned.model")


# ------------------------------------------------------------------ one size, all seeds


def compare(
    folder: Path, start: dict[str, Any], size: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Run both programs in turns over the seeds; everything measured, and the ratios."""
    epochs, n = options.epochs[size], options.frames
    runs: dict[str, list[Result]] = {p: [] for p in PROGRAMS}
    for seed in range(options.seeds):
        for program, function in zip(PROGRAMS, (run_tunesmith, run_mace), strict=True):
            result = function(folder, start["path"], size, seed, epochs)
            runs[program].append(result)
            _say(f"{size}, seed {seed}, {program}: {_speeds(result, n)}, {result.peak_mb:.0f} MB")
    lighter = {}
    for what, change in {} if options.quick else LIGHTER.items():
        result = run_mace(folder, start["path"], size, 0, 3, change)
        lighter[what] = result.speed(n)
        _say(f"{size}, mace_run_train, {what}: {_speeds(result, n)}")
    models = [r.model for p in PROGRAMS for r in runs[p]]
    judged = measure.worker(
        STEPS, "judge", models=[start["path"], *models], frames=str(folder / "valid.xyz")
    )
    errors: dict[str, Any] = {p: [judged[r.model] for r in runs[p]] for p in PROGRAMS}
    pairs = list(zip(runs["tunesmith"], runs["mace_run_train"], strict=True))
    return {
        "weights": start["weights"],
        "epochs": epochs,
        "updates": epochs * (n // SETTINGS["batch_size"]),
        "learning_rate": SETTINGS["learning_rate"].get(size, 1e-3),
        "before": judged[start["path"]],
        "programs": {p: _summary(runs[p], errors[p], n) for p in PROGRAMS},
        "ratio": {
            "speed_clock": median(a.speed(n)[0] / b.speed(n)[0] for a, b in pairs),
            "speed_cpu": median(a.speed(n)[1] / b.speed(n)[1] for a, b in pairs),
            "memory": median(a.peak_mb / b.peak_mb for a, b in pairs),
            "whole_run_cpu": median(b.cpu / a.cpu for a, b in pairs),
        },
        "lighter_mace": lighter,
        "runs": {p: [asdict(r) | {"model": Path(r.model).name} for r in runs[p]] for p in PROGRAMS},
    }


def _speeds(result: Result, n: int) -> str:
    clock, cpu = result.speed(n)
    return f"{clock:.0f} structures/s, {cpu:.0f} per CPU second"


def _summary(runs: list[Result], errors: list[dict[str, Any]], n: int) -> dict[str, Any]:
    def scatter(key: str) -> tuple[float, float]:
        values = [e[key] for e in errors]
        return mean(values), stdev(values) if len(values) > 1 else float("nan")

    return {
        "structures_per_s": median(r.speed(n)[0] for r in runs),
        "structures_per_cpu_s": median(r.speed(n)[1] for r in runs),
        "peak_mb": median(r.peak_mb for r in runs),
        "force_rmse_meV_per_A": scatter("force_rmse_meV_per_A"),
        "energy_rmse_meV_per_atom": scatter("energy_rmse_meV_per_atom"),
        "whole_run_s": median(r.seconds for r in runs),
    }


# -------------------------------------------------------------------------- the table


def table(found: dict[str, Any]) -> str:
    """Everything a reader wants as Markdown."""
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    lines = [
        f"{about}; one thread; {found['n_train']} frames of acac, {found['n_valid']} held out."
    ]
    for size, r in found["sizes"].items():
        ratio = r["ratio"]
        lines += [
            f"\n## {size}: {r['weights']} weights, {r['epochs']} epochs, {r['updates']} updates, "
            f"learning rate {r['learning_rate']:g}\n",
            "| | structures/s | per CPU second | peak MB | force RMSE meV/Å | energy RMSE "
            "meV/atom | whole run s |\n|---|---|---|---|---|---|---|",
        ]
        for program, p in r["programs"].items():
            errors = [
                "{:.2f} ± {:.2f}".format(*p[k])
                for k in ("force_rmse_meV_per_A", "energy_rmse_meV_per_atom")
            ]
            lines.append(
                f"| {program} | {p['structures_per_s']:.1f} | {p['structures_per_cpu_s']:.1f} | "
                f"{p['peak_mb']:.0f} | {' | '.join(errors)} | {p['whole_run_s']:.0f} |"
            )
        lines.append(
            f"| **ratio** | **{ratio['speed_clock']:.2f}** | **{ratio['speed_cpu']:.2f}** | "
            f"**{ratio['memory']:.2f}** | | | |"
        )
        before = r["before"]
        lines.append(
            f"\nBefore: {before['force_rmse_meV_per_A']:.1f} meV/Å, "
            f"{before['energy_rmse_meV_per_atom']:.1f} meV/atom. "
            f"CPU time of the whole command, start-up included: {ratio['whole_run_cpu']:.2f} "
            "times less."
        )
        for what, (_, cpu) in r["lighter_mace"].items():
            ours = r["programs"]["tunesmith"]["structures_per_cpu_s"]
            lines.append(
                f"mace_run_train with {what}: {cpu:.1f} per CPU second (ratio {ours / cpu:.2f})."
            )
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds acac/train_300K.xyz")
    add("--quick", action="store_true", help="about a minute: one seed, 60 frames, 2 epochs")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, default=HERE / "results", help="folder for table, JSON and picture")
    add("--work", type=Path, help="folder for the runs themselves (default: below --out)")
    add("--seeds", type=int, default=3)
    add("--sizes", nargs="+", default=["organic-xs", "64x0e+64x1o"], help="organic-xs or irreps")
    add("--epochs", type=int, nargs="+", default=[40, 15], help="one number per size, or one")
    options = parser.parse_args()
    options.frames, options.held_out = 450, 50
    if options.quick:
        options.frames, options.held_out, options.seeds, options.epochs = 60, 20, 1, [2]
    if len(options.epochs) == 1:
        options.epochs *= len(options.sizes)
    if len(options.epochs) != len(options.sizes):
        parser.error("--epochs: give one number, or one per size.")
    options.epochs = dict(zip(options.sizes, options.epochs, strict=True))
    return options


def main() -> None:
    options = _options()
    name = f"tune-{time.strftime('%Y-%m-%d')}" + ("-quick" if options.quick else "")
    folder = options.work or options.out / "runs" / time.strftime(f"{name}-%H%M%S")
    folder = folder.resolve()
    folder.mkdir(parents=True)
    arguments = {"data": str(options.data), "folder": str(folder), "sizes": options.sizes}
    starts: Any = measure.worker(
        STEPS, "prepare", **arguments, n_train=options.frames, n_valid=options.held_out
    )
    sizes: dict[str, Any] = {}
    packages = ("torch", "mace-torch", "e3nn", "numpy", "tunesmith")
    found = {
        "machine": measure.machine(packages),
        "n_train": options.frames,
        "n_valid": options.held_out,
        "settings": SETTINGS,
        "sizes": sizes,
    }
    for size in options.sizes:  # what is done is kept, should a later size fail
        sizes[size] = compare(folder, starts[size], size, options)
        curves = {
            s: {p: [x["curves"] for x in r["runs"][p]] for p in PROGRAMS} for s, r in sizes.items()
        }
        measure.worker(STEPS, "draw", curves=curves, path=str(options.out / f"{name}.png"))
        (options.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        picture = f"\n![learning curves]({name}.png)\n"
        (options.out / f"{name}.md").write_text(f"# {name}\n\n{table(found)}{picture}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
