"""What needs no model does not wait for one: no package that takes seconds is imported for it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
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
    "template select": 0,
    "template check": 0,
    # a misspelt setting
    f"tune --train {__file__} --out run --set tune.sampler.epoch=3": 2,
    f"tune --train {__file__} --out run --set tune.sampler.kind=comittee": 2,
    f"tune --train {__file__} --out run --set tune.anchor='{{kind: multihead, wight: 1}}'": 2,
    f"select {__file__} --n 3 --out o.xyz --set acquire.rul=kcenter": 2,
    f"select {__file__} --n 3 --out o.xyz --rule top --set acquire.scor=committee-energy": 2,
    f"check organic-xs {__file__} --set dynamics.ensembl=npt": 2,
    f"check organic-xs {__file__} --set settings.stability.evry=3": 2,
    f"check organic-xs {__file__} --set replica=3": 2,
    f"run {RECIPES / 'ethanol.yaml'} --set loop.labls=3": 2,
    f"run {RECIPES / 'pool.yaml'} --set acquire.bach=3": 2,
    f"run {RECIPES / 'water.yaml'} --set explore.fraems=3": 2,
}


#: imports what is not ours and not heavy, once; then, for every line of a folder and a command, a
#: copy of it is `python -m tunesmith` there, and a line says its exit code, stderr and modules
PROGRAM = """
import json, os, runpy, sys, tempfile
import ase.io, numpy, pydantic, rich.console, scipy.sparse, typer, yaml
for line in sys.stdin:
    folder, words = json.loads(line)
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as modules:
        if not (child := os.fork()):
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(0, 1)
            os.dup2(said.fileno(), 2)
            sys.argv[1:] = words
            try:
                runpy.run_module("tunesmith", run_name="__main__", alter_sys=True)
            except SystemExit as error:
                sys.stderr.flush()
                os.write(modules.fileno(), " ".join(sys.modules).encode())
                os._exit(error.code or 0)
            os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (said, modules):
            file.seek(0)
        print(json.dumps([code, said.read().decode(), modules.read().decode()]), flush=True)
"""


@pytest.fixture(scope="module")
def program() -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, "-c", PROGRAM]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as found:
        yield found
        assert found.stdin is not None
        found.stdin.close()


@pytest.mark.parametrize("command", CHEAP)
def test_nothing_heavy_is_imported(
    command: str, program: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    print(json.dumps([str(tmp_path), split(command)]), file=program.stdin, flush=True)
    code, said, modules = json.loads(program.stdout.readline())
    assert code == CHEAP[command], said[-300:]
    if "--set" in command:
        assert "did you mean" in said
    found = {name.partition(".")[0] for name in modules.split()}
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
