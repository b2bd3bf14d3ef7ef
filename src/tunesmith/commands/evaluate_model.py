"""Hold a model against a file of labels: what `tunesmith evaluate` does, step by step."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tunesmith import units
from tunesmith.config import ModelSettings
from tunesmith.data.checks import require_some_labels, separate_isolated
from tunesmith.data.formats import read_contents, write_frames
from tunesmith.errors import ConfigError, DataError, RunFolderError
from tunesmith.registry import nearest
from tunesmith.words import counted


def thresholds(texts: Sequence[str]) -> dict[str, units.Quantity]:
    """Read ``"force=0.1 eV/Å"`` and ``"energy=5 meV per atom"``. Raises `ConfigError`."""
    limits: dict[str, units.Quantity] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError(f"--threshold {text}: write WHAT=VALUE, as 'force=0.1 eV/Å'.")
        if name not in ("energy", "force"):
            known = nearest(name, ["energy", "force"])
            raise ConfigError(f"--threshold {text}: there is no {name!r}; {known}")
        if name in limits:
            raise ConfigError(f"--threshold {name}: given twice; keep one.")
        limits[name] = units.parse(value, name, field=f"--threshold {name}")
    return limits


def assess(
    model: ModelSettings,
    path: Path,
    keys: tuple[str | None, str | None, str | None],
    limits: Mapping[str, units.Quantity],
    *,
    relative: bool,
    format: str | None = None,
    plots: Path | None,
    predictions: Path | None = None,
    notes: Console,
) -> dict[str, Any]:
    """Predict every labelled structure of a file and compare what labels it has; the evaluation's
    summary.

    keys: of energy, forces and stress in the file, None: by the usual rules. format: of the file,
    None: by name and content. relative: energies within each composition only. plots: folder for
    pictures. predictions: file of the structures with what was predicted. notes: for remarks.
    """
    if predictions is not None:
        _require_new(predictions)
    if plots is not None:
        _require_writable(plots)
    read = read_contents(
        path,
        energy_key=keys[0],
        forces_key=keys[1],
        stress_key=keys[2],
        format=format,
        partial=True,
    )
    notes.print(f"{path.name}: {read.keys}", markup=False)
    frames, isolated = separate_isolated(read.frames)
    if isolated:
        notes.print(f"{path.name}: {counted(len(isolated), 'isolated atom')} not compared")
    # what takes seconds to import, after all that can be found wrong without it
    from tunesmith.posterior.ensemble import open_model
    from tunesmith.report.evaluate import evaluate
    from tunesmith.report.evaluation import with_spread

    posterior = open_model(model.source, head=model.head, dtype=model.dtype, device=model.device)
    require_some_labels(frames, read.beside, posterior.potential.elements)
    evaluation = evaluate(
        posterior, frames, thresholds=limits, relative_energies=relative, partial=True
    )
    if plots is not None:
        from tunesmith.report import plots as pictures
        from tunesmith.report.reliability import of_evaluation

        plots.mkdir(parents=True, exist_ok=True)
        pictures.parity(evaluation, plots / "parity.png")
        if with_spread(evaluation):
            of_evaluation(evaluation, plots / "reliability.png")
        notes.print(f"pictures in {plots}")
    if predictions is not None:
        from tunesmith.report.predictions import with_predictions

        write_frames(predictions, with_predictions(frames, evaluation))
        notes.print(f"predictions in {predictions}", markup=False)
    return evaluation.summary()


def _require_new(file: Path) -> None:
    if file.suffix not in (".xyz", ".extxyz"):
        raise DataError(
            f"--predictions {file}: structures are written as extxyz; end the name in .xyz."
        )
    if not file.parent.is_dir():
        raise RunFolderError(f"{file.parent}: there is no such folder; make it first.")
    if file.exists():
        raise RunFolderError(f"{file} exists; choose another --predictions or remove it.")


def _require_writable(folder: Path) -> None:
    """Before the work, not after it: that a folder exists or can be made."""
    nearest_there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not (nearest_there.is_dir() and os.access(nearest_there, os.W_OK)):
        raise RunFolderError(f"--plots {folder}: cannot write in {nearest_there}; name a folder.")


def show(summary: dict[str, Any], screen: Console) -> None:
    """The summary as tables."""
    from tunesmith.report.tables import evaluation_table

    screen.print(evaluation_table(summary))
