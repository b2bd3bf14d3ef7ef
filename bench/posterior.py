"""Posteriors on a fixed data set, against the number of training frames.

    python bench/posterior.py --data DIR [--set ethanol] [--seeds 0 1 2] [--quick] [--json FILE]

After the on-the-fly paper's appendix A: one long cyclical chain and parallel chains with the prior
at the pretrained weights, the same chain from random weights with the prior N(0, I), and a deep
ensemble from scratch. Each gets the same number of gradients; error bars are recalibrated on
validation frames. Chains also predict noise, which the ensembles do not: their spreads are told
with it and without. Every seed splits the data anew. Finished fits are kept below --work, so that
the same command goes on.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import measure

HERE = Path(__file__).resolve().parent
SETS = {"ethanol": "ethanol/train.xyz", "acac": "acac/train_300K.xyz"}
#: eV/Å; a force component that is more wrong than 1 kcal/mol/Å
LARGE = 0.04336
BATCH = 5
#: belief before the validation frames are seen → GammaCalibration's a, b
PRIORS = {"one record": (1.5, 0.5), "largest likelihood": (1 + 1e-9, 1e-9), "loop's": (1.5, 10.0)}
NAMES = {
    "cyclical": "cyclical chain, prior at pretrained",
    "parallel": "parallel chains, prior at pretrained",
    "scratch": "cyclical chain, N(0, I), random start",
    "ensemble": "deep ensemble from scratch",
}


def method(name: str, members: int, steps: int, n: int) -> dict[str, dict[str, Any]]:
    """Sections of a configuration for ``n`` training frames; steps: gradients of each posterior."""
    converge = steps // 2
    cycle = (steps - converge) // members
    epochs = max(1, round(steps / members / -(-n // BATCH)))
    chain = {"kind": "cyclical", "members": members, "converge": converge, "cycle": cycle}
    posterior = {
        "subspace": {"kind": "all"},
        "anchor": {"kind": "gaussian"},
        "loss": {"kind": "gaussian"},
        "sampler": chain | {"batch_size": BATCH},
    }
    random = {"kind": "all", "initial": "random"}
    if name == "cyclical":
        return posterior
    if name == "parallel":
        each = {"members": members, "steps": steps // members, "learning_rate": 2e-3}
        return posterior | {"sampler": {"kind": "sghmc", "batch_size": BATCH} | each}
    if name == "scratch":
        return posterior | {
            "subspace": random,
            "anchor": {"kind": "gaussian", "mean": "zero", "sigma": 1.0},
            "sampler": posterior["sampler"]
            | {"learning_rate": 1e-2, "last_rate": 1e-3, "cycle_rate": 2e-3},
        }
    # the paper's: AMSGrad, the step size falling; Table 7's rate for training from scratch
    adam = {"learning_rate": 1e-2, "ema": 0.99, "clip": 10.0, "amsgrad": True, "schedule": "cosine"}
    course = {"epochs": epochs, "patience": epochs, "batch_size": BATCH}
    fits = {"kind": "committee", "members": members, "vary": "seeds"}
    return {
        "subspace": random,
        "anchor": {"kind": "none"},
        "loss": {"kind": "huber"},
        "sampler": fits | adam | course,
    }


def split(options: argparse.Namespace, seed: int) -> dict[str, list[Any]]:
    """Random parts of a data set: test, valid, and train, of which the first N are taken."""
    from tunesmith.data.formats import read_frames

    frames, _ = read_frames(options.data / SETS[options.set])
    frames = [frame for frame in frames if len(frame.atoms) > 1]
    order = np.random.default_rng(seed).permutation(len(frames))
    test, valid = options.test, options.test + options.valid
    most = valid + max(options.frames)
    parts = {"test": order[:test], "valid": order[test:valid], "train": order[valid:most]}
    return {name: [frames[i] for i in rows] for name, rows in parts.items()}


def aligned(potential: Any, frames: list[Any], *, taught: bool) -> Any:
    """E0s: re-estimated with the pretrained model, or by composition alone without one."""
    from tunesmith.core import E0s
    from tunesmith.data.e0 import choose_e0s
    from tunesmith.posterior.ensemble import Ensemble

    if not taught:
        return choose_e0s("average", frames=frames, foundation=potential.e0s)
    foundation = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    energies = foundation.predict([f.atoms for f in frames], spread="energy").mean.energy
    return choose_e0s("reestimate", frames=frames, foundation=potential.e0s, predicted=energies)


def fitted(
    potential: Any, parts: dict[str, Any], name: str, n: int, seed: int, o: Any
) -> dict[str, Any]:
    """One posterior: its cost and scores."""
    from tunesmith.core import Members, Settings
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.settings import build
    from tunesmith.tune.problem import Problem

    sections = method(name, o.members, o.steps, n)
    made: dict[str, Any] = {k: build(Settings, v, f"tune.{k}") for k, v in sections.items()}
    sampler, train = made.pop("sampler"), parts["train"][:n]
    e0s = aligned(potential, train, taught=name not in ("scratch", "ensemble"))
    best_epoch = parts["valid"][:5]  # few: an ensemble looks at them after every epoch
    problem = Problem(
        potential=potential, train=train, valid=best_epoch, e0s=e0s, seed=seed, **made
    )
    clock, cpu = time.perf_counter(), time.process_time()
    fit = sampler.fit(problem, None, _say)
    spent = {"wall_s": time.perf_counter() - clock, "cpu_s": time.process_time() - cpu}
    members = Members(
        potential.base, potential.weights(), problem.subspace, fit.moved, e0s, {}, fit.noise,
        fit.noise_scale,
    )  # fmt: skip
    found = judged(Ensemble.of(potential, members), parts["valid"], parts["test"])
    about = {"method": name, "frames": n, "seed": seed}
    return {**about, **spent, **found, "details": fit.details}


def judged(posterior: Any, valid: list[Any], test: list[Any]) -> dict[str, Any]:
    """Errors on the test frames, and scores of the recalibrated spread under several priors and
    numbers of validation frames."""
    from tunesmith.calibrate import scores
    from tunesmith.calibrate.gamma import GammaCalibration
    from tunesmith.calibrate.recalibrate import BY_MEMBERS, recalibrated
    from tunesmith.report.evaluate import evaluate

    raw = evaluate(posterior, test)
    energy, forces = raw.energy, raw.forces
    found: dict[str, Any] = {
        "energy_rmse_meV": 1e3 * scores.rmse(energy.error),
        "force_rmse_meV_per_A": 1e3 * scores.rmse(forces.error),
        "large": float(np.mean(np.abs(forces.error) > LARGE)),
        "auc_roc": scores.auc_roc(forces.std, np.abs(forces.error) > LARGE),
        "spearman": scores.spearman(forces.std, forces.error),
        "rms_std_meV_per_A": 1e3 * scores.rmse(forces.std),
        "rms_members_meV_per_A": 1e3 * scores.rmse(by_members(posterior, test)),
        "priors": [],
    }
    for n in (5, len(valid)):
        for name, (a, b) in PRIORS.items():
            laws = recalibrated(posterior, valid[:n], GammaCalibration(a, b))
            std = {q: laws[q].std(getattr(raw, q).std) for q in ("energy", "forces")}
            found["priors"].append(
                {
                    "prior": name,
                    "valid": n,
                    "force_factor": float(laws["forces"].std(1.0)),
                    "members_factor": float(laws.get(BY_MEMBERS, laws["forces"]).std(1.0)),
                    "energy_factor": float(laws["energy"].std(1.0)),
                    "force_mll": -scores.gaussian_nll(forces.error, std["forces"]),
                    "energy_mll": -scores.gaussian_nll(energy.error, std["energy"]),
                    "force_coverage_90": scores.coverage(forces.error, std["forces"], 0.9),
                    "energy_coverage_90": scores.coverage(energy.error, std["energy"], 0.9),
                }
            )
    return found


def by_members(posterior: Any, frames: list[Any]) -> Any:
    """What members' force components differ by, eV/Å, noise left out."""
    found = [posterior.predict([f.atoms]).var_model.forces for f in frames]
    return np.sqrt(np.concatenate(found))


def untuned(potential: Any, parts: dict[str, Any]) -> dict[str, float]:
    """Errors of the foundation model, energies aligned on the first ten training frames."""
    from tunesmith.calibrate import scores
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.report.evaluate import evaluate

    e0s = aligned(potential, parts["train"][:10], taught=True)
    raw = evaluate(Ensemble(potential, [potential.weights()], e0s), parts["test"])
    return {
        "energy_rmse_meV": 1e3 * scores.rmse(raw.energy.error),
        "force_rmse_meV_per_A": 1e3 * scores.rmse(raw.forces.error),
    }


# ------------------------------------------------------------------------------- the table


def table(result: dict[str, Any]) -> str:
    """Everything as Markdown."""
    o, m = result["options"], result["machine"]
    lines = [
        f"# Posteriors on a fixed data set: {o['set']}",
        "",
        ", ".join(f"{k} {v}" for k, v in m.items()) + "; one thread.",
        "",
        f"`bench/posterior.py`; organic-xs, {o['members']} members, {o['steps']} gradients of "
        f"{BATCH} structures for each posterior; {len(o['seeds'])} seeds, each with frames of its "
        f"own: means and their standard errors. {o['valid']} validation frames recalibrate, "
        f"{o['test']} test frames judge. MLL: mean log-likelihood of a force component (eV/Å, "
        "nats); AUC-ROC: of its σ for an error over 1 kcal/mol/Å. Error / σ: rms over rms on test "
        "frames, of the whole spread and of that of members alone, which is the same where no "
        "noise is predicted; widened by: what recalibration makes of either. Untuned: "
        f"{result['untuned']['energy_rmse_meV']:.1f} meV, "
        f"{result['untuned']['force_rmse_meV_per_A']:.0f} meV/Å.",
        "",
        "| training frames | posterior | energy RMSE (meV) | force RMSE (meV/Å) | MLL | AUC-ROC | "
        "error / σ | the same by members | widened by | by members | 90 % interval holds | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for fit in sorted(result["fits"], key=lambda f: (f["frames"], list(NAMES).index(f["method"]))):
        groups.setdefault((fit["frames"], fit["method"]), []).append(fit)
    for (n, name), fits in groups.items():
        own = [_recalibrated(fit) for fit in fits]
        errors = [fit["force_rmse_meV_per_A"] for fit in fits]
        cells = [
            str(n),
            NAMES[name],
            _mean([fit["energy_rmse_meV"] for fit in fits], 1),
            _mean(errors, 1),
            _mean([p["force_mll"] for p in own], 2),
            _mean([fit["auc_roc"] for fit in fits], 3),
            *(
                _mean([e / fit[key] for e, fit in zip(errors, fits, strict=True)], 2)
                for key in ("rms_std_meV_per_A", "rms_members_meV_per_A")
            ),
            *(_mean([p[key] for p in own], 2) for key in ("force_factor", "members_factor")),
            f"{100 * np.mean([p['force_coverage_90'] for p in own]):.0f} %",
            f"{np.mean([fit['cpu_s'] for fit in fits]):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## Belief before the validation frames",
        "",
        "Mean log-likelihood over the posteriors above but the chain from random weights (energy "
        "in eV, nats; force components in eV/Å, nats), and the worst of them.",
        "",
        "| prior | validation frames | energy | worst | forces | worst |",
        "|---|---|---|---|---|---|",
    ]
    rows = [p for fit in result["fits"] if fit["method"] != "scratch" for p in fit["priors"]]
    for n in sorted({p["valid"] for p in rows}):
        for name in PRIORS:
            own = [p for p in rows if p["prior"] == name and p["valid"] == n]
            e, f = ([p[k] for p in own] for k in ("energy_mll", "force_mll"))
            lines.append(
                f"| {name} | {n} | {np.mean(e):.2f} | {min(e):.2f} | {np.mean(f):.2f} | "
                f"{min(f):.2f} |"
            )
    return "\n".join(lines) + "\n"


def _recalibrated(fit: dict[str, Any]) -> dict[str, Any]:
    """By all validation frames, from the belief that `tune` has."""
    return next(p for p in fit["priors"] if p["prior"] == "one record" and p["valid"] > 5)


def _mean(values: list[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds ethanol/ and acac/")
    add("--set", choices=list(SETS), default="ethanol")
    add("--quick", action="store_true", help="about a minute: 40 gradients, 5 frames")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="write the table to this file")
    add("--work", type=Path, help="keep finished fits here, and go on from them")
    add("--methods", nargs="+", choices=list(NAMES), default=list(NAMES))
    add("--frames", type=int, nargs="+", default=[10, 25, 50, 100], help="of training")
    add("--members", type=int, default=4)
    add("--steps", type=int, default=800, help="gradients of each posterior")
    add("--valid", type=int, default=20)
    add("--test", type=int, default=100)
    add("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if options.quick:
        options.frames, options.steps, options.members = [5], 80, 2
        options.valid, options.test = 6, 10
    return options


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Every method at every number of frames."""
    options = _options()
    import torch

    from tunesmith.potentials import zoo

    torch.set_num_threads(1)
    potential, fits = zoo.load("organic-xs"), []
    for seed, n, name in itertools.product(options.seeds, options.frames, options.methods):
        parts = split(options, seed)
        about = (options.set, name, n, options.members, options.steps, options.valid, options.test)
        file = "-".join(map(str, (*about, seed))) + ".json"
        kept = options.work and options.work / file
        if kept and kept.exists():
            fits.append(json.loads(kept.read_text()))
            continue
        print(f"seed {seed}, {n} frames: {NAMES[name]} …", file=sys.stderr, flush=True)
        fits.append(fitted(potential, parts, name, n, seed, options))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(fits[-1], indent=1))
    shown = ("set", "members", "steps", "valid", "test", "seeds")
    result = {
        "options": {k: getattr(options, k) for k in shown},
        "machine": measure.machine(("torch", "mace-torch", "tunesmith")),
        "untuned": untuned(potential, split(options, options.seeds[0])),
        "fits": fits,
    }
    measure.told(options, table(result), result)


if __name__ == "__main__":
    main()
