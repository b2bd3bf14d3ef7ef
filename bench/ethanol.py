"""The evidence that on-the-fly fine-tuning keeps its promise, on ethanol.

    python bench/ethanol.py --run runs/ethanol-seed0 runs/ethanol-seed1 …
    python bench/ethanol.py --seeds 0 1 2 [--reference tblite] [--set explore.time="5 ps"] [--quick]

The first judges finished runs; the second makes them, by `tunesmith run recipes/ethanol.yaml`
(again: resumes), and judges them. For every run a second, independently seeded trajectory is
driven by the tuned ensemble's mean with the run's own MD settings, and random frames of it are
labelled by the run's own reference. Reported there:

- the share of energy errors over the target K, where the target allows 5 %;
- the coverage of the calibrated 95 % interval (the Student-t law of the run's calibration);
- the RMSE of the tuned and the untuned model's energies, each one's mean error removed, and of
  their forces;

and of the run itself the labels, the simulated time, and the share of the labels it asked for
while the hydroxyl group turned from anti to gauche or from one gauche to the other, against the
share of time that takes: the H–O–C–C dihedral within 30° of ±120° or of 0°. Frames are correlated,
so the binomial standard errors are on the small side. Everything is kept below ``--work``: the
same command goes on where it was stopped.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import measure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REFERENCES = {
    "recipe": (),
    "tblite": ("reference={kind: tblite, method: GFN1-xTB}",),
}
QUICK = (
    *("explore.time=20 fs", "explore.write_every=1 fs", "acquire.max_gap=6 fs"),
    *("tune.sampler.members=2", "tune.sampler.steps=20"),
)


def make(options: argparse.Namespace) -> list[Path]:
    """Run the recipe for every seed, as a user would."""
    folders = []
    for seed in options.seeds:
        folder = options.work / f"{options.name}-seed{seed}"
        settings = [*REFERENCES[options.reference], *(QUICK if options.quick else ())]
        settings += [*options.set, f"seed={seed}"]
        chosen = [part for text in settings for part in ("--set", text)]
        command = [sys.executable, "-m", "tunesmith", "run", str(options.recipe)]
        _say(f"{folder}: tunesmith run …")
        # exit code 1: it ended early but well enough to be judged
        done = subprocess.run([*command, "--out", str(folder), *chosen], stdout=2, check=False)
        if not (folder / "summary.json").exists():
            sys.exit(f"{folder}: the run failed ({done.returncode}).")
        folders.append(folder)
    return folders


def judge(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one run."""
    import ethanol_evidence as evidence

    run = evidence.opened(folder)
    out = options.work / "evidence" / f"{folder.name}-{run.digest}"
    out.mkdir(parents=True, exist_ok=True)
    asked_for = options.time or run.config.explore.time
    _say(f"{folder}: a second trajectory of {asked_for} …")
    frames, reached = evidence.second(run, out, options.frames, asked_for, options.second_seed)
    _say(f"{folder}: labelling {len(frames)} frames of it …")
    labelled = evidence.label(run, frames, out, _say)
    if len(labelled) < 2:
        sys.exit(f"{folder}: too few labelled frames to judge it by.")
    summary = json.loads((folder / "summary.json").read_text())
    keys = (
        *("seed", "model", "reference", "md_time_ps", "labels", "members", "threshold_eV"),
        *("interventions", "interventions_over_threshold", "calibration_energy", "wall_time_s"),
    )
    return {
        "run": folder.name,
        **{key: summary[key] for key in keys},
        "steps_per_update": run.config.tune.sampler.steps,
        "second_ps": 1e-3 * reached,
        "unlabelled": len(frames) - len(labelled),
        "errors": evidence.errors(run, labelled),
        "conformations": evidence.asked(run),
    }


def concluded(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every run and of all together."""
    import ethanol_evidence as evidence

    def of(some: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            **evidence.scores([r["errors"] for r in some]),
            "transitions": evidence.transitions([r["conformations"] for r in some]),
        }

    return {"runs": [of([r]) for r in runs], "pooled": of(runs)}


# -------------------------------------------------------------------------- the table


def table(found: dict[str, Any]) -> str:
    """Every run and all together, as Markdown."""
    runs, said = found["runs"], found["conclusions"]
    columns = [f"seed {r['seed']}" for r in runs]
    results = list(said["runs"])
    if len(runs) > 1:
        columns.append("**pooled**")
        results.append(said["pooled"])
    k, one = runs[0]["threshold_eV"], runs[0]
    lines = [
        ", ".join(f"{key} {value}" for key, value in found["machine"].items()) + ".\n",
        f"Runs: {', '.join(r['run'] for r in runs)}; {one['model']}, reference "
        f"{one['reference']}, {one['members']} members × {one['steps_per_update']} steps per label"
        + ("" if k is None else f", K = {1e3 * k:.1f} meV")
        + f". {found['frames']} random frames of a second trajectory each.\n",
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]

    def row(name: str, values: list[str]) -> None:
        values += [""] * (len(columns) - len(values))
        lines.append(f"| {name} | {' | '.join(values)} |")

    row("MD of the run, ps", [f"{r['md_time_ps']:.2f}" for r in runs])
    row("labels", [str(r["labels"]) for r in runs])
    over = "interventions_over_threshold"
    row("over K when asked", [f"{r[over]} of {r['interventions']}" for r in runs])
    row("second trajectory, ps", [f"{r['second_ps']:.2f}" for r in runs])
    row("frames", [str(s["frames"]) for s in results])
    row("**share over K**", [_percent(s["over_threshold"]) for s in results])
    row("share over K, untuned", [_percent(s["untuned_over_threshold"]) for s in results])
    row("**coverage of the 95 % interval**", [_percent(s["coverage_95"]) for s in results])
    for key, name in (
        ("rmse_tuned_meV", "energy RMSE, tuned, meV"),
        ("rmse_untuned_meV", "energy RMSE, untuned, meV"),
        ("mean_error_tuned_meV", "mean energy error, tuned, meV"),
        ("force_rmse_tuned_meV_per_A", "force RMSE, tuned, meV/Å"),
        ("force_rmse_untuned_meV_per_A", "force RMSE, untuned, meV/Å"),
    ):
        row(name, [f"{s[key]:.1f}" for s in results])
    row("**energy RMSE, tuned / untuned**", [f"{s['rmse_ratio']:.2f}" for s in results])
    for name in ("gauche–anti", "gauche–gauche"):
        each = [s["transitions"][name] for s in results]
        row(f"{name}: share of time", [f"{100 * t['time']:.0f} %" for t in each])
        row(f"{name}: share of labels", [_percent(t["labels"]) for t in each])
    lines.append(
        "\nExpected: a share over K of at most 5 % within its binomial error "
        f"({100 * (0.05 * 0.95 / results[-1]['frames']) ** 0.5:.1f} % for "
        f"{results[-1]['frames']} frames), a coverage of 90 to 99 %, a ratio of at most 0.25. "
        "RMSEs of energies: each model's mean error removed, run by run; shares over K: not "
        "removed."
    )
    if len(runs) > 1:
        lines.append(
            "\nThe second trajectories of all runs have the same momenta and noise, so that their "
            "frames are nearly the same structures: pooled binomial errors are too small."
        )
    if missing := sum(r["unlabelled"] for r in runs):
        lines.append(f"\n{missing} frames could not be labelled and are left out.")
    return "\n".join(lines) + "\n"


def _percent(value: tuple[float, float]) -> str:
    return "{:.1f} ± {:.1f} %".format(*(100 * v for v in value))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--run", type=Path, nargs="+", default=[], help="folders of finished runs")
    add("--seeds", type=int, nargs="+", default=[], help="of runs to make by the recipe")
    add("--recipe", type=Path, default=ROOT / "recipes" / "ethanol.yaml")
    add("--set", action="append", default=[], metavar="SETTING", help="of the runs to make")
    add("--reference", choices=list(REFERENCES), default="recipe", help="tblite: GFN1-xTB")
    add("--name", default="ethanol", help="of the results, and of runs to make")
    add("--frames", type=int, default=40, help="random frames of each second trajectory")
    add("--time", help="of the second trajectory (default: the run's own), as '2 ps'")
    add("--second-seed", type=int, default=1000, help="of the second trajectories")
    add("--quick", action="store_true", help="a minute: tiny runs with tblite, 6 frames")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, default=HERE / "results", help="folder for table and JSON")
    add("--work", type=Path, help="folder for runs, trajectories, labels (default: below --out)")
    options = parser.parse_args()
    if bool(options.run) == bool(options.seeds or options.quick):
        parser.error("give finished runs (--run) or seeds of runs to make (--seeds), one of both.")
    if options.quick:
        options.reference, options.frames = "tblite", 6
        options.seeds, options.name = options.seeds or [0, 1], options.name + "-quick"
    if len({folder.name for folder in options.run}) < len(options.run):
        parser.error("--run: two folders of one name; rename one, results are kept by name.")
    options.out.mkdir(parents=True, exist_ok=True)
    options.work = (options.work or options.out / "runs").resolve()
    for name in ("out", "recipe", "json"):
        if getattr(options, name) is not None:
            setattr(options, name, getattr(options, name).resolve())
    options.run = [folder.resolve() for folder in options.run]
    return options


def main() -> None:
    options = _options()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.chdir(ROOT)  # start structures of the recipe are named from there
    runs = [judge(folder, options) for folder in (options.run or make(options))]
    packages = ("torch", "mace-torch", "ase", "pyscf", "tblite", "tunesmith")
    found: dict[str, Any] = {
        "machine": measure.machine(packages),
        "frames": options.frames,
        "conclusions": concluded(runs),
        "runs": runs,
    }
    name = f"{options.name}-{time.strftime('%Y-%m-%d')}"
    text, data = f"# {name}\n\n{table(found)}", json.dumps(found, indent=1) + "\n"
    (options.out / f"{name}.md").write_text(text)
    (options.out / f"{name}.json").write_text(data)
    if options.json:
        options.json.write_text(data)
    print(text)


if __name__ == "__main__":
    main()
