"""Kills, flipped bits and bad inputs: what is lost, what is silently wrong, who speaks clearly.

kills: `label`, `tune` and `run` are killed (SIGKILL) at random moments of their time, and the same
command is given until it ends; all results must be, to the byte, those of the uninterrupted
command, and no committed label may be lost. flips: one random bit of a file that holds labels or
weights; what comes of reading it. inputs: every setting of every configuration with every bad
value, and files that are no data; each must end with one sentence and exit code 2 (`doctor`: 1),
and nothing written.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase.build import molecule

from bench.faults.bad_inputs import digest, given
from bench.runner.parts import Bench, Found, Named, Options, Part, Record
from bench.runner.tables import counts
from bench.shared.structures import rattled
from tunesmith import tensor_files
from tunesmith.core import Frame
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.store import LabelStore
from tunesmith.errors import TunesmithError
from tunesmith.references.tblite import TBLite

COMMANDS = ("label", "tune", "run")


@dataclass(frozen=True)
class Fault(Named):
    """So many kills of a command, each time once or twice before it may end; so many flipped bits,
    one at a time, of a file that is read in some way; or a share of the bad inputs."""

    what: str
    times: float
    seed: int


def waters(n: int, seed: int = 0) -> list[Frame]:
    """Rattled molecules."""
    rng, start = np.random.default_rng(seed), molecule("H2O")
    return [Frame(rattled(start, rng, 0.05), None, f"water {i}") for i in range(n)]


def commands(folder: Path) -> dict[str, list[str]]:
    """Name → arguments of a command that takes seconds; its input is in ``folder``, its results
    below ``out`` of the folder that it is run in."""
    write_frames(folder / "frames.xyz", waters(40))
    reference, labelled = TBLite(method="GFN1-xTB"), []
    for frame in waters(12, seed=1):
        label: Any = reference.label(frame.atoms)
        labelled.append(Frame(frame.atoms, label, frame.origin))
    write_frames(folder / "train.xyz", labelled)
    write_frames(folder / "start.xyz", waters(1, seed=2))
    (folder / "run.yaml").write_text(
        f"reference: {{kind: tblite, method: GFN1-xTB}}\ntarget: {{energy: 0.15 kcal/mol}}\n"
        f"explore: {{start: [{folder / 'start.xyz'}], time: 15 fs, write_every: 0.5 fs}}\n"
        "acquire: {max_gap: 6 fs}\nloop: {checkpoint_every: 0.05 s}\n"
        "tune: {sampler: {kind: sghmc, members: 2, steps: 20}}\nexecute: {processes: 1}\n"
    )
    frames, train = str(folder / "frames.xyz"), str(folder / "train.xyz")
    sampler = ("--set", "tune.sampler.epochs=40", "--set", "tune.sampler.checkpoint_every=0.05 s")
    tblite = ("--reference", "tblite", "--set", "reference.method=GFN1-xTB")
    return {
        "label": ["label", frames, *tblite, "--out", "out/labels.xyz"],
        "tune": ["tune", "--train", train, "--strategy", "naive", *sampler, "--out", "out/run"],
        "run": ["run", str(folder / "run.yaml"), "--out", "out/run"],
    }


def results(folder: Path) -> dict[str, str]:
    """Digests of what a command is run for. The order of a store's rows and its times may differ,
    and so may a summary's seconds: its numbers are in what is compared."""
    kept = ("labels.xyz", "labels.extxyz", "trajectory.extxyz", "members.safetensors")
    paths = [p for p in sorted(folder.rglob("*")) if p.name in kept and p.is_file()]
    return {str(p.relative_to(folder)): digest(p) for p in paths}


def _start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tunesmith", *arguments], cwd=folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=open(folder / "said", "ab"),
    )  # fmt: skip


def _rows(folder: Path) -> int:
    """Labels in the stores below a folder; -1 where a store cannot be read."""
    try:
        return sum(len(LabelStore(p)) for p in folder.rglob("labels.db"))
    except TunesmithError:
        return -1


def kills(it: Fault, _: Options) -> Record:
    """Kills in random moments; what is not the same in the end."""
    rng = np.random.default_rng([it.seed, COMMANDS.index(it.what)])
    with TemporaryDirectory() as place:
        inputs = Path(place) / "inputs"
        inputs.mkdir()
        arguments, whole = commands(inputs)[it.what], Path(place) / "whole"
        began = time.monotonic()
        assert _start(arguments, whole).wait() == 0, (whole / "said").read_text()
        lasts, right = time.monotonic() - began, results(whole / "out")
        assert right
        done = {"killed": 0, "runs": 0, "same": 0, "lost": 0, "unfinished": 0}
        while done["killed"] < it.times:
            folder = Path(place) / str(done["runs"])
            done["runs"] += 1
            for _ in range(int(rng.integers(1, 3))):
                process = _start(arguments, folder)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.15, 0.98) * lasts)
                if process.poll() is not None:
                    break
                before = _rows(folder)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done["killed"] += 1
                done["lost"] += _rows(folder) < before
            ended = _start(arguments, folder).wait() == 0
            done["unfinished"] += not ended
            done["same"] += ended and results(folder / "out") == right
            shutil.rmtree(folder)
    return done | {"lasts": lasts}


# --------------------------------------------------------------------------------- flips


def flips(it: Fault, _: Options) -> Record:
    """How each reading of the file ends."""
    rng = np.random.default_rng([it.seed, list(READERS).index(it.what)])
    with TemporaryDirectory() as place:
        folder = Path(place)
        for name, arguments in commands(folder).items():
            if name != "run":
                assert _start(arguments, folder).wait() == 0, (folder / "said").read_text()
        path, read = READERS[it.what]
        ends = Counter(_flipped(folder / path, read, rng) for _ in range(int(it.times)))
    return {"ends": dict(ends)}


def _flipped(path: Path, read: Callable[[Path], bytes], rng: np.random.Generator) -> str:
    right, content = read(path), bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    with TemporaryDirectory() as place:
        copy = Path(place) / path.name
        copy.write_bytes(content)
        try:
            answer = read(copy)
        except TunesmithError:
            return "refused in a sentence"
        except Exception as error:
            return f"a bug: {type(error).__name__}"
        changed = copy.read_bytes() != bytes(content)
    if changed:
        return "written to by reading"
    return "the same numbers" if answer == right else "OTHER NUMBERS"


def _numbers(frames: list[Frame]) -> bytes:
    parts = [(f.atoms.numbers, f.atoms.positions, f.label) for f in frames]
    return b"".join(
        n.tobytes() + x.tobytes() + np.float64(y.energy).tobytes() + np.asarray(y.forces).tobytes()
        for n, x, y in parts
        if y is not None
    )


def _by_store(path: Path) -> bytes:
    return _numbers(LabelStore(path).labels())


def _by_reader(path: Path) -> bytes:
    return _numbers(read_frames(path)[0])


def _by_tensors(path: Path) -> bytes:
    tensors, _ = tensor_files.read(path, "restore it")
    return b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))


#: how a file is read → where it is, and what reads it
READERS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "labels.db as a store": ("out/labels.db", _by_store),
    "labels.db as a data set": ("out/labels.db", _by_reader),
    "members.safetensors": ("out/run/members/members.safetensors", _by_tensors),
}


# -------------------------------------------------------------------------------- report


def inputs(it: Fault, _: Options) -> Record:
    return given(it.times, it.seed, waters(3))


def told(records: list[Record], _: Found) -> str:
    """All bad inputs, and the first of those that ended as they should not."""
    (r,) = records
    lines = [
        f"Bad inputs: {r['tried']} ({counts(r['ends'])}); **{len(r['wrong'])}** not as they should."
    ]
    return "\n".join([*lines, *(f"- {text}" for text in r["wrong"][:20])])


def options(add: Callable[..., Any]) -> None:
    add("--kills", type=int, default=10, help="of each command")
    add("--flips", type=int, default=80, help="of each file")
    add("--some", type=float, default=1.0, help="share of the bad settings")


BENCH = Bench(
    name="faults",
    packages=("torch", "ase", "tblite", "mace-torch"),
    parts={
        "flips": Part(
            cell=Fault,
            plan=lambda o: [Fault(file, o.flips, o.seeds[0]) for file in READERS],
            run=flips,
            cost=lambda *_: 30.0,
            title="Flipped bits",
            columns={
                "one flipped bit of": "{what}",
                "what came of reading it": lambda r: counts(r["ends"]),
            },
        ),
        "inputs": Part(
            cell=Fault,
            plan=lambda o: [Fault("inputs", o.some, o.seeds[0])],
            run=inputs,
            cost=lambda it, _: 20 + 1200 * it.times,
            table=told,
        ),
        "kills": Part(
            cell=Fault,
            plan=lambda o: [Fault(name, o.kills, o.seeds[0]) for name in COMMANDS],
            run=kills,
            cost=lambda it, _: 25.0 * (it.times + 1),
            title="Kills",
            columns={
                "killed": "`{what}` ({lasts:.0f} s)",
                "kills": "{killed}",
                "commands ended": lambda r: f"{r['runs'] - r['unfinished']} of {r['runs']}",
                "same to the byte": "{same} of {runs}",
                "committed labels lost": "{lost}",
            },
        ),
    },
    options=options,
    quick={"kills": 2, "flips": 10, "some": 0.05},
    seeds=[0],
)
