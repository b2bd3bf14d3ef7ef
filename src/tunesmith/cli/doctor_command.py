"""`tunesmith doctor`: look at a data set."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Device, EnergyKey, ForcesKey, Format, Head, Json, StressKey


def doctor(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="Structures to learn.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="FILE", help="The same; repeatable.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="The foundation: name, file or folder.")
    ] = "organic-xs",
    test: Annotated[
        Path | None, typer.Option("--test", metavar="FILE", help="Structures to test on.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option("--valid", metavar="FILE", help="Structures to validate on.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="CODE", help="A finding that is right; repeatable."),
    ] = None,
    forces_only: Annotated[
        bool, typer.Option("--forces-only", help="Without energies, as tune.loss.energy=0 learns.")
    ] = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    format_: Format = None,
    head: Head = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Look at a data set before training on it.

    Units, signs, missing or misplaced labels, zeros of energy, duplicates: each finding with its
    cure. Exit code 1: training should not go ahead.

    Example: tunesmith doctor train.xyz --test test.xyz
    """
    from tunesmith.config import ModelSettings
    from tunesmith.data import naming
    from tunesmith.errors import ConfigError
    from tunesmith.settings import build

    named = [*(data or ()), *(files or ())]
    if not named:
        raise ConfigError("--data: no file is named; give one, as tunesmith doctor train.xyz.")
    foundation = build(ModelSettings, {"source": model, "head": head, "device": device}, "model")
    naming.require_files(named)
    naming.require_files([valid, test])
    from tunesmith.commands import examine_data

    with terminal.only_results():
        summary = examine_data.examine_files(
            foundation,
            named,
            test=test,
            valid=valid,
            keys=(energy_key, forces_key, stress_key),
            format=format_,
            accept=accept or (),
            forces_only=forces_only,
        )
    fit, after = summary["fit_for_training"], None
    if fit:
        settings = {
            "data.valid": valid,
            "data.energy_key": energy_key,
            "data.forces_key": forces_key,
            "data.stress_key": stress_key,
            "data.format": format_,
            "data.accept": f"[{', '.join(accept)}]" if accept else None,
            "tune.loss.energy": "0" if forces_only else None,
            "model.head": head,
        }
        words = ["tunesmith", "tune", "--model", model, "--train", *named, "--out", "FOLDER"]
        for path, value in settings.items():
            words += ["--set", f"{path}={value}"] if value else []
        after = " ".join(map(quote, words))
    terminal.give(summary, json, lambda screen: examine_data.show(summary, screen), after)
    raise typer.Exit(0 if fit else 1)
