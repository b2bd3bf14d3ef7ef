"""A plugin package, installed as packages are: its metadata lies on ``sys.path``."""

import sys
from pathlib import Path

import pytest

import troublemakers
from tunesmith.references import worker

NAMES = "Spring Sleeper Leaver Segfault Raiser Importer Undefined Whereabouts Counted"


@pytest.fixture(scope="session")
def plugins(tmp_path_factory):
    info = tmp_path_factory.mktemp("site") / "troublemakers-0.3.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: troublemakers\nVersion: 0.3\n"
    )
    lines = [f"{name.lower()} = troublemakers:{name}" for name in NAMES.split()]
    info.joinpath("entry_points.txt").write_text(
        "\n".join(["[tunesmith.ase_calculators]", *lines, ""])
    )
    added = [str(info.parent), str(Path(troublemakers.__file__).parent)]
    sys.path[:0] = added
    worker.end_all()  # a worker has the path it was started with
    yield
    for path in added:
        sys.path.remove(path)
    worker.end_all()


@pytest.fixture(autouse=True)
def _failed_folders_go_with_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
