"""Posteriors on a fixed data set, against the number of training frames.

After the on-the-fly paper's appendix A: one long cyclical chain and parallel chains with the prior
at the pretrained weights, the same chain from random weights with the prior N(0, I), and a deep
ensemble from scratch. Each gets the same number of gradients; error bars are recalibrated on
validation frames. Chains also predict noise, which the ensembles do not: their spreads are told
with it and without. Every seed splits the data anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from bench.runner.parts import Bench, Found, Named, Options, Part, Record
from bench.runner.tables import described, grouped, markdown, mean_error
from bench.shared.data_sets import drawn, labelled, put
from bench.shared.training import ALONE, BATCH, aligned, tuned, untouched
from tunesmith import TuneConfig, evaluate
from tunesmith.calibrate import scores
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.recalibrate import BY_MEMBERS, recalibrated
from tunesmith.core import Frame
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo

SETS = ("ethanol", "acac")
#: eV/Å; a force component that is more wrong than 1 kcal/mol/Å
LARGE = 0.04336
#: belief before the validation frames are seen → GammaCalibration's a, b
PRIORS = {"one record": (1.5, 0.5), "largest likelihood": (1 + 1e-9, 1e-9), "loop's": (1.5, 10.0)}
NAMES = {
    "cyclical": "cyclical chain, prior at pretrained",
    "parallel": "parallel chains, prior at pretrained",
    "scratch": "cyclical chain, N(0, I), random start",
    "ensemble": "deep ensemble from scratch",
}


UNTUNED = "untuned"


@dataclass(frozen=True)
class Fit(Named):
    """One posterior, or the `UNTUNED` model with E0s of these frames. frames: of training; valid:
    that recalibrate; test: that judge."""

    set: str
    method: str
    frames: int
    members: int
    steps: int
    valid: int
    test: int
    seed: int


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


def fitted(it: Fit, options: Options) -> Record:
    """One posterior: its cost and scores."""
    frames = labelled(options.data, it.set)
    test, valid, train = drawn(frames, [it.test, it.valid, it.frames], it.set, it.seed)
    if it.method == UNTUNED:
        potential = zoo.load("organic-xs")
        return errors(untouched(potential, aligned(potential, train)), test)
    out = options.work / it.name
    files = {"train": train, "valid": valid[:5]}  # few: an ensemble looks at them every epoch
    paths = {k: str(put(out.with_name(f"{it.name}-{k}.xyz"), f)) for k, f in files.items()}
    random = it.method in ("scratch", "ensemble")
    e0: dict[str, Any] = {"e0": {"method": "average" if random else "reestimate"}}
    config = TuneConfig(
        model={"source": "organic-xs"},
        data={"train": [paths["train"]], "valid": paths["valid"]},
        tune=e0 | method(it.method, it.members, it.steps, it.frames),
        seed=it.seed,
        execute=ALONE,
    )
    spent = tuned(config, out)
    potential, members = members_file.load(out, dtype="float32", device="cpu")
    posterior = Ensemble.of(potential, replace(members, calibration={}))
    return {"cpu_s": spent["cpu_fit"], **errors(posterior, test), **judged(posterior, valid, test)}


def errors(posterior: Any, test: list[Frame]) -> Record:
    raw = evaluate(posterior, test)
    return {
        "energy_rmse_meV": 1e3 * scores.rmse(raw.energy.error),
        "force_rmse_meV_per_A": 1e3 * scores.rmse(raw.forces.error),
    }


def judged(posterior: Any, valid: list[Frame], test: list[Frame]) -> dict[str, Any]:
    """Scores on the test frames, and of the recalibrated spread under several priors and
    numbers of validation frames."""
    raw = evaluate(posterior, test)
    energy, forces = raw.energy, raw.forces
    # what members' force components differ by, eV/Å, noise left out
    each = [posterior.predict([f.atoms]).var_model.forces for f in test]
    differing = np.sqrt(np.concatenate(each))
    found: dict[str, Any] = {
        "large": float(np.mean(np.abs(forces.error) > LARGE)),
        "auc_roc": scores.auc_roc(forces.std, np.abs(forces.error) > LARGE),
        "spearman": scores.spearman(forces.std, forces.error),
        "rms_std_meV_per_A": 1e3 * scores.rmse(forces.std),
        "rms_members_meV_per_A": 1e3 * scores.rmse(differing),
        "priors": [],
    }
    for n in (5, len(valid)):
        for name, (a, b) in PRIORS.items():
            laws = recalibrated(posterior, valid[:n], GammaCalibration(a, b))
            std = {q: laws[q].std(getattr(raw, q).std) for q in ("energy", "forces")}
            told = {"prior": name, "valid": n}
            told["members_factor"] = float(laws.get(BY_MEMBERS, laws["forces"]).std(1.0))
            for q, of, errors in (("force", "forces", forces), ("energy", "energy", energy)):
                told[f"{q}_factor"] = float(laws[of].std(1.0))
                told[f"{q}_mll"] = -scores.gaussian_nll(errors.error, std[of])
                told[f"{q}_coverage_90"] = scores.coverage(errors.error, std[of], 0.9)
            found["priors"].append(told)
    return found


# ------------------------------------------------------------------------------- the table

BEFORE = ("prior", "validation frames", "energy", "worst", "forces", "worst")


def page(found: Found) -> str:
    """Everything as Markdown."""
    fits = [fit for fit in found["fits"] if fit["method"] != UNTUNED]
    before = [fit for fit in found["fits"] if fit["method"] == UNTUNED]
    said = (
        "; ".join(
            "{energy_rmse_meV:.1f} meV, {force_rmse_meV_per_A:.0f} meV/Å".format(**f)
            for f in before
        )
        or "–"
    )
    o = found["fits"][0]
    known = sorted(fits, key=lambda f: (f["frames"], list(NAMES).index(f["method"])))
    groups = grouped(known, lambda f: (f["frames"], f["method"]))
    rows = [p for fit in fits if fit["method"] != "scratch" for p in fit["priors"]]
    beliefs = grouped(rows, lambda p: (p["valid"], p["prior"]))
    return (
        f"{described(found)}; one thread.\n\n{o['set']}; organic-xs, {o['members']} members, "
        f"{o['steps']} gradients of {BATCH} structures for each posterior; "
        f"{len({f['seed'] for f in fits})} seeds, each with frames of its own: means and their "
        f"standard errors. {o['valid']} validation frames recalibrate, {o['test']} test frames "
        "judge. MLL: mean log-likelihood of a force component (eV/Å, nats); AUC-ROC: of its σ for "
        "an error over 1 kcal/mol/Å. Error / σ: rms over rms on test frames, of the whole spread "
        "and of that of members alone, which is the same where no noise is predicted; widened by: "
        f"what recalibration makes of either. Untuned: {said}.\n\n"
        f"{markdown(COLUMNS, [_row(*key, own) for key, own in groups.items()])}\n\n"
        "## Belief before the validation frames\n\n"
        "Mean log-likelihood over the posteriors above but the chain from random weights (energy "
        "in eV, nats; force components in eV/Å, nats), and the worst of them.\n\n"
        f"{markdown(BEFORE, [_belief(*key, own) for key, own in sorted(beliefs.items())])}\n"
    )


COLUMNS = (
    *("training frames", "posterior", "energy RMSE (meV)", "force RMSE (meV/Å)", "MLL", "AUC-ROC"),
    *("error / σ", "the same by members", "widened by", "by members", "90 % interval holds"),
    "CPU s",
)


def _row(n: int, name: str, fits: list[Record]) -> list[str]:
    # by all validation frames, from the belief that `tune` has
    own = [
        next(p for p in fit["priors"] if p["prior"] == "one record" and p["valid"] > 5)
        for fit in fits
    ]
    errors = [fit["force_rmse_meV_per_A"] for fit in fits]

    def over(key: str) -> str:
        return mean_error([e / fit[key] for e, fit in zip(errors, fits, strict=True)], ".2f")

    return [
        *(str(n), NAMES[name]),
        mean_error(fit["energy_rmse_meV"] for fit in fits),
        mean_error(errors),
        mean_error([p["force_mll"] for p in own], ".2f"),
        mean_error([fit["auc_roc"] for fit in fits], ".3f"),
        *(over("rms_std_meV_per_A"), over("rms_members_meV_per_A")),
        *(mean_error([p[k] for p in own], ".2f") for k in ("force_factor", "members_factor")),
        f"{100 * np.mean([p['force_coverage_90'] for p in own]):.0f} %",
        f"{np.mean([fit['cpu_s'] for fit in fits]):.0f}",
    ]


def _belief(n: int, prior: str, own: list[Record]) -> list[str]:
    values = [[p[k] for p in own] for k in ("energy_mll", "force_mll")]
    told = [f"{v:.2f}" for of in values for v in (np.mean(of), min(of))]
    return [prior, str(n), *told]


def options(add: Callable[..., Any]) -> None:
    add("--set", choices=SETS, default="ethanol")
    add("--methods", nargs="+", choices=list(NAMES), default=list(NAMES))
    add("--frames", type=int, nargs="+", default=[10, 25, 50, 100], help="of training")
    add("--members", type=int, default=4)
    add("--steps", type=int, default=800, help="gradients of each posterior")
    add("--valid", type=int, default=20, help="frames that recalibrate")
    add("--test", type=int, default=100, help="frames that judge")


def plan(o: Options) -> list[Fit]:
    how = (o.members, o.steps, o.valid, o.test)
    found = [Fit(o.set, UNTUNED, 10, *how, o.seeds[0])]
    every = product(o.seeds, o.frames, o.methods)
    return found + [Fit(o.set, name, n, *how, seed) for seed, n, name in every]


BENCH = Bench(
    name="posterior",
    packages=("torch", "mace-torch", "tunesmith"),
    parts={
        "fits": Part(
            cell=Fit,
            plan=plan,
            run=fitted,
            cost=lambda it, _: 15 + (it.method != UNTUNED) * 0.025 * it.steps,
        )
    },
    options=options,
    data=True,
    quick={"frames": [5], "steps": 80, "members": 2, "valid": 6, "test": 10},
    seeds=[0],
    page=page,
)
