"""Options that several commands share, so that they read alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one setting by its full path, as tune.sampler.epochs=50; repeatable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
EnergyKey = Annotated[
    str | None, typer.Option("--energy-key", metavar="KEY", help="Where energies stand.")
]
ForcesKey = Annotated[
    str | None, typer.Option("--forces-key", metavar="KEY", help="Where forces stand.")
]
StressKey = Annotated[
    str | None, typer.Option("--stress-key", metavar="KEY", help="Where stress stands.")
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Of the file, as ASE calls it.")
]
Species = Annotated[
    str | None,
    typer.Option("--species", metavar="'O H'", help="Elements of LAMMPS's types 1, 2, …"),
]
Head = Annotated[
    str | None, typer.Option("--head", metavar="NAME", help="Head of a multi-head model.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or mps.")]
