"""Commands, settings and Python on the pages are those that there are."""

import ast
import builtins
import contextlib
import importlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from doc_pages import DOCS, PAGES, codes, commands, fenced, mentioned, name, python
from tunesmith import config, settings
from tunesmith.cli import app
from tunesmith.config.strategies import STRATEGIES
from tunesmith.registry import CHECKS, SECTIONS

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
ROOT = DOCS.parent
#: pages that write a package: their code and commands are run with it in tests/extending
OF_PLUGINS = "write-a-"
#: stands for what a user would type
ANY = {"…", "FILE", "CODE", "NAME", "PATH=VALUE"}


def fields(cls: Any, path: str = "") -> Iterator[str]:
    """Every setting of a class, by its full path, whatever kinds its sections are of."""
    for key, field in cls.model_fields.items():
        here = settings.join(path, key)
        yield here
        below = [settings.nested(field.annotation)]
        if here in SECTIONS:
            yield f"{here}.kind"
            below += [SECTIONS[here].get(kind) for kind in SECTIONS[here].entries]
        for inner in below:
            if inner is not None and hasattr(inner, "model_fields"):
                yield from fields(inner, here)


def in_tables() -> Iterator[str]:
    """Settings of `tunesmith check` that stand in tables, which take those of a class."""
    yield from fields(SECTIONS["explore"].get("md"), "dynamics")
    for kind in CHECKS.entries:
        yield from fields(CHECKS.get(kind), f"settings.{kind}")


KNOWN = {path for cls, _ in config.TEMPLATES.values() for path in fields(cls)} | {*in_tables()}
ROOTS = {path.partition(".")[0] for path in KNOWN}


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The paths of what is given; a value that is a mapping itself, as a table, is one."""
    if isinstance(value, dict) and (not path or any(p.startswith(f"{path}.") for p in KNOWN)):
        for key, inner in value.items():
            yield from leaves(inner, settings.join(path, key))
    else:
        yield path


def options(command: str) -> set[str]:
    return {option for p in COMMANDS[command].params for option in p.opts} | {"--help"}


def check_mentioned(words: list[str]) -> None:
    """A command of which not all is said: what is said of it must be so."""
    if words[0].startswith("-"):
        return
    command, *rest = words
    assert command in COMMANDS, words
    for word, following in pairwise([*rest, ""]):
        if word.startswith("--"):
            assert word in options(command), f"{command} has no {word}"
        if word == "--set" and following not in ANY and following:
            assert following.partition("=")[0] in KNOWN, following
        if word == "--strategy" and following not in ANY:
            assert following in STRATEGIES, following


def check_typed(words: list[str]) -> None:
    """A whole command: the command line takes it, and so do the settings."""
    check_mentioned(words)
    command, *rest = words
    given = COMMANDS[command].make_context(command, list(rest)).params
    overrides = given.get("set_") or ()
    if command == "tune":
        named = {key: given[key] for key in ("strategy", "scope") if given[key]}
        train = {"data.train": given["train"] or ["train.xyz"]}
        config.load(config.TuneConfig, None, overrides, {**train, **named})
    elif command == "label":
        config.load(config.LabelConfig, None, overrides, {"reference.kind": given["reference"]})
    elif command == "run" and Path(given["config_file"]).parent.name == "recipes":
        config.load_run(ROOT / given["config_file"], overrides)
    elif command == "template":
        config.template(given["what"], overrides)
    for word in rest:
        if re.match(r"(?:examples|recipes|src)/", word):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_those_of_the_command_line(page: Path) -> None:
    for words in commands(page.read_text()):
        if page.name.startswith(OF_PLUGINS):
            assert set(words) & set(COMMANDS)
        elif "…" in words:
            check_mentioned(words)
        else:
            check_typed(words)
    for words in mentioned(page.read_text()):
        check_mentioned(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_and_settings_in_sentences_exist(page: Path) -> None:
    every = {option for command in COMMANDS for option in options(command)}
    for code in codes(page.read_text()):
        option = re.match(r"--[a-z-]+(?![\w-])", code)
        if option and "mace" not in code and option[0] not in FOREIGN:
            assert option[0] in every | {"--version"}, code
        setting = re.match(r"([a-z]+(?:\.[a-z_0-9]+)+)(?=$|[=: ])", code)
        if setting and setting[1].partition(".")[0] in ROOTS:
            assert setting[1] in KNOWN or is_code(setting[1]), code


#: of mace-torch's own training
FOREIGN = {"--freeze"}


def is_code(path: str) -> bool:
    """Whether a dotted name is that of a module of tunesmith, or of something in one."""
    if path.endswith((".py", ".md", ".yaml", ".db")):
        return True
    parts = f"tunesmith.{path}".split(".")
    for n in range(len(parts), 1, -1):
        with contextlib.suppress(ImportError):
            found: Any = importlib.import_module(".".join(parts[:n]))
            for part in parts[n:]:
                found = getattr(found, part, None)
            return found is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_yaml_is_of_settings_that_exist(page: Path, tmp_path: Path) -> None:
    for text in () if page.name.startswith(OF_PLUGINS) else fenced(page.read_text(), "yaml"):
        given = yaml.safe_load(text)
        assert {path for path in leaves(given) if path not in KNOWN} == set()
        if "model" in given:  # a whole configuration
            file = tmp_path / "my.yaml"
            file.write_text(text)
            config.load_run(file)


def resolved(node: ast.AST, names: dict[str, Any]) -> Any:
    """The object that a dotted name of a module that was imported stands for; None of others."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value, names)
        if owner is not None and type(owner).__name__ == "module":
            return getattr(owner, node.attr)
    return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_compiles_and_what_it_imports_is_there(page: Path) -> None:
    for text in python(page.read_text()):
        names: dict[str, Any] = {}
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if all(find_spec(m.partition(".")[0]) for m in modules):
                    code = ast.Module([node], [])
                    exec(compile(code, name(page), "exec"), names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                resolved(node, names)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                check_keywords(resolved(node.func, names), node)


def check_keywords(called: Any, node: ast.Call) -> None:
    """Settings that are given by name exist."""
    known = getattr(called, "model_fields", None)
    if known is not None and called not in vars(builtins).values():
        for keyword in node.keywords:
            assert keyword.arg in known, f"{called.__name__} has no {keyword.arg}"


def table(rows: list[str]) -> dict[str, set[str]]:
    """What a table says in its second column of each name in its first."""
    cells = [[re.findall(r"`([\w.-]+)`", cell) for cell in row.split(" | ")[:2]] for row in rows]
    return {one: set(said) for names, said in cells for one in names}


def test_the_tables_of_sections_and_names_are_complete() -> None:
    sections, names = (DOCS / "reference" / "settings.md").read_text().split("## ")[1:]
    assert set(table(re.findall(r"^\| .*", sections, re.M))) == ROOTS
    found = table(re.findall(r"^\| .*", names, re.M))
    assert found == {section: set(registry.entries) for section, registry in SECTIONS.items()}


def test_what_is_wrong_is_seen() -> None:
    text = "    tunesmith tune --trai x\n\n`tunesmith run`, `tunesmith tune --set tune.samler=1`\n"
    assert commands(text) == [["tune", "--trai", "x"]]
    assert mentioned(text)[1] == ["tune", "--set", "tune.samler=1"]
    for words in (commands(text)[0], mentioned(text)[1], ["tuen"]):
        with pytest.raises(AssertionError):
            check_mentioned(words)
    assert "tune.sampler.epochs" in KNOWN
    assert set(leaves({"tune": {"sampler": {"kind": "adamw", "epoch": 1}}})) - KNOWN == {
        "tune.sampler.epoch"
    }
    assert not is_code("explore.nothing")
