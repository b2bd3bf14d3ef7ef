"""The evidence that on-the-fly fine-tuning keeps its promise, on ethanol.

    python -m bench ethanol --run runs/ethanol-seed0 runs/ethanol-seed1 …
    python -m bench ethanol --seeds 0 1 2 [--reference tblite] [--set explore.time="5 ps"]

The first judges finished runs; the second makes them, by `tunesmith run recipes/ethanol.yaml`
(again: resumes), and judges them. For every run a second, independently seeded trajectory is
driven by the tuned ensemble's mean with the run's own MD settings, and random frames of it are
labelled by the run's own reference. Reported there:

- the share of energy errors over the target K, where the target allows 5 %;
- the coverage of the calibrated 95 % interval (the Student-t law of the run's calibration);
- the RMSE of the tuned and the untuned model's energies, each one's mean error removed, and of
  their forces;

and of the run itself the labels, the simulated time, and the share of the labels it asked for
while the hydroxyl group turned, against the share of time that takes. Frames are correlated, so the
binomial standard errors are on the small side.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from bench.onthefly.conformations import asked, transitions
from bench.onthefly.evidence import errors_of, scores, second
from bench.onthefly.loop_cost import GFN1, RECIPE
from bench.runner.parts import Bench, Found, Named, Options, Part, Record
from bench.runner.tables import described, markdown
from bench.shared.training import command, untouched
from tunesmith import LabelStore, RunConfig, open_model
from tunesmith.config import load
from tunesmith.core import Failure, Label
from tunesmith.explore.state import Answer

REFERENCES = {"recipe": "", "tblite": GFN1}
QUICK = (
    *("explore.time=20 fs", "explore.write_every=1 fs", "acquire.max_gap=6 fs"),
    *("tune.sampler.members=2", "tune.sampler.steps=20"),
)
#: of a run's summary
KEYS = (
    *("seed", "model", "reference", "md_time_ps", "labels", "members", "threshold_eV"),
    *("interventions", "interventions_over_threshold", "calibration_energy", "wall_time_s"),
)


@dataclass(frozen=True)
class Run(Named):
    """A run folder, finished or, with ``made``, to be made by the recipe of this seed. frames: of
    its second trajectory; time: of that, "": the run's own; second_seed: of it."""

    folder: str
    made: int
    frames: int
    time: str
    second_seed: int

    @property
    def name(self) -> str:
        return Path(self.folder).name


def make(it: Run, options: Options) -> None:
    """Run the recipe, as a user would."""
    given = [REFERENCES[options.reference], *(QUICK if options.quick else ()), *options.set]
    settings = dict(text.split("=", 1) for text in (*given, f"seed={it.made}") if text)
    # exit code 1: it ended early but well enough to be judged
    code = command("run", options.recipe, "--out", it.folder, settings=settings)
    if not (Path(it.folder) / "summary.json").exists():
        sys.exit(f"{it.folder}: the run failed ({code}).")


def judge(it: Run, options: Options) -> Record:
    """Everything about one run."""
    folder = Path(it.folder)
    if it.made >= 0:
        make(it, options)
    config = load(RunConfig, folder / "config.yaml")
    tuned = open_model(folder, dtype=config.model.dtype, device=config.model.device)
    members = (folder / "members" / "members.safetensors").read_bytes()
    # a run that was extended is another
    out = options.work / f"{it.name}-{hashlib.sha256(members).hexdigest()[:8]}"
    frames, reached = _second(it, config, tuned, out)
    store, labelled = LabelStore(out / "labels.db"), list[tuple[Atoms, Label]]()
    for i, atoms in enumerate(frames):
        outcome = store.label(atoms, config.reference, origin=f"second trajectory, frame {i}")
        if not isinstance(outcome, Failure):
            labelled.append((atoms, outcome))
    if len(labelled) < 2:
        sys.exit(f"{folder}: too few labelled frames to judge it by.")
    summary = json.loads((folder / "summary.json").read_text())
    law, before = tuned.calibration["energy"], untouched(tuned.potential, tuned.e0s)
    return {
        **{key: summary[key] for key in KEYS},
        "steps_per_update": config.tune.sampler.steps,
        "second_ps": 1e-3 * reached,
        "unlabelled": len(frames) - len(labelled),
        "errors": errors_of(tuned, before, law, config.target, labelled),
        "conformations": asked(folder, config),
    }


def _second(it: Run, config: RunConfig, tuned: Any, out: Path) -> tuple[list[Atoms], float]:
    """The second trajectory, computed once: it stands in ``out`` afterwards."""
    stem = f"frames-{it.frames}-{it.time.replace(' ', '')}-{it.second_seed}"
    path, stamp = out / f"{stem}.extxyz", out / f"{stem}.json"
    if not stamp.exists():
        out.mkdir(parents=True, exist_ok=True)
        asked_for = it.time or config.explore.time
        file = Path(it.folder) / "config.yaml"
        explorer = load(RunConfig, file, [f"explore.time={asked_for}"]).explore

        def answer(_: int, atoms: Atoms) -> Answer:
            stress = explorer.needs_stress
            mean = tuned.predict([atoms], stress=stress, spread="energy").mean
            return Answer(float(mean.energy[0]), mean.forces, mean.stress[0] if stress else None)

        seed = it.second_seed
        kept, reached = second(explorer, answer, it.frames, seed, [seed, 1])
        ase.io.write(path, kept, format="extxyz")
        stamp.write_text(json.dumps(reached))
    return ase.io.read(path, ":"), float(json.loads(stamp.read_text()))


# -------------------------------------------------------------------------- the table


def page(found: Found) -> str:
    """Every run and all together."""
    runs: list[Record] = found["runs"]
    each = [_concluded([run]) for run in runs] + [_concluded(runs)] * (len(runs) > 1)
    k, one = runs[0]["threshold_eV"], runs[0]
    limit = "" if k is None else f", K = {1e3 * k:.1f} meV"
    n = each[-1]["frames"]
    text = (
        f"{described(found)}.\n\nRuns: {', '.join(Path(r['folder']).name for r in runs)}; "
        f"{one['model']}, reference {one['reference']}, {one['members']} members × "
        f"{one['steps_per_update']} steps per label{limit}. {one['frames']} random frames of a "
        f"second trajectory each.\n\n{_table(runs, each)}\n\n"
        "Expected: a share over K of at most 5 % within its binomial error "
        f"({100 * (0.05 * 0.95 / n) ** 0.5:.1f} % for {n} frames), a coverage of 90 to 99 %, a "
        "ratio of at most 0.25. RMSEs of energies: each model's mean error removed, run by run; "
        "shares over K: not removed.\n"
    )
    if len(runs) > 1:
        text += (
            "\nThe second trajectories of all runs have the same momenta and noise, so that their "
            "frames are nearly the same structures: pooled binomial errors are too small.\n"
        )
    if missing := sum(r["unlabelled"] for r in runs):
        text += f"\n{missing} frames could not be labelled and are left out.\n"
    return text


def _concluded(runs: list[Record]) -> Record:
    turned = transitions([r["conformations"] for r in runs])
    return scores([r["errors"] for r in runs]) | {"transitions": turned}


def _table(runs: list[Record], each: list[Record]) -> str:
    def percent(value: tuple[float, float]) -> str:
        return "{:.1f} ± {:.1f} %".format(*(100 * v for v in value))

    def over(r: Record) -> str:
        return f"{r['interventions_over_threshold']} of {r['interventions']}"

    rows = [
        ["MD of the run, ps", *(f"{r['md_time_ps']:.2f}" for r in runs)],
        ["labels", *(str(r["labels"]) for r in runs)],
        ["over K when asked", *map(over, runs)],
        ["second trajectory, ps", *(f"{r['second_ps']:.2f}" for r in runs)],
        ["frames", *(str(s["frames"]) for s in each)],
    ]
    for title, key in (
        ("**share over K**", "over_threshold"),
        ("share over K, untuned", "untuned_over_threshold"),
        ("**coverage of the 95 % interval**", "coverage_95"),
    ):
        rows.append([title, *(percent(s[key]) for s in each)])
    for title, key in (
        ("energy RMSE, tuned, meV", "rmse_tuned_meV"),
        ("energy RMSE, untuned, meV", "rmse_untuned_meV"),
        ("mean energy error, tuned, meV", "mean_error_tuned_meV"),
        ("force RMSE, tuned, meV/Å", "force_rmse_tuned_meV_per_A"),
        ("force RMSE, untuned, meV/Å", "force_rmse_untuned_meV_per_A"),
    ):
        rows.append([title, *(f"{s[key]:.1f}" for s in each)])
    rows.append(["**energy RMSE, tuned / untuned**", *(f"{s['rmse_ratio']:.2f}" for s in each)])
    for name in ("gauche–anti", "gauche–gauche"):
        turns = [s["transitions"][name] for s in each]
        rows.append([f"{name}: share of time", *(f"{100 * t['time']:.0f} %" for t in turns)])
        rows.append([f"{name}: share of labels", *(percent(t["labels"]) for t in turns)])
    columns = ["", *(f"seed {r['seed']}" for r in runs), *["**pooled**"] * (len(runs) > 1)]
    return markdown(columns, [[*row, *[""] * (len(columns) - len(row))] for row in rows])


def options(add: Callable[..., Any]) -> None:
    add("--run", type=Path, nargs="+", default=[], help="folders of finished runs; else --seeds")
    add("--recipe", type=Path, default=RECIPE)
    add("--set", action="append", default=[], metavar="SETTING", help="of the runs to make")
    add("--reference", choices=list(REFERENCES), default="recipe", help="tblite: GFN1-xTB")
    add("--name", default="ethanol", help="of the runs to make")
    add("--frames", type=int, default=40, help="random frames of each second trajectory")
    add("--time", default="", help="of the second trajectory (default: the run's own), as '2 ps'")
    add("--second-seed", type=int, default=1000, help="of the second trajectories")


def plan(o: Options) -> list[Run]:
    how = (o.frames, o.time, o.second_seed)
    if len({folder.name for folder in o.run}) < len(o.run):
        sys.exit("--run: two folders of one name; rename one, results are kept by name.")
    if o.run:
        return [Run(str(folder.resolve()), -1, *how) for folder in o.run]
    return [Run(str(o.work / f"{o.name}-seed{seed}"), seed, *how) for seed in o.seeds]


BENCH = Bench(
    name="ethanol",
    packages=("torch", "mace-torch", "ase", "pyscf", "tblite", "tunesmith"),
    parts={
        "runs": Part(
            cell=Run,
            plan=plan,
            run=judge,
            # the demo's run takes 6 minutes, 40 DFT labels 4
            cost=lambda it, o: 30.0 if o.quick else 240 + 360 * (it.made >= 0),
            told=lambda r: f"{r['labels']} labels, {r['md_time_ps']:.2f} ps",
            conditions=lambda o: {"reference": o.reference, "set": o.set},
            ordered=True,
        )
    },
    options=options,
    quick={"reference": "tblite", "frames": 6, "seeds": [0, 1]},
    seeds=range(3),
    page=page,
)
