"""Whatever points at a page of the documentation points at one that is there."""

import re
from pathlib import Path

import pytest

from doc_pages import DOCS, LINKING, ROOT, anchors, name

#: where a sentence, a message or a docstring may name a page by its path
SPEAKING = ("src", "bench", "recipes", "examples", "tests", "docs")
SHELVES = ("first-steps", "how-to", "explanation", "measurements", "reference")
#: lines of a page; longer ones are two
LONG = 240


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def broken(page: Path) -> list[str]:
    """Links that lead nowhere."""
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def missing(text: str) -> list[str]:
    """Paths below docs/ that a text names and that are not there."""
    paths = re.findall(r"(?<![\w/.])docs/[\w./-]*\w", text)
    return [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` c\n[1](#a-b-c) [2](#other) [3](none.md) [4](page.md#none) [5](http://x)"
    )
    assert broken(page) == ["#other", "none.md", "page.md#none"]
    assert missing("see docs/index.md, (docs/none/none.md)") == ["docs/none/none.md"]


def test_paths_of_pages_exist() -> None:
    files = [p for folder in SPEAKING for p in (ROOT / folder).rglob("*") if p.is_file()]
    files = [
        p for p in files if not p.parent.name.endswith(".egg-info")
    ]  # what an installation left
    files += [p for p in ROOT.iterdir() if p.suffix in {".md", ".toml"} or p.name == "Makefile"]
    texts = {".py", ".md", ".yaml", ".sh", ".toml", ""}
    wrong = {
        name(p): missing(p.read_text()) for p in files if p.suffix in texts and p != Path(__file__)
    }
    assert {page: paths for page, paths in wrong.items() if paths} == {}


def test_the_index_names_every_page() -> None:
    named = {(DOCS / link).resolve() for link in links(DOCS / "index.md") if "://" not in link}
    assert set(DOCS.rglob("*.md")) - named == {DOCS / "index.md"}
    assert {p.name for p in DOCS.iterdir() if p.is_dir()} == set(SHELVES)


def test_every_picture_is_shown() -> None:
    shown = {(p.parent / link).resolve() for p in DOCS.rglob("*.md") for link in links(p)}
    assert set(DOCS.rglob("*.png")) - shown == set()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name)
def test_no_page_is_long(page: Path) -> None:
    told = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)  # code is as long as it is
    assert len(told.splitlines()) <= LONG
