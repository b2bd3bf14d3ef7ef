"""`tunesmith select`: what to label of a pool."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith import terminal
from tunesmith.cli.options import Config, Format, Head, Json, Set, Species
from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    from tunesmith.config import SelectConfig


def select(
    pool: Annotated[
        list[Path], typer.Argument(metavar="POOL...", help="Files of structures to choose from.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The chosen structures, as extxyz.")
    ],
    n: Annotated[
        int | None, typer.Option("--n", metavar="N", help="How many to choose; or by the file.")
    ] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option("--labelled", metavar="FILE", help="What is labelled already; repeatable."),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option("--exclude", metavar="FILE", help="What is not to be chosen; repeatable."),
    ] = None,
    representation: Annotated[
        str | None,
        typer.Option(
            "--representation",
            metavar="NAME",
            help="ntk, activation, soap or morgan. [default: ntk]",
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule",
            metavar="NAME",
            help="lcmd, posterior-variance, kcenter, top, random, or an acquire.kind. "
            "[default: lcmd]",
        ),
    ] = None,
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
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Of random and the map. [default: 0]"),
    ] = None,
    config_file: Config = None,
    set_: Set = None,
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
    options = {"model": model, "head": head, "device": device}
    named = {
        "acquire.batch": n,
        "acquire.score": score,
        "acquire.noise": noise,
        "model.source": model,
        "model.head": head,
        "model.device": device,
        "new_elements": new_elements or None,
        "seed": seed,
    }
    config = _config(config_file, set_ or (), rule, representation, named)
    of_model = [f"--{name}" for name, value in options.items() if value is not None]
    of_model += [f"--set {text}" for text in set_ or () if text.startswith("model")]
    if of_model and not config.asks_model:
        raise ConfigError(
            f"{of_model[0]}: {config.rule} on {config.compared_by[0].kind} asks no model; leave it "
            "out."
        )
    from tunesmith.commands import select_structures
    from tunesmith.commands.selection_files import SelectFiles

    files = SelectFiles(
        tuple(pool),
        out,
        labelled=tuple(naming.expanded(labelled or ())),
        exclude=tuple(naming.expanded(exclude or ())),
        cache=cache,
        how=How(format_, tuple((species or "").split())),
    )
    with terminal.only_results():
        notes = terminal.notes()
        summary = select_structures.select(config, files, notes, terminal.progress(notes))
    after = f"tunesmith label {quote(str(out))} --reference KIND --out LABELS.xyz"
    if summary["n_chosen_with_label"] == summary["n_chosen"]:
        after = f"tunesmith tune --train {quote(str(out))} --out FOLDER  # they have labels already"
    terminal.give(summary, json, lambda screen: select_structures.show(summary, screen), after)


def _config(
    file: Path | None,
    overrides: Sequence[str],
    rule: str | None,
    representation: str | None,
    named: Mapping[str, Any],
) -> "SelectConfig":
    """What is asked for. named: dotted path → value of options that mean one setting."""
    from tunesmith import config
    from tunesmith.config.select_config import settings_of_rule
    from tunesmith.registry import ACQUIRERS

    shortcuts = {path: value for path, value in named.items() if value is not None}
    shortcuts |= {} if rule is None else settings_of_rule(rule)
    if representation is not None:
        kind = config.kind_of(config.SelectConfig, "acquire", file, overrides, shortcuts)
        known = isinstance(kind, str) and kind in ACQUIRERS.names()
        compares = known and "representation" in ACQUIRERS.get(str(kind)).model_fields
        path = "acquire.representation.kind" if compares else "map.kind"
        shortcuts[path] = representation
    return config.load(config.SelectConfig, file, overrides, shortcuts)
