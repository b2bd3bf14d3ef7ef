"""`tunesmith attack`: structures of a chosen error."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Config, Json, Set


def attack(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="File of structures.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Structures reached, as extxyz.")
    ],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="ERROR", help="Wanted for every atom: '100 meV/Å'."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="Run folder with several members."),
    ] = None,
    members: Annotated[
        int | None,
        typer.Option("--members", metavar="N", help="How many attack. [default: all]"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="KIND", help="Label them, and show real errors."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="Database of labels. [default: OUT's .db]"),
    ] = None,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Take the members' spread for their error.")
    ] = False,
    beyond_calibration: Annotated[
        bool,
        typer.Option("--beyond-calibration", help="Take a target outside the calibrated range."),
    ] = False,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Move structures to a chosen force error of a committee.

    Such structures teach more than those of a trajectory, and can still be labelled.

    Example: tunesmith attack frames.xyz --model run --target "100 meV/Å" --out attacked.xyz
    """
    from tunesmith import config
    from tunesmith.data import naming

    given = {
        "attack.target": target,
        "model.source": model,
        "members": members,
        "reference.kind": reference,
        "uncalibrated": uncalibrated or None,
        "beyond_calibration": beyond_calibration or None,
    }
    shortcuts = {path: value for path, value in given.items() if value is not None}
    settings = config.load(config.AttackConfig, config_file, set_ or (), shortcuts)
    naming.require_files([frames])
    from tunesmith.commands import attack_structures

    with terminal.only_results():
        task = attack_structures.prepare(settings, frames, out, store)
        with terminal.progress(terminal.notes()) as bar:
            summary = attack_structures.run(task, bar)
    after = f"tunesmith label {quote(str(out))} --reference KIND --out LABELS.xyz"
    if summary["n_labelled"]:
        after = f"tunesmith tune --train LEARNT.xyz {quote(str(out))} --out FOLDER"
    terminal.give(summary, json, lambda screen: attack_structures.show(summary, screen), after)
    raise typer.Exit(1 if summary["n_failed"] else 0)
