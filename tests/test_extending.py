"""The page on parts of one's own: its code is a package, and the command line uses it."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's module and its entry point, as pip would leave them."""
    folder = tmp_path_factory.mktemp("site")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (folder / "spread_rule.py").write_text(code)
    ((group, line),) = re.findall(r'entry-points\."(.*?)"\]\n(.*?)\n', PAGE)
    info = folder / "spread_rule-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spread-rule\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    return folder


def tunesmith(package: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "tunesmith", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_settings_are_printed_and_what_is_wrong_with_them_is_said(package: Path) -> None:
    (words,) = re.findall(r"    tunesmith (template .*)\n", PAGE)
    done = tunesmith(package, *words.split())
    assert done.returncode == 0, done.stderr
    assert "times: 2  # so many times as many are drawn" in done.stdout
    assert "mixed" in tunesmith(package, "template", "pool").stdout
    wrong = ("--set", "acquire.kind=mixed", "--set", "acquire.time=3")
    done = tunesmith(package, "run", "recipes/pool.yaml", *wrong)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: acquire.time: no such setting; did you mean 'times'?"
    done = tunesmith(package, "run", "recipes/pool.yaml", "--set", "acquire.kind=mixed")
    assert done.returncode == 2
    assert "acquire: mixed rests on how far members disagree" in done.stderr


def test_rounds_choose_by_it(package: Path, tmp_path: Path) -> None:
    pytest.importorskip("mace")
    (command,) = re.findall(r"    tunesmith (run .*)\n", PAGE)
    few = ("explore.rounds=1", "tune.sampler.kind=committee", "tune.sampler.epochs=1")
    few = (*few, "tune.sampler.batch_size=3")
    less = [word for text in few for word in ("--set", text)]
    done = tunesmith(package, *command.split(), *less, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr[-600:]
    assert re.search(r"^chosen by +mixed$", done.stdout, re.M)


def test_the_page_names_the_test_of_its_law(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = re.findall(r"`(parts_contract\.check_acquirer\(.*?\))`", PAGE)
    monkeypatch.syspath_prepend(package)
    from tunesmith.testing import parts_contract

    mixed = importlib.import_module("spread_rule").Mixed
    eval(line, {"parts_contract": parts_contract, "Mixed": mixed})
