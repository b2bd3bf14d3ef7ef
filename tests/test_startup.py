"""What needs no model does not wait for one: no package that takes seconds is imported for it."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "mace", "sevenn", "chgnet", "matplotlib", "pandas", "sklearn")
#: command → exit code
CHEAP = {
    "--help": 0,
    "--version": 0,
    "models": 0,
    "strategies": 0,
    "template label": 0,
    "trust none.model": 2,
    "label none.xyz --reference tblite --out o.xyz": 2,
    "evaluate organic-xs none.xyz": 2,
    "doctor none.xyz": 2,
    "select none.xyz --n 3 --out o.xyz": 2,
    "attack none.xyz --model organic-xs --target 1eV/Å --out o.xyz": 2,
    "check organic-xs none.xyz": 2,
    "run none.yaml": 2,
}


@pytest.mark.parametrize("command", CHEAP)
def test_nothing_heavy_is_imported(command: str, tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "tunesmith", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == CHEAP[command], done.stderr[-300:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    found = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "tunesmith" in found
    assert not found & set(HEAVY)
    assert not list(tmp_path.iterdir())
