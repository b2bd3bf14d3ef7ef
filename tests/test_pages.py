"""No page calls something missing that the command line has."""

import re
from pathlib import Path

import pytest
import typer.main

from doc_pages import PAGES, name
from tunesmith.cli import app
from tunesmith.potentials import zoo
from tunesmith.registry import SECTIONS

MISSING = re.compile(r"\bnot (?:there )?yet\b|\bplanned\b|\bwill come\b|\bto come\b", re.IGNORECASE)
#: of which a sentence may say that they were not seen or not asked for yet
OF_DATA = ("asked for", "measured", "known", "learnt", "labelled", "stored")


def names() -> set[str]:
    """Whatever a user can type: commands, kinds and options, and the packages of models."""
    group = typer.main.get_command(app)
    found = set(group.commands)  # type: ignore[attr-defined]
    found |= {kind for registry in SECTIONS.values() for kind in registry.names()}
    found |= {entry.package for entry in zoo.known()}
    found |= {"on-the-fly", "adversarial", "rounds", "committee", "attacks", "stress", "multi-head"}
    return {name.lower() for name in found if len(name) > 3} - {"models"}


def claims(page: Path) -> list[str]:
    """Sentences that say something is missing."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    sentences = re.split(r"(?<=[.:!?])\s+(?=[A-Z*`-])|\n\n", text)
    return [s for s in sentences if MISSING.search(s) and not any(w in s for w in OF_DATA)]


def wrong(sentence: str) -> set[str]:
    words = set(re.findall(r"[a-z][\w-]+", sentence.lower()))
    return words & names()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_called_missing_is_missing(page: Path) -> None:
    for sentence in claims(page):
        assert not wrong(sentence), sentence


def test_the_test_sees_it() -> None:
    assert wrong("Not yet: adversarial sampling, other model packages than MACE.") >= {
        "adversarial"
    }
    assert wrong("Not yet: models of CHGNet.")
