"""A whole fine-tuning, from files to a run folder; the same call resumes it."""

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from tunesmith import files
from tunesmith.config import E0Settings, TuneConfig
from tunesmith.core import E0s, Frame, Members
from tunesmith.data import checks
from tunesmith.data.e0 import choose_e0s, needs_prediction
from tunesmith.data.formats import read_frames
from tunesmith.engines.processes import executor
from tunesmith.errors import DataError
from tunesmith.potentials import zoo
from tunesmith.report.evaluate import evaluate
from tunesmith.report.plots import learning_curves
from tunesmith.report.tables import comparison_table
from tunesmith.tune import folder
from tunesmith.tune import members as members_file
from tunesmith.tune.adamw import STATE
from tunesmith.tune.coordinates import pretrained
from tunesmith.tune.problem import Fit, Problem
from tunesmith.uncertainty.ensemble import Ensemble
from tunesmith.uncertainty.export import export

CHECKPOINT = "checkpoint"
#: structures that decide which weights stand for several members
_JUDGES = 20


def fine_tune(
    config: TuneConfig, out: str | Path, console: Console | None = None
) -> dict[str, Any]:
    """Fine-tune as ``config`` says, into the folder ``out``; returns the run's summary.

    The folder then holds final.model (the model package's own format), members/, config.yaml,
    summary.json and learning_curves.png. Called again it resumes, to the bit at the same number
    of threads, or, when finished, only returns the summary.

    Raises `DataError`, `ModelError` and their kin before anything is written, and
    `RunFolderError` for a folder that belongs to another configuration or other data.
    """
    out = Path(out)
    console = console or Console(stderr=True, quiet=True)
    torch.set_num_threads(config.execute.threads)
    started = time.monotonic()
    known = folder.stored(out, config, config.MAY_CHANGE)
    train, valid, isolated = _frames(config, console)
    start = _open(config)
    for part in (train, valid):
        checks.require_labels(part, start.potential.elements)
    replayed = config.tune.anchor.select(start.potential, train, config.seed)
    identity = folder.identity(start.potential, train + valid + isolated + replayed)
    if known is not None:
        folder.require_same(out, known["identity"], identity)
        if (done := folder.summary(out, config, known["config"])) is not None:
            console.print(f"{out} is finished; nothing to do.")
            return done
    e0s = align(config.tune.e0, start, train, isolated)
    console.print(e0s.reason)
    for state in (out / CHECKPOINT).rglob(STATE):
        files.read_tensors(state)  # a damaged one is refused before anything is written
    # so is a rank or a block that the model does not have
    pretrained(start.potential, config.tune.subspace, config.seed)
    anchor = config.tune.anchor
    replay = anchor.replay(start.potential, replayed, config.tune.loss) if replayed else None
    if replay:
        console.print(replay.reason)
    folder.claim(out, config, identity)
    problem = Problem(
        start.potential,
        config.tune.subspace,
        anchor,
        config.tune.loss,
        train,
        valid,
        e0s,
        config.seed,
        replay,
    )
    console.print(f"{len(train)} structures to learn from, {len(valid)} to choose the best epoch")
    with executor(config.execute.processes, config.execute.threads) as pool:
        fit = config.tune.sampler.fit(problem, out / CHECKPOINT, console.print, pool)
    console.print(fit.finished)
    tuned, chosen = _finish(out, problem, fit)
    before = evaluate(Ensemble(start.potential, start.weights, e0s), valid or train).summary()
    after = evaluate(tuned, valid or train).summary()
    where = "validation" if valid else "training"
    console.print(comparison_table(before, after, title=f"Errors on the {where} structures"))
    summary = {
        "model": config.model.source,
        "n_train": len(train),
        "n_valid": len(valid),
        "e0": {"method": e0s.method, "reason": e0s.reason},
        "members": len(tuned),
        "n_replay": len(replayed),
        **fit.details,
        "stopped": fit.finished,
        "judged_on": where,
        "before": before,
        "after": after,
        "final_model": str(out / "final.model"),
        "final_model_is": chosen,
        "seconds_of_last_session": round(time.monotonic() - started, 1),
        "tunesmith": version("tunesmith"),
        "torch": torch.__version__,
    }
    files.write_text(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


# ------------------------------------------------------------------------ what goes in


def _frames(config: TuneConfig, console: Console) -> tuple[list[Frame], list[Frame], list[Frame]]:
    """Training, validation and isolated-atom frames."""
    data = config.data

    def read(name: str) -> list[Frame]:
        frames, used = read_frames(
            name,
            energy_key=data.energy_key,
            forces_key=data.forces_key,
            stress_key=data.stress_key,
        )
        console.print(f"{name}: {len(frames)} structures; {used}")
        return frames

    train, isolated = checks.separate_isolated([f for name in data.train for f in read(name)])
    if not train:
        raise DataError("the training files hold only isolated atoms; add structures to learn.")
    if data.valid is not None:
        valid, _ = checks.separate_isolated(read(data.valid))
        if not valid:
            raise DataError(f"{data.valid} holds only isolated atoms; give structures or leave it.")
    else:
        train, valid = checks.split(train, data.valid_fraction, np.random.default_rng(config.seed))
    return train, valid, isolated


def _open(config: TuneConfig) -> Ensemble:
    """The foundation model; a run folder stands for its final.model."""
    model = config.model
    potential = zoo.load(model.source, head=model.head, dtype=model.dtype, device=model.device)
    return Ensemble(potential, [potential.weights()], E0s(potential.e0s))


def align(settings: E0Settings, start: Ensemble, train: list[Frame], isolated: list[Frame]) -> E0s:
    """The isolated-atom energies of a model tuned from ``start``."""
    predicted = None
    if needs_prediction(settings.method, train, isolated):
        chunks = [train[i : i + 8] for i in range(0, len(train), 8)]
        parts = [start.predict([f.atoms for f in chunk]).mean.energy for chunk in chunks]
        predicted = np.concatenate(parts)
    return choose_e0s(
        settings.method,
        frames=train,
        isolated=isolated,
        foundation=start.e0s.values,
        predicted=predicted,
        table=settings.table,
    )


# ---------------------------------------------------------------------------- what comes out


def _finish(out: Path, problem: Problem, fit: Fit) -> tuple[Ensemble, str]:
    """Write members, models and pictures; the posterior, and whose weights final.model has."""
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
    members_file.save(members, out)
    judges = [frame.atoms for frame in (problem.valid or problem.train)[:_JUDGES]]
    anchor: Any = problem.anchor
    kept = problem.replay.e0s if problem.replay and anchor.keep_head else None
    chosen = export(out, potential, members, judges, kept)
    learning_curves(fit.histories[0], out / "learning_curves.png")
    return Ensemble.of(potential, members), chosen
