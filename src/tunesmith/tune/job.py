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
from tunesmith.errors import DataError, ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.base import Potential
from tunesmith.report.evaluate import evaluate
from tunesmith.report.plots import learning_curves
from tunesmith.report.tables import comparison_table
from tunesmith.tune import folder
from tunesmith.tune import members as members_file
from tunesmith.tune.adamw import Fit, Problem
from tunesmith.tune.examples import examples
from tunesmith.uncertainty.ensemble import Ensemble

#: the trainer's checkpoint in a run's folder
STATE = Path("checkpoint") / "state.safetensors"


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
    identity = folder.identity(start.potential, train + valid + isolated)
    if known is not None:
        folder.require_same(out, known["identity"], identity)
        if (done := folder.summary(out, config, known["config"])) is not None:
            console.print(f"{out} is finished; nothing to do.")
            return done
    e0s = align(config.tune.e0, start, train, isolated)
    console.print(e0s.reason)
    if (state := out / STATE).exists():
        files.read_tensors(state)  # a damaged one is refused before anything is written
    folder.claim(out, config, identity)
    problem = Problem(
        start.potential,
        config.tune.subspace,
        config.tune.anchor,
        config.tune.loss,
        examples(start.potential, train, e0s),
        examples(start.potential, valid, e0s),
        config.seed,
    )
    console.print(f"{len(train)} structures to learn from, {len(valid)} to choose the best epoch")
    fit = _fit(config, problem, out, console)
    tuned = _finish(out, start.potential, problem, fit, e0s, valid or train)
    before = evaluate(Ensemble(start.potential, start.weights, e0s), valid or train).summary()
    after = evaluate(tuned, valid or train).summary()
    where = "validation" if valid else "training"
    console.print(comparison_table(before, after, title=f"Errors on the {where} structures"))
    summary = {
        "model": config.model.source,
        "n_train": len(train),
        "n_valid": len(valid),
        "e0": {"method": e0s.method, "reason": e0s.reason},
        "best_epoch": fit.best_epoch,
        "epochs": len(fit.history),
        "stopped": fit.finished,
        "judged_on": where,
        "before": before,
        "after": after,
        "final_model": str(out / "final.model"),
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


# ------------------------------------------------------------------------------ the fit


def _fit(config: TuneConfig, problem: Problem, out: Path, console: Console) -> Fit:
    shown = time.monotonic()

    def report(entry: dict[str, float], left: float) -> None:
        nonlocal shown
        epoch = int(entry["epoch"])
        # a line every few seconds, not one per epoch
        if epoch > 1 and time.monotonic() - shown < 5 and epoch < config.tune.sampler.epochs:
            return
        shown = time.monotonic()
        errors = ""
        if "valid_force_mae_meV_per_A" in entry:
            errors = (
                f"validation MAE {entry['valid_energy_mae_meV_per_atom']:.2f} meV/atom, "
                f"{entry['valid_force_mae_meV_per_A']:.1f} meV/Å; "
            )
        console.print(
            f"epoch {epoch}: loss {entry['train_loss']:.4f}; {errors}at most {left:.0f} s left"
        )

    fit: Fit = config.tune.sampler.fit(problem, out / STATE, report)
    learning_curves(fit.history, out / "learning_curves.png")
    console.print(f"{fit.finished}; best epoch {fit.best_epoch}")
    return fit


def _finish(
    out: Path,
    potential: Potential,
    problem: Problem,
    fit: Fit,
    e0s: E0s,
    frames: list[Frame],
) -> Ensemble:
    """Write members and final.model, and check that the package's own calculator agrees."""
    members = Members(
        potential.base,
        potential.weights(),
        problem.subspace,
        {name: w[None] for name, w in fit.moved.items()},
        e0s,
    )
    members_file.save(members, out)
    tuned = Ensemble(potential, [members.expand(0)], e0s)
    potential.export(out / "final.model", tuned.weights[0], e0s.values)
    check_export(out / "final.model", tuned, frames[:3])
    return tuned


def check_export(path: Path, tuned: Ensemble, frames: list[Frame]) -> None:
    """Absolute energies and forces of the native calculator against ours.

    Ours may compute in float32, so the tolerance is its rounding: 1e-5 eV per atom, 1e-3 eV/Å.
    """
    native = tuned.potential.native(path)
    for frame in frames:
        atoms = frame.atoms.copy()
        ours = tuned.predict([atoms]).mean
        atoms.calc = native
        energy = abs(atoms.get_potential_energy() - ours.energy[0]) / len(atoms)
        force = np.abs(atoms.get_forces(apply_constraint=False) - ours.forces).max()
        if not (energy < 1e-5 and force < 1e-3):
            raise ModelError(
                f"{path} does not reproduce the tuned model ({energy:.1e} eV/atom, {force:.1e} "
                "eV/Å off); please report this with the model's origin."
            )
