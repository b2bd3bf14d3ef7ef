"""`tunesmith label`: ask a reference."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Config, Format, Json, Set, Species


def label(
    frames: Annotated[Path, typer.Argument(metavar="FRAMES", help="File of structures.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Labelled structures, as extxyz.")
    ],
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="KIND", help="Engine, as pyscf; see template label."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FILE", help="Database of labels. [default: OUT with suffix .db]"
        ),
    ] = None,
    format_: Format = None,
    species: Species = None,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Label structures with a reference method.

    Each label is stored as soon as it exists: run the same command again to go on after an
    interruption; no label is computed twice. Exit code 1: some structures could not be labelled.

    Example: tunesmith label frames.xyz --reference pyscf --set reference.xc=pbe --out labels.xyz
    """
    from tunesmith import config
    from tunesmith.commands import label_frames

    shortcuts = {"reference.kind": reference} if reference else {}
    engine = config.load(config.LabelConfig, config_file, set_ or (), shortcuts).reference
    how = label_frames.How(format_, tuple((species or "").split()))
    labelling = label_frames.prepare(frames, out, store or out.with_suffix(".db"), engine, how)
    notes = terminal.notes()
    for note in labelling.notes:
        notes.print(f"{frames.name}: {note}", markup=False)
    with terminal.only_results(), terminal.progress(notes) as bar:
        label_frames.run(labelling, engine, bar)
    after = f"tunesmith doctor {quote(str(out))}" if labelling.labelled else None
    terminal.give(labelling.summary(), json, labelling.show, after)
    raise typer.Exit(1 if labelling.failures else 0)
