"""`tunesmith check`: simulate with a model."""

from pathlib import Path
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Config, Head, Json, Set
from tunesmith.errors import ConfigError


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name, model file or run folder.")],
    start: Annotated[Path, typer.Argument(metavar="START", help="File of the start structure.")],
    time: Annotated[
        str | None,
        typer.Option("--time", metavar="TIME", help="Simulated, of each replica. [default: 5 ps]"),
    ] = None,
    md: Annotated[
        list[str] | None,
        typer.Option(
            "--md",
            metavar="NAME=VALUE",
            help="Of the dynamics, as ensemble=npt (docs/reference/dynamics.md); repeatable.",
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", metavar="N", help="Trajectories of each member. [default: 3]"),
    ] = None,
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
        str | None,
        typer.Option(
            "--min-distance", metavar="X", help="Part of covalent radii, or '0.4 Å'. [default: 0.5]"
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            "--every", metavar="N", help="Steps between looks at distances. [default: 100]"
        ),
    ] = None,
    species: Annotated[
        list[str] | None,
        typer.Option("--species", metavar="X", help="Elements to average; repeatable."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", help="Which structure of START, from 0.")
    ] = None,
    checks: Annotated[
        str | None,
        typer.Option(
            "--checks",
            metavar="NAMES",
            help="Which, with commas between. [default: stability,density,diffusion,rdf]",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", metavar="N", help="That share the replicas. [default: 1]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of all replicas. [default: 0]")
    ] = None,
    head: Head = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="As cuda. [default: cpu]")
    ] = None,
    config_file: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Simulate with a model: is it stable, and what does it say?

    Which members' dynamics holds; density, self-diffusion and coordination numbers of those that
    do. Checks of other packages join in by --checks. Exit code 1: a member is not stable, or such a
    check has found the model out of order.

    Example: tunesmith check run water.xyz --md ensemble=npt --time '20 ps'
    """
    from tunesmith import config
    from tunesmith.data import naming
    from tunesmith.settings import named_values

    naming.require_files([start])
    given = {
        "model.source": model,
        "model.head": head,
        "model.device": device,
        "replicas": replicas,
        "equilibration": equilibration,
        "mean": mean or None,
        "species": species or None,
        "checks": None if checks is None else [name.strip() for name in checks.split(",")],
        "settings.stability.min_distance": min_distance,
        "settings.stability.every": every,
        "processes": processes,
        "seed": seed,
        "dynamics.time": time,
    }
    for name, value in named_values(md or (), "--md", "NAME=VALUE", "'temperature=300 K'").items():
        if name == "time":
            raise ConfigError("--md time: give it as --time.")
        given[f"dynamics.{name}"] = value
    shortcuts = {path: value for path, value in given.items() if value is not None}
    settings = config.load(config.CheckConfig, config_file, set_ or (), shortcuts)
    from tunesmith.check.check_settings import Start, parts_of, simulation_of

    parts_of(settings, simulation_of(settings).stability)
    from tunesmith.commands import check_dynamics

    with terminal.only_results():
        notes = terminal.notes()
        summary, found = check_dynamics.check(
            settings, Start(start, frame), notes, terminal.progress(notes)
        )
    well = check_dynamics.well(found)
    after = f"atoms.calc = tunesmith.Calculator({model!r}) in Python"
    if not well:
        met = " of what it met there" if "members" in summary else ""
        page = "docs/how-to/run-on-the-fly.md"
        after = f"teach it more{met}: tunesmith run ({page}), or attack"
    terminal.give(summary, json, lambda screen: check_dynamics.show(found, screen), after)
    raise typer.Exit(0 if well else 1)
