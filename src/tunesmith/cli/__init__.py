"""The command line: options in, one call, result out. Heavy imports wait for their command."""

import os
import sys
from importlib.metadata import version as package_version
from typing import Annotated

import typer

from tunesmith import terminal
from tunesmith.cli import (
    attack_command,
    check_command,
    doctor_command,
    evaluate_command,
    label_command,
    lists,
    run_command,
    select_command,
    template_command,
    trust_command,
    tune_command,
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 98},
    help="Fine-tune a foundation interatomic potential to your system.",
    epilog="Start: tunesmith models; tunesmith template tune. Every command: COMMAND --help.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tunesmith {package_version('tunesmith')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


for command in (  # in the order of the help
    label_command.label,
    tune_command.tune,
    run_command.run,
    evaluate_command.evaluate,
    select_command.select,
    attack_command.attack,
    lists.strategies,
    doctor_command.doctor,
    check_command.check,
    lists.models,
    template_command.template,
    trust_command.trust,
):
    app.command()(command)


def main() -> None:
    """Entry point of the ``tunesmith`` program.

    Numerical libraries, none of which is loaded yet, use one thread unless ``OMP_NUM_THREADS`` says
    otherwise: most of what they are asked is so small that more of them wait for each other.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(terminal.run(app, sys.argv[1:]))
