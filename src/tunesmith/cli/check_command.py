"""`tunesmith check`: simulate with a model."""

from pathlib import Path
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Device, Head, Json


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name, model file or run folder.")],
    start: Annotated[Path, typer.Argument(metavar="START", help="File of the start structure.")],
    time: Annotated[
        str, typer.Option("--time", metavar="TIME", help="Simulated, of each replica.")
    ] = "5 ps",
    md: Annotated[
        list[str] | None,
        typer.Option(
            "--md",
            metavar="NAME=VALUE",
            help="Of the dynamics, as ensemble=npt (docs/reference/dynamics.md); repeatable.",
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option("--replicas", metavar="N", help="Trajectories of each member.")
    ] = 3,
    mean: Annotated[
        bool, typer.Option("--mean", help="Simulate the members' mean, not each member.")
    ] = False,
    equilibration: Annotated[
        str | None,
        typer.Option(
            "--equilibration", metavar="TIME", help="Left out of averages. [default: a fifth]"
        ),
    ] = None,
    min_distance: Annotated[
        str,
        typer.Option(
            "--min-distance", metavar="X", help="A fraction of covalent radii, or as '0.4 Å'."
        ),
    ] = "0.5",
    every: Annotated[
        int, typer.Option("--every", metavar="N", help="Steps between looks at distances.")
    ] = 100,
    species: Annotated[
        list[str] | None,
        typer.Option("--species", metavar="X", help="Elements to average; repeatable."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", help="Which structure of START, from 0.")
    ] = None,
    checks: Annotated[
        str,
        typer.Option(
            "--checks", metavar="NAMES", help="Which, with commas between. [default: these four]"
        ),
    ] = "stability,density,diffusion,rdf",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="CHECK.NAME=VALUE", help="A setting of one of them; repeatable."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", help="That share the replicas.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all replicas.")] = 0,
    head: Head = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Simulate with a model: is it stable, and what does it say?

    Which members' dynamics holds; density, self-diffusion and coordination numbers of those that
    do. Checks of other packages join in by --checks. Exit code 1: a member is not stable, or such a
    check has found the model out of order.

    Example: tunesmith check run water.xyz --md ensemble=npt --time '20 ps'
    """
    from tunesmith.data import naming

    naming.require_files([start])
    from tunesmith.check.check_settings import Wanted
    from tunesmith.config import ModelSettings
    from tunesmith.settings import build

    named = {"source": model, "head": head, "device": device}
    wanted = Wanted(
        build(ModelSettings, named, "model"),
        start,
        frame=frame,
        md=tuple(md or ()),
        time=time,
        replicas=replicas,
        equilibration=equilibration,
        min_distance=min_distance,
        every=every,
        species=tuple(species or ()),
        mean=mean,
        processes=processes,
        seed=seed,
        checks=tuple(name.strip() for name in checks.split(",")),
        settings=tuple(set_ or ()),
    )
    wanted.parts(wanted.check()[0])
    from tunesmith.commands import check_dynamics

    with terminal.only_results():
        notes = terminal.notes()
        summary, found = check_dynamics.check(wanted, notes, terminal.progress(notes))
    well = check_dynamics.well(found)
    after = f"atoms.calc = tunesmith.Calculator({model!r}) in Python"
    if not well:
        met = " of what it met there" if "members" in summary else ""
        page = "docs/how-to/run-on-the-fly.md"
        after = f"teach it more{met}: tunesmith run ({page}), or attack"
    terminal.give(summary, json, lambda screen: check_dynamics.show(found, screen), after)
    raise typer.Exit(0 if well else 1)
