"""What needs no model does not wait for one: no package that takes seconds is imported for it."""

import os
import subprocess
import sys
from pathlib import Path
from shlex import split

import pytest

HEAVY = ("torch", "mace", "sevenn", "chgnet", "matplotlib", "pandas", "sklearn")
RECIPES = Path(__file__).resolve().parents[2] / "recipes"
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
    f"check organic-xs {__file__} --md ensembl=npt": 2,
    "run none.yaml": 2,
    "tune --train none.xyz --out run": 2,
    "template tune": 0,
    "template run": 0,
    "template pool": 0,
    "template cago": 0,
    "template attack": 0,
    # a misspelt setting
    f"tune --train {__file__} --out run --set tune.sampler.epoch=3": 2,
    f"tune --train {__file__} --out run --set tune.sampler.kind=comittee": 2,
    f"tune --train {__file__} --out run --set tune.anchor='{{kind: multihead, wight: 1}}'": 2,
    f"run {RECIPES / 'ethanol.yaml'} --set loop.labls=3": 2,
    f"run {RECIPES / 'pool.yaml'} --set acquire.bach=3": 2,
    f"run {RECIPES / 'water.yaml'} --set explore.fraems=3": 2,
}


@pytest.mark.parametrize("command", CHEAP)
def test_nothing_heavy_is_imported(command: str, tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "tunesmith", *split(command)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == CHEAP[command], done.stderr[-300:]
    if "--set" in command:
        assert "did you mean" in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    found = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "tunesmith" in found
    assert not found & set(HEAVY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("2", "2")])
def test_threads_are_the_users_and_one_by_default(given: str | None, threads: str) -> None:
    """Of every command, whatever library is loaded later."""
    code = """
import sys
from tunesmith import cli
assert "numpy" not in sys.modules, "it would have its threads by now"
sys.argv = ["tunesmith", "--version"]
try:
    cli.main()
except SystemExit:
    pass
import torch
print(torch.get_num_threads())
"""
    env = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    env |= {} if given is None else {"OMP_NUM_THREADS": given}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == [threads], done.stderr
