"""The smallest on-the-fly run, made once: what others are compared with, and copies to damage."""

from pathlib import Path
from typing import Any

import pytest

from small import config, start
from tunesmith.loop.run import run


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
