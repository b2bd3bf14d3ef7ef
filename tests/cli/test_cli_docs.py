"""Every command and option explains itself, stands in the docs, and its help fits a screen."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from tunesmith import terminal
from tunesmith.cli import app

DOCS = Path(__file__).parents[2] / "docs" / "reference"
OVERVIEW = (DOCS / "cli.md").read_text()
PAGES = "\n".join((DOCS / name).read_text() for name in ("cli-structures.md", "cli-models.md"))
GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands
LINES, COLUMNS = 40, 80


def section(name: str) -> str:
    """The part of the docs that describes one command."""
    found = re.search(rf"^## tunesmith {name}\n(.*?)(?=^#|\Z)", PAGES, re.M | re.S)
    assert found, f"the pages of the command line have no section '## tunesmith {name}'"
    return found[1]


def test_the_commands_are_those_of_the_docs() -> None:
    assert re.findall(r"^\| \[`(\w+)`\]", OVERVIEW, re.M) == list(COMMANDS)
    described = re.findall(r"^## tunesmith (\w+)$", PAGES, re.M)
    assert sorted(described) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_has_help(name: str) -> None:
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{parameter.name} of {name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_stands_in_the_docs_and_nothing_else(name: str) -> None:
    text = section(name)
    options = {
        option
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option"
        for option in parameter.opts
    }
    table = {m for m in re.findall(r"^\| `(--[a-z-]+)", text, re.M)}
    assert {o for o in options if not re.search(rf"`?{o}\b", text)} == set()
    assert table <= options, "the docs name an option that does not exist"
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument":
            assert parameter.metavar in text
    assert f"    tunesmith {name}" in text, "an example"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_gives_json(name: str) -> None:
    assert "--json" in {o for p in COMMANDS[name].params for o in p.opts}


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_fits_a_screen(
    name: str | None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    assert terminal.run(app, [*([name] if name else []), "--help"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert 5 <= len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert not any(line.rstrip().endswith("...") for line in lines[1:]), "a sentence is cut off"


def test_no_command_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert terminal.run(app, []) == 0
    shown = capfd.readouterr().out
    assert all(name in shown for name in COMMANDS)
