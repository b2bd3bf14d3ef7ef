"""`tunesmith evaluate`: a model against labels."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Device, EnergyKey, ForcesKey, Format, Head, Json, StressKey


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name, model file or run folder.")],
    frames: Annotated[Path, typer.Argument(metavar="FILE", help="Labelled structures.")],
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="FOLDER", help="Write plots there.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Write the structures there with what was predicted, as extxyz.",
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            metavar="WHAT=VALUE",
            help="Largest error wanted, as 'force=0.1 eV/Å' or 'energy=5 meV per atom'; "
            "repeatable.",
        ),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option("--relative", help="Compare energies within each composition only."),
    ] = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    format_: Format = None,
    head: Head = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="TYPE", help="float32 or float64.")
    ] = "float32",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Compare a model's energies, forces and stress with labels.

    Example: tunesmith evaluate run test.xyz --plots plots
    """
    from tunesmith.commands import evaluate_model
    from tunesmith.config import ModelSettings
    from tunesmith.settings import build

    limits = evaluate_model.thresholds(threshold or ())
    named = {"source": model, "head": head, "dtype": dtype, "device": device}
    start = build(ModelSettings, named, "model")
    keys = (energy_key, forces_key, stress_key)
    with terminal.only_results():
        summary = evaluate_model.assess(
            start,
            frames,
            keys,
            limits,
            relative=relative,
            format=format_,
            plots=plots,
            predictions=predictions,
            notes=terminal.notes(),
        )
    which = f" --head {quote(head)}" if head else ""
    after = f"tunesmith check {quote(model)} START.xyz{which}  # is it stable in dynamics?"
    terminal.give(summary, json, lambda screen: evaluate_model.show(summary, screen), after)
