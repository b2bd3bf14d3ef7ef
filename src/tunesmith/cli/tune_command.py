"""`tunesmith tune`: learn from labels there are."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Config, EnergyKey, ForcesKey, Json, Set, StressKey


def tune(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The run's folder.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="More of --train, as from runs/*/OUTCAR."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Name, model file or run folder. [default: organic-xs]"
        ),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="FILE", help="Labelled structures; repeatable."),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            "--valid",
            metavar="FILE",
            help="Structures that decide the best epoch. [default: a tenth of --train]",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="As lora; see tunesmith strategies. [default: by the data]",
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope", metavar="narrow|broad", help="For structures like those learnt, or for any."
        ),
    ] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Fine-tune a model to labelled structures.

    The same command resumes an interrupted run, to the same result. The folder then holds
    final.model for the model's own package, the resolved config.yaml, summary.json and pictures.

    Example: tunesmith tune --model organic-xs --train train.xyz --out run
    """
    from tunesmith import config
    from tunesmith.data import naming

    learnt = [*(train or ()), *(more or ())]
    naming.require_files([*learnt, *([valid] if valid else [])])  # before what takes seconds
    given = {
        "model.source": model,
        "data.train": learnt,
        "data.valid": valid,
        "data.energy_key": energy_key,
        "data.forces_key": forces_key,
        "data.stress_key": stress_key,
        "strategy": strategy,
        "scope": scope,
    }
    shortcuts = {path: value for path, value in given.items() if value}
    settings = config.load(config.TuneConfig, config_file, set_ or (), shortcuts)
    naming.require_files(set(naming.files_of(settings)))
    from tunesmith.commands.fine_tune import fine_tune

    with terminal.only_results():
        summary = fine_tune(settings, out, terminal.notes())
    after = f"tunesmith evaluate {quote(str(out))} TEST.xyz  # labelled structures it has not seen"
    terminal.give(summary, json, lambda screen: screen.print(f"done: {out / 'final.model'}"), after)
