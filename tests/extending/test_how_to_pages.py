"""The pages on parts of one's own: their code is the package, their commands are those of it."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLUGIN = HERE / "plugin"
PAGES = sorted((HERE.parents[1] / "docs" / "how-to").glob("write-a-*.md"))
#: a file's name, and its code
BLOCK = re.compile(r"^`([\w/.]+)`:?\n\n```(?:python|toml)\n(.*?)```", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_code_is_the_packages(page: Path) -> None:
    found = blocks(page)
    assert found
    assert page.read_text().count("```python") == sum(name.endswith(".py") for name, _ in found)
    for name, code in found:
        written = (PLUGIN / name).read_text()
        if name.endswith(".py"):
            assert code == written, f"{page.name}: {name} is another"
        else:
            assert code in written + "\n", f"{page.name}: not of {name}"


def test_every_file_and_every_entry_point_is_on_a_page() -> None:
    found = [block for page in PAGES for block in blocks(page)]
    files = {str(p.relative_to(PLUGIN)) for p in PLUGIN.glob("tinyparts/*.py")}
    assert {name for name, _ in found} == (files | {"pyproject.toml"}) - {"tinyparts/__init__.py"}
    lines = (PLUGIN / "pyproject.toml").read_text().split("\n")
    shown = {line for name, code in found if name == "pyproject.toml" for line in code.split("\n")}
    assert set(lines) <= shown
