"""`tunesmith template`: a configuration to start from."""

from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Json, Set


def template(
    what: Annotated[
        str,
        typer.Argument(
            metavar="tune|label|run|pool|cago|attack|select|check", help="Which configuration."
        ),
    ],
    set_: Set = None,
    short: Annotated[bool, typer.Option("--short", help="Only what is needed.")] = False,
    json: Json = False,
) -> None:
    """Print a configuration to start from.

    It holds every setting with its default and its meaning.

    Example: tunesmith template label --set reference.kind=pyscf > label.yaml
    """
    from tunesmith import config

    text = config.template(what, set_ or (), short=short)
    terminal.give({"template": what, "yaml": text}, json, lambda _: print(text, end=""))
