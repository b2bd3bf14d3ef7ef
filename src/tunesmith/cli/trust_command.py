"""`tunesmith trust`: vouch for a model file."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli.options import Json


def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file (a pickle).")],
    json: Json = False,
) -> None:
    """Vouch for a third-party model file, once.

    Loading such a file may run any code it contains, so tunesmith asks first. Remembered is the
    file's content (sha256), not its name: a changed file is asked about again.
    """
    from tunesmith.potentials import trust as trusted
    from tunesmith.potentials.file_kind import require_pickle

    require_pickle(file)
    digest = trusted.trust(file)
    result = {"file": str(file), "sha256": digest, "remembered_in": str(trusted.registry_path())}
    text = f"""{file} is trusted from now on: loading it may run any code it contains.
sha256 {digest}
remembered in {trusted.registry_path()}; delete its line there to take the trust back."""
    after = f"tunesmith tune --model {quote(str(file))} --train FILE --out FOLDER"
    terminal.give(result, json, lambda _: print(text), after)
