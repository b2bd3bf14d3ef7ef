"""The demo of the public model, as a user sees it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sevenn", reason="needs sevenn, which is not in this environment")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_demo_brings_the_errors_down_and_runs_twice(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def demo() -> str:
        done = subprocess.run(
            ["bash", tmp_path / "examples" / "demo-7net.sh"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    first = demo()
    row = re.search(r"force MAE +meV/Å +([\d.]+) +([\d.]+)", first)
    assert row
    assert float(row[1]) > 200
    assert float(row[2]) < 40
    assert (tmp_path / "runs/ethanol-7net/final.model").exists()
    assert first.splitlines()[-12:] == demo().splitlines()[-12:]
