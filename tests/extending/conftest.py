"""A package with one part of every kind, installed by pip into a folder of its own, once."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tunesmith.references import worker

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip leaves of the package, without a network; what builds it is in our environment."""
    for needed in ("matscipy", "pip", "setuptools"):
        if find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    folder = tmp_path_factory.mktemp("tinyparts")
    shutil.copytree(HERE / "plugin", folder / "source")
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    where = ("--quiet", "--target", str(folder / "site"), str(folder / "source"))
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, *where], check=True)
    return folder / "site"


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package, for this process and the workers of references that it starts."""
    worker.end_all()  # those that idle since another test do not know it
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture(scope="session")
def tunesmith(site: Path) -> Command:
    """The command line in a process of its own, from the repository's root, with the package."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

    def run(*words: object, python: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *python, "-m", "tunesmith", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
