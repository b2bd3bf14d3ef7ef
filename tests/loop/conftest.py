"""The smallest on-the-fly run, made once: what others are compared with, and copies to damage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small import config, start
from tunesmith.loop.run import run
from tunesmith.posterior import export


@pytest.fixture(scope="session")
def water(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The file it starts from."""
    return start(tmp_path_factory.mktemp("water"))


@pytest.fixture(scope="session")
def smallest(
    water: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Its folder, which nobody changes, and its summary."""
    out = tmp_path_factory.mktemp("smallest") / "run"
    return out, run(config(water), out)


@pytest.fixture(scope="module")
def checked() -> set[str]:
    """Names of exported files that were checked in this file of tests."""
    return set()


@pytest.fixture(autouse=True)
def exports_checked_once(request: pytest.FixtureRequest, checked: set[str]) -> Iterator[None]:
    """The model's own package takes longer to check a file than so short a run to learn it.

    In a file of tests, the first of every name is checked; in a slow test, all are.
    """
    real = export.check_export

    def once(path: Path, *others: Any) -> None:
        if path.name not in checked:
            real(path, *others)
            checked.add(path.name)

    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("slow") is None:
            patch.setattr(export, "check_export", once)
        yield
