"""`tunesmith select`: what to label of a pool."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Format, Head, Json, Species


def select(
    pool: Annotated[
        list[Path], typer.Argument(metavar="POOL...", help="Files of structures to choose from.")
    ],
    n: Annotated[int, typer.Option("--n", metavar="N", help="How many to choose.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The chosen structures, as extxyz.")
    ],
    labelled: Annotated[
        list[Path] | None,
        typer.Option("--labelled", metavar="FILE", help="What is labelled already; repeatable."),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option("--exclude", metavar="FILE", help="What is not to be chosen; repeatable."),
    ] = None,
    representation: Annotated[
        str,
        typer.Option("--representation", metavar="NAME", help="ntk, activation, soap or morgan."),
    ] = "ntk",
    rule: Annotated[
        str,
        typer.Option(
            "--rule", metavar="NAME", help="lcmd, posterior-variance, kcenter, top or random."
        ),
    ] = "lcmd",
    score: Annotated[
        str | None,
        typer.Option("--score", metavar="NAME", help="Of top. [default: committee-force]"),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option("--noise", metavar="X", help="λ of posterior-variance. [default: 0.001]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Name, model file or run folder. [default: organic-xs]"
        ),
    ] = None,
    new_elements: Annotated[
        bool, typer.Option("--new-elements", help="Take elements that --labelled lacks.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="FOLDER", help="Keep features there.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of random and the map.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A setting of the representation, as acquire.representation.r_cut='5 Å'.",
        ),
    ] = None,
    format_: Format = None,
    species: Species = None,
    head: Head = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="As cuda. [default: cpu]")
    ] = None,
    json: Json = False,
) -> None:
    """Choose from a pool which structures to label.

    Writes them in the order of choice, and a map beside them (FILE with suffix .png).

    Example: tunesmith select pool.xyz --labelled train.xyz --n 100 --out chosen.xyz
    """
    from tunesmith.data import naming
    from tunesmith.data.kinds import How

    naming.require_files(pool)
    for given in (labelled, exclude):
        naming.require_files(given or ())
    from tunesmith.commands import select_structures
    from tunesmith.commands.selection_settings import Wanted

    wanted = Wanted(
        tuple(pool),
        out,
        n,
        labelled=tuple(naming.expanded(labelled or ())),
        representation=representation,
        rule=rule,
        score=score,
        noise=noise,
        model=model,
        head=head,
        device=device,
        exclude=tuple(naming.expanded(exclude or ())),
        new_elements=new_elements,
        cache=cache,
        seed=seed,
        changes=tuple(set_ or ()),
        how=How(format_, tuple((species or "").split())),
    )
    with terminal.only_results():
        notes = terminal.notes()
        summary = select_structures.select(wanted, notes, terminal.progress(notes))
    after = f"tunesmith label {quote(str(out))} --reference KIND --out LABELS.xyz"
    if summary["n_chosen_with_label"] == summary["n_chosen"]:
        after = f"tunesmith tune --train {quote(str(out))} --out FOLDER  # they have labels already"
    terminal.give(summary, json, lambda screen: select_structures.show(summary, screen), after)
