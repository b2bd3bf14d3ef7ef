"""`tunesmith run`: a whole loop."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Json, Set


def run(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file of settings; see template run.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="The run's folder. [default: runs/CONFIG]"),
    ] = None,
    set_: Set = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, time one step, label and update."),
    ] = False,
    json: Json = False,
) -> None:
    """Simulate, ask the reference where needed, and learn.

    Or in rounds: choose from a pool (explore.kind: pool) or attack (cago). The same command resumes
    an interrupted run, to the same result. The folder then holds every label, the trajectory,
    final.model, its committee, summary.json and a picture. Exit code 1: ended before what was asked
    for was done.

    Example: tunesmith run recipes/ethanol.yaml
    """
    from tunesmith import config
    from tunesmith.data import naming

    settings = config.load_run(config_file, set_ or ())
    folder = out or Path("runs") / config_file.stem
    naming.require_files(set(naming.files_of(settings)))
    from tunesmith.loop import run

    recipe = run.recipe_of(settings)
    with terminal.only_results():
        if dry_run:
            cost = run.estimate(settings, folder, terminal.notes())
        else:
            summary = run.run(settings, folder, terminal.notes())
    if dry_run:
        after = "the same without --dry-run"
        terminal.give(cost, json, lambda screen: recipe.show_cost(cost, screen), after)
        return
    files = getattr(settings.explore, "start", None)  # of a pool it is a number
    start = files[0] if isinstance(files, tuple) else "START.xyz"
    after = f"tunesmith check {quote(str(folder))} {quote(start)}  # is it stable in dynamics?"
    terminal.give(summary, json, lambda screen: recipe.show(summary, screen), after)
    raise typer.Exit(0 if summary["as_asked"] else 1)
