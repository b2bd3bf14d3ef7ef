"""Fine-tuning by the Python API, timed, and what models are worth on labelled frames."""

import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.shared.clocks import cpu_seconds, stopwatch
from tunesmith import TuneConfig, evaluate, fine_tune
from tunesmith.core import E0s, Frame
from tunesmith.data.e0 import choose_e0s
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import Ensemble

#: structures a step, and the share of the labels that `tune` holds back to choose the best epoch
BATCH, VALID = 5, 0.1
#: where workers would be counted with their imports
ALONE = {"threads": 1, "processes": 1}


def tuned(config: TuneConfig, out: Path) -> dict[str, Any]:
    """Fine-tune into a new folder: CPU seconds of the sampler and of everything, and the summary.

    ``cpu`` is that of the whole call of `fine_tune`: with reading, E0s, replay labels, the export
    and its check, without the imports of Python.
    """
    shutil.rmtree(out, ignore_errors=True)
    started = cpu_seconds()
    with stopwatch(type(config.tune.sampler)) as fits:
        summary = fine_tune(config, out)
    return {"cpu": cpu_seconds() - started, "cpu_fit": sum(fits), "summary": summary}


def per_epoch(frames: int) -> int:
    """Steps of an epoch over N labels of which `VALID` are held back."""
    return math.ceil((frames - max(1, round(VALID * frames))) / BATCH)


def untouched(potential: Any, e0s: E0s | None = None) -> Ensemble:
    """A potential as the package's model of one member."""
    return Ensemble(potential, [potential.weights()], e0s or E0s(potential.e0s))


def aligned(potential: Any, frames: Sequence[Frame], *, taught: bool = True) -> E0s:
    """E0s of the labels: re-estimated with the pretrained model, or by composition alone."""
    if not taught:
        return choose_e0s("average", frames=list(frames), foundation=potential.e0s)
    energies = energies_of(untouched(potential), frames)
    return choose_e0s(
        "reestimate", frames=list(frames), foundation=potential.e0s, predicted=energies
    )


def energies_of(posterior: Any, frames: Sequence[Frame], batch: int = 32) -> np.ndarray:
    """Total energies (n,) in eV."""
    atoms = [f.atoms for f in frames]
    parts = [atoms[i : i + batch] for i in range(0, len(atoms), batch)]
    return np.concatenate([posterior.predict(p, spread="energy").mean.energy for p in parts])


def errors(posterior: Any, frames: Sequence[Frame]) -> dict[str, Any]:
    """The summary of an evaluation by relative energies: the models compared have other zeros."""
    return dict(evaluate(posterior, list(frames), relative_energies=True).summary())


def replay_head(out: Path) -> Ensemble | None:
    """The mean of the replay heads of a finished fine-tuning, None where there is none."""
    potential, members = members_file.load(out, dtype="float32", device="cpu")
    if not members.replay:
        return None
    heads = [members.replay_head(i) for i in range(len(members))]
    return Ensemble(potential, heads, E0s(potential.e0s))


def command(*words: object, settings: Mapping[str, object] | None = None) -> int:
    """``tunesmith WORDS --set …`` as a user gives it, what it says to stderr; its exit code."""
    chosen = [
        part for key, value in (settings or {}).items() for part in ("--set", f"{key}={value}")
    ]
    done = [sys.executable, "-m", "tunesmith", *map(str, words), *chosen]
    return subprocess.run(done, stdout=2, check=False).returncode
