"""A whole fine-tuning, from files to a run folder; the same call resumes it."""

import json
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tunesmith import files, tensor_files
from tunesmith.calibrate.recalibrate import ONE_RECORD, facts_of, out_of_bag, recalibrated, said_of
from tunesmith.commands.training_data import Intake, align, examined, take_in
from tunesmith.commands.write_model import write_model
from tunesmith.config import TuneConfig
from tunesmith.contracts import Posterior, Spread
from tunesmith.core import Members
from tunesmith.engines.processes import executor
from tunesmith.errors import RunFolderError
from tunesmith.posterior.ensemble import Ensemble, posterior_of
from tunesmith.report import calibration_plot
from tunesmith.report.evaluate import evaluate
from tunesmith.report.plots import learning_curves
from tunesmith.report.tables import comparison_table
from tunesmith.run_folder import seal, stamp
from tunesmith.tune.adamw_fit import STATE
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.problem import Fit, Problem, Report

CHECKPOINT = "checkpoint"


def fine_tune(
    config: TuneConfig, out: str | Path, console: Console | None = None
) -> dict[str, Any]:
    """Fine-tune as ``config`` says, into the folder ``out``; returns the run's summary.

    The folder then holds final.model (the model package's own format), members/, config.yaml,
    summary.json, learning_curves.png and, where error bars follow a power law, calibration.png.
    What happens is said on ``console``, stderr where none is given.
    Called again it resumes, to the bit at the same number of threads, or, when finished, only
    returns the summary.

    Raises `DataError`, `ModelError` and their kin before anything is written, and
    `RunFolderError` for a folder that belongs to another configuration or other data.
    """
    out = Path(out)
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    torch.set_num_threads(config.execute.threads)
    started = time.monotonic()
    stamp.stored(out, config, [""])  # of another kind, or damaged: before all the reading
    given = take_in(config, console)
    config, tune = given.config, given.config.tune
    known = stamp.stored(out, config, config.MAY_CHANGE)
    if known is not None:
        stamp.require_same(out, known["identity"], given.identity)
        done = stamp.summary(out, config, known["config"])
        if done is not None and seal.intact(out):
            console.print(f"{out} is finished; nothing to do.")
            return done
    look_at = examined(given, console)
    problem = _problem(given, out, console)
    tune.sampler.check(problem)
    with stamp.alone(out):
        seal.put_aside(out, console.print)
        stamp.claim(out, config, given.identity)
        summary = _learn(given, problem, out, console)
        summary |= {
            "doctor": look_at,
            "seconds_of_last_session": round(time.monotonic() - started, 1),
            "tunesmith": version("tunesmith"),
            "torch": torch.__version__,
        }
        text = json.dumps(summary, indent=1, ensure_ascii=False)
        files.write_text(out / "summary.json", text + "\n")
        seal.seal(out)
    return summary


def _problem(given: Intake, out: Path, console: Console) -> Problem:
    """What is to be fitted; refuses what can be refused before anything is written."""
    config, start, tune = given.config, given.start, given.config.tune
    e0s = align(tune.e0, start, given.train, given.isolated, fresh=tune.subspace.fresh)
    console.print(e0s.reason)
    for state in (out / CHECKPOINT).rglob(STATE):
        # a damaged one is refused before anything is written, and so are fewer epochs than done
        done = len(tensor_files.read(state)[1].get("history", ()))
        most = tune.sampler.epochs_for(len(given.train))
        if most is not None and done > most:
            raise RunFolderError(
                f"{out} has {done} epochs behind it; set tune.sampler.epochs to as many or more, "
                "or choose another folder."
            )
    anchor, replayed = tune.anchor, given.replayed
    # so is a rank or a block that the model does not have, and replay that would hold nothing
    at = pretrained(start.potential, tune.subspace, config.seed)
    Coordinates(start.potential, tune.subspace, at, replay=bool(replayed))
    replay = anchor.replay(start.potential, replayed, tune.loss) if replayed else None
    if replay:
        console.print(replay.reason)
    return Problem(
        start.potential,
        tune.subspace,
        anchor,
        tune.loss,
        given.train,
        given.valid,
        e0s,
        config.seed,
        replay,
    )


def _learn(given: Intake, problem: Problem, out: Path, console: Console) -> dict[str, Any]:
    """Fit, write what came of it, and say how much better it is."""
    config, sampler = given.config, given.config.tune.sampler
    train, valid, e0s = problem.train, problem.valid, problem.e0s
    epochs = sampler.epochs_for(len(train)) is not None and not sampler.splits
    use = "choose the best epoch" if epochs else "recalibrate error bars"
    console.print(f"{len(train)} structures to learn from, {len(valid)} to {use}")
    with executor(config.execute.processes, config.execute.threads) as pool:
        fit = sampler.fit(problem, out / CHECKPOINT, console.print, pool)
    console.print(fit.finished)
    spread, law = config.tune.spread, config.calibrate
    tuned, chosen = _finish(out, problem, fit, spread, law, console)
    untuned = Ensemble(problem.potential, given.start.weights, e0s)
    partial = config.forces_only
    before = evaluate(untuned, valid or train, partial=partial).summary()
    after = evaluate(tuned, valid or train, partial=partial).summary()
    where = "validation" if valid else "training"
    console.print(comparison_table(before, after, title=f"Errors on the {where} structures"))
    if worse := _worse(before, after):
        console.print(worse)
    return {
        "model": config.model.source,
        "strategy": config.strategy,
        "remarks": [*given.remarks, *([worse] if worse else [])],
        "n_train": len(train),
        "n_valid": len(valid),
        "n_replay": len(given.replayed),
        "e0": {"method": e0s.method, "reason": e0s.reason},
        "members": len(tuned.members),
        **fit.details,
        "stopped": fit.finished,
        "calibration": facts_of(tuned.calibration),
        "judged_on": where,
        "before": before,
        "after": after,
        "final_model": str(out / "final.model"),
        "final_model_is": chosen,
    }


def _worse(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What the tuned model errs more by than the untuned one did, as a sentence."""
    keys = {
        "energy_mae_meV_per_atom": "energies, MAE {:.3g} → {:.3g} meV/atom",
        "force_mae_meV_per_A": "forces, MAE {:.3g} → {:.3g} meV/Å",
    }
    pairs = {text: (before.get(key), after.get(key)) for key, text in keys.items()}
    said = [
        text.format(old, new)
        for text, (old, new) in pairs.items()
        if old is not None and new is not None and new > old
    ]
    if not said:
        return None
    return (
        f"The tuned model errs more than before ({'; '.join(said)}): look at the labels "
        "(tunesmith doctor), give more, or train otherwise (tunesmith strategies)."
    )


# ---------------------------------------------------------------------------- what comes out


def members_of(
    problem: Problem, fit: Fit, spread: Spread, law: Any = ONE_RECORD, say: Report | None = None
) -> Members:
    """What was fitted as members; where they have a spread, recalibrated on ``problem.valid``.

    Where there is none, out of the bag of what the fit says was never seen. law: what is believed
    of error bars before. say: takes a line on each quantity.
    """
    potential = problem.potential
    members = Members(
        potential.base,
        potential.weights(),
        problem.subspace,
        fit.moved,
        problem.e0s,
        fit.replay,
        fit.noise,
        fit.noise_scale,
    )
    members = replace(members, closed=spread.fitted(potential, members, problem.train))
    posterior = posterior_of(potential, members)
    if not posterior.judged:
        return members
    unseen = fit.details.get("out_of_bag")
    if problem.valid or unseen is None or not spread.out_of_bag:
        laws = recalibrated(posterior, problem.valid, law)
    else:
        laws = out_of_bag(posterior, problem.train, unseen, law)
    if say:
        for line in said_of(laws):
            say(line)
    return replace(members, calibration=laws)


def _finish(
    out: Path, problem: Problem, fit: Fit, spread: Spread, law: Any, console: Console
) -> tuple[Posterior, str]:
    """Write members, models and pictures; the posterior, and whose weights final.model has."""
    potential, members = problem.potential, members_of(problem, fit, spread, law, console.print)
    judges = [frame.atoms for frame in problem.valid or problem.train]
    chosen = write_model(out, problem, members, judges)
    learning_curves(fit.histories, out / "learning_curves.png")
    for name, where in calibration_plot.row(out):
        console.print(f"{name}: {where}")
    return posterior_of(potential, members), chosen
