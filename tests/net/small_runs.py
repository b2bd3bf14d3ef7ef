"""What must not change when code is moved: short runs of the real program, and what they leave.

    python tests/net/small_runs.py record [CASE …]     before the first move
    python tests/net/small_runs.py compare [CASE …]    after every one

Every case is a few commands of `tunesmith` in a folder of its own. Of what they leave are kept the
label keys, numbers (positions, energies, sums of the members' weights) and a digest of the bytes.
On the machine where they were recorded (and with its torch) the digests must be the same, on any
other the numbers, to `TOLERANCE`: arithmetic on another processor differs in its last bits.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from safetensors.numpy import load_file
from tblite.ase import TBLite

RECORDED = Path(__file__).with_name("recorded.json")
#: relative, of a number from another machine
TOLERANCE = 1e-3
LONGEST = 900.0  # s that one command may take on a crowded machine

# ----------------------------------------------------------------------------- what is done


@dataclass(frozen=True)
class Case:
    """commands: of tunesmith, in order. left: files that are compared. kill: the first command is
    killed when so many labels are committed, and given again."""

    commands: tuple[str, ...]
    left: tuple[str, ...]
    kill: int = 0


_RUN = ("run/labels.db", "run/labels.extxyz", "run/members/members.safetensors")
_WATER = (
    "--set explore.start=water.xyz --set reference='{kind: tblite, method: GFN1-xTB}' "
    "--set execute.processes=1 --out run"
)
_FLY = (
    f"run {{recipes}}/ethanol.yaml {_WATER} --set target.energy='0.5 kcal/mol' "
    "--set explore.time='10 fs' --set explore.write_every='0.5 fs' --set acquire.max_gap='2 fs' "
    "--set tune.sampler='{kind: sghmc, members: 2, steps: 20}' "
    "--set loop.checkpoint_every='0.001 s'"
)
_FLY_NTK = f"{_FLY} --set tune.spread=ntk --set tune.keep=3".replace("members: 2", "members: 1")
_FLY_ATTACK = f"{_FLY} --set attack.target='200 meV/Å' --set attack.evaluations=8"
_ROUNDS = (
    f"run {{recipes}}/water.yaml {_WATER} --set data.test=waters.xyz "
    "--set target.forces='0.1 eV/Å' "
    "--set explore='{kind: cago, rounds: 2, rattled: 3, training_rounds: 1, training_frames: 2, "
    "frames: 2, time: 6 fs, write_every: 1 fs}' "
    "--set acquire='{kind: attack, attack: {evaluations: 8}, training_attackers: 2}' "
    "--set tune.sampler='{kind: committee, members: 3, epochs: 2, batch_size: 2}'"
)
_POOL = (
    "run {recipes}/pool.yaml --set explore.files=pool.xyz --set data.test=waters.xyz "
    "--set data.valid=other.xyz --set tune.e0=reestimate "
    "--set explore.rounds=2 --set explore.start=3 "
    "--set acquire='{kind: greedy, rule: lcmd, batch: 3}' --set execute.processes=1 --out run "
    "--set tune.sampler='{kind: adamw, epochs: 2, batch_size: 1, learning_rate: 1e-3}'"
)
_TUNE = "tune --train pool.xyz --out run --set execute.processes=1 --set seed=3 --strategy "
_COMMITTEE = (
    f"{_TUNE} naive --set tune.sampler='{{kind: committee, members: 3, epochs: 3, batch_size: 4}}'"
)
_SELECT = "select pool.xyz --labelled other.xyz --n 4 --out chosen.xyz "
CASES = {
    "on the fly": Case((_FLY,), (*_RUN, "run/trajectory.extxyz")),
    "on the fly, killed": Case((_FLY,), (*_RUN, "run/trajectory.extxyz"), kill=2),
    "on the fly, by the tangent kernel": Case(
        (_FLY_NTK,), (*_RUN, "run/trajectory.extxyz"), kill=2
    ),
    "on the fly, attacked": Case((_FLY_ATTACK,), (*_RUN, "run/trajectory.extxyz")),
    "rounds from dynamics": Case((_ROUNDS,), _RUN),
    "rounds from dynamics, killed": Case((_ROUNDS,), _RUN, kill=5),
    "rounds from a pool": Case((_POOL,), _RUN),
    "tune naive": Case((f"{_TUNE} naive --set tune.sampler.epochs=3",), (_RUN[2],)),
    "tune committee": Case((_COMMITTEE,), (_RUN[2],)),
    "tune bayesian": Case(
        (f"{_TUNE} bayesian --set tune.sampler='{{kind: sghmc, members: 2, steps: 40}}'",),
        (_RUN[2],),
    ),
    "tune lora": Case((f"{_TUNE} lora --set tune.sampler.epochs=2",), (_RUN[2],)),
    "tune pseudolabel": Case(
        (
            f"{_TUNE} pseudolabel --set tune.anchor='{{kind: pseudolabel, number: 8}}' "
            "--set tune.sampler.epochs=2",
        ),
        (_RUN[2],),
    ),
    "select by lcmd": Case((f"{_SELECT} --rule lcmd",), ("chosen.xyz",)),
    "select by variance": Case(
        (f"{_SELECT} --rule posterior-variance --representation activation",), ("chosen.xyz",)
    ),
    "select by distance": Case(
        (f"{_SELECT} --rule kcenter --representation soap",), ("chosen.xyz",)
    ),
    "select by disagreement": Case(
        (_COMMITTEE, f"{_SELECT} --rule top --model run"), ("chosen.xyz",)
    ),
    "attack": Case(
        (
            _COMMITTEE,
            "attack waters.xyz --model run --target '0.1 eV/Å' --uncalibrated --out out.xyz "
            "--reference tblite --set attack.evaluations=12",
        ),
        ("out.xyz", "out.db"),
    ),
}


def inputs(folder: Path) -> None:
    """Water to start from; rattled water and methane, labelled by GFN1-xTB."""
    ase.io.write(folder / "water.xyz", molecule("H2O"))
    both = ("H2O", "CH4")
    for name, n, seed, of in (
        ("pool", 24, 0, both),
        ("other", 4, 1, both),
        ("waters", 3, 2, ("H2O",)),
    ):
        rng = np.random.default_rng(seed)
        ase.io.write(folder / f"{name}.xyz", [_labelled(of[i % len(of)], rng) for i in range(n)])


def _labelled(name: str, rng: np.random.Generator) -> Atoms:
    """All numbers to few digits: the same on every machine."""
    atoms = molecule(name)
    atoms.positions = (atoms.positions + rng.normal(0, 0.07, atoms.positions.shape)).round(6)
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = None
    atoms.info["REF_energy"] = round(float(energy), 7)
    atoms.arrays["REF_forces"] = forces.round(7)
    return atoms


def run(case: Case, folder: Path) -> dict[str, Any]:
    """Run a case in an empty folder, and say what it left."""
    inputs(folder)
    for i, command in enumerate(case.commands):
        if case.kill and i == 0:
            killed(command, folder, case.kill)
        done = subprocess.run(
            _words(command), cwd=folder, env=_variables(), capture_output=True, text=True,
            timeout=LONGEST, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command}\n{done.stderr[-2000:]}")
    return {name: OF[Path(name).suffix](folder / name) for name in case.left}


def killed(command: str, folder: Path, labels: int) -> None:
    """Start a command, and kill it and its workers when so many labels are in the store."""
    process = subprocess.Popen(
        _words(command), cwd=folder, env=_variables(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + LONGEST
    while process.poll() is None and time.monotonic() < end and _count(folder) < labels:
        time.sleep(0.02)
    if process.poll() is not None:
        raise RuntimeError(f"ended by itself with {_count(folder)} labels: {command}")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _count(folder: Path) -> int:
    path = folder / "run" / "labels.db"
    try:
        return len(label_keys(path)) if path.exists() else 0
    except Exception:  # not written yet, or locked by the one who writes
        return 0


def _words(command: str) -> list[str]:
    import shlex

    recipes = Path(__file__).resolve().parents[2] / "recipes"
    filled = [word.replace("{recipes}", str(recipes)) for word in shlex.split(command)]
    return [sys.executable, "-m", "tunesmith", *filled]


def _variables() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


# --------------------------------------------------------------------------- what is left


def label_keys(path: Path) -> list[str]:
    """Of every label, in the order of committing."""
    with ase.db.connect(path) as store:
        return [row.label_key for row in store.select(status="label")]


def _of_store(path: Path) -> dict[str, Any]:
    with ase.db.connect(path) as store:
        rows = [(row.label_key, row.energy) for row in store.select(status="label")]
    return {"bits": _digest(repr([k for k, _ in rows]).encode()), "numbers": [e for _, e in rows]}


def _of_structures(path: Path) -> dict[str, Any]:
    """Positions; energies where there are any."""
    numbers: list[float] = []
    for atoms in ase.io.read(path, ":"):
        numbers += atoms.positions.ravel().tolist()
        numbers += [float(v) for k, v in atoms.info.items() if k.endswith("energy")]
    return {"bits": _digest(path.read_bytes()), "numbers": numbers}


def _of_members(path: Path) -> dict[str, Any]:
    """The mean size, the first, middle and last number of every tensor of the members."""
    tensors = load_file(path)
    numbers: list[float] = []
    for name in sorted(tensors):
        flat = tensors[name].astype(float).ravel()
        numbers += [float(np.abs(flat).mean()), *flat[[0, len(flat) // 2, -1]].tolist()]
    return {
        "bits": _digest(b"".join(tensors[k].tobytes() for k in sorted(tensors))),
        "numbers": [float(f"{x:.8g}") for x in numbers],
    }


#: suffix → what is kept of such a file
OF: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".db": _of_store,
    ".extxyz": _of_structures,
    ".xyz": _of_structures,
    ".safetensors": _of_members,
}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def machine() -> str:
    """What decides the last bits: the processor with all it can do, and torch."""
    of_all = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    parts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in of_all)}
    kind = [parts.get(k, "") for k in ("model name", "cpu family", "model", "stepping")]
    able = _digest(parts.get("flags", "").encode())
    return f"{' '.join(kind)}; {able}; torch {torch.__version__}"


def differences(found: dict[str, Any], wanted: dict[str, Any], *, bits: bool) -> list[str]:
    """In words, how what a case left differs from what was recorded."""
    said = []
    for name, kept in wanted.items():
        here = np.asarray(found[name]["numbers"]), np.asarray(kept["numbers"])
        if here[0].shape != here[1].shape:
            said.append(f"{name}: {len(here[0])} numbers, {len(here[1])} recorded")
        elif not np.allclose(*here, rtol=TOLERANCE, atol=TOLERANCE):
            said.append(f"{name}: numbers up to {np.abs(here[0] - here[1]).max():.2g} apart")
        elif bits and found[name]["bits"] != kept["bits"]:
            apart = np.abs(here[0] - here[1]).max(initial=0.0)
            said.append(f"{name}: other bytes, numbers {apart:.2g} apart")
    return said


def done(name: str) -> dict[str, Any]:
    """What a case leaves, in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="net-"))
    try:
        return run(CASES[name], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(what: str, *names: str) -> int:
    kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"cases": {}}
    wrong = 0
    for name in names or CASES:
        began = time.monotonic()
        found = done(name)
        if what == "record":
            kept["cases"][name] = found
            kept["machine"] = machine()
            RECORDED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            said = ["recorded"]
        else:
            said = differences(found, kept["cases"][name], bits=kept["machine"] == machine())
            wrong += bool(said)
        print(
            f"{name} ({time.monotonic() - began:.0f} s): {'; '.join(said) or 'the same'}",
            flush=True,
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
