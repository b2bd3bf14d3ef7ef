"""Kills, flipped bits and bad inputs: what is lost, what is silently wrong, who speaks clearly.

    python bench/faults.py --quick
    python bench/faults.py --parts kills flips inputs --json runs/faults.json

kills: `label`, `tune` and `run` are killed (SIGKILL) at random moments of their time, and the same
command is given until it ends; then all results must be, to the byte, those of the uninterrupted
command, and the reference must not have been asked more than once for a committed label. flips: one
random bit of a file that holds labels, weights or a checkpoint; what comes of reading it. inputs:
every setting of every configuration with every bad value, and files that are no data; each must end
with one sentence and exit code 2 (`doctor`: 1), and nothing written.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import molecule

from measure import machine, told
from tunesmith import tensor_files, terminal
from tunesmith.cli import app
from tunesmith.config.reading import TEMPLATES
from tunesmith.core import Frame
from tunesmith.data.formats import read_frames, write_frames
from tunesmith.data.store import LabelStore
from tunesmith.errors import TunesmithError
from tunesmith.references.tblite import TBLite
from tunesmith.registry import SECTIONS
from tunesmith.settings import class_of, join, nested

#: what no setting, or few of them, can take
VALUES = (
    *(
        "-1",
        "0",
        "1e400",
        ".nan",
        "[]",
        "{}",
        "''",
        "null",
        "true",
        "1e999 ps",
        "-3 eV",
        "7 parsec",
    ),
    *("a: b: c", "[1, x", "../../etc/passwd", "💥", "1000000000000", "$(touch pwned)"),
)


# --------------------------------------------------------------------------------- kills


def waters(n: int, seed: int = 0) -> list[Frame]:
    """Rattled molecules."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = molecule("H2O")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        frames.append(Frame(atoms, None, f"water {i}"))
    return frames


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
    return {str(p.relative_to(folder)): _digest(p) for p in paths}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def kills(each: int, rng: np.random.Generator) -> dict[str, Any]:
    """Every command is killed ``each`` times, once or twice before it may end."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place) / "inputs"
        inputs.mkdir()
        for name, arguments in commands(inputs).items():
            whole = Path(place) / name / "whole"
            began = time.monotonic()
            assert _start(arguments, whole).wait() == 0, (whole / "said").read_text()
            lasts, right = time.monotonic() - began, results(whole / "out")
            assert right
            done = {"kills": 0, "runs": 0, "same": 0, "labels lost": 0, "failed": 0}
            while done["kills"] < each:
                folder = Path(place) / name / str(done["runs"])
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
                    done["kills"] += 1
                    done["labels lost"] += _rows(folder) < before
                ended = _start(arguments, folder).wait() == 0
                done["failed"] += not ended
                done["same"] += ended and results(folder / "out") == right
                shutil.rmtree(folder)
            found[name] = done | {"seconds": lasts}
            print(name, done, flush=True)
    return found


# --------------------------------------------------------------------------------- flips


def flips(each: int, rng: np.random.Generator) -> dict[str, Any]:
    """One random bit of a file; how each reading of it ends."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, arguments in commands(folder).items():
            if name != "run":
                assert _start(arguments, folder).wait() == 0, (folder / "said").read_text()
        store, members = folder / "out/labels.db", folder / "out/run/members/members.safetensors"
        readers: dict[str, tuple[Path, Callable[[Path], bytes]]] = {
            "labels.db as a store": (store, _by_store),
            "labels.db as a data set": (store, _by_reader),
            "members.safetensors": (members, _by_tensors),
        }
        return {
            name: dict(Counter(_flipped(path, read, rng) for _ in range(each)))
            for name, (path, read) in readers.items()
        }


def _flipped(path: Path, read: Callable[[Path], bytes], rng: np.random.Generator) -> str:
    right, content = read(path), bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    with tempfile.TemporaryDirectory() as place:
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


# -------------------------------------------------------------------------------- inputs


def paths(cls: Any, at: str = "") -> Iterator[str]:
    """Every setting of a configuration, those of every kind of its sections too."""
    for key, field in cls.model_fields.items():
        here = join(at, key)
        yield here
        if here in SECTIONS:
            for kind in SECTIONS[here].names():
                with contextlib.suppress(TunesmithError):
                    own = class_of(cls, {"kind": kind}, here, None)
                    for name in own.model_fields:
                        yield f"{here}.{name}"
        elif inner := nested(field.annotation):
            yield from paths(inner, here)


def inputs(some: float, rng: np.random.Generator) -> dict[str, Any]:
    """Bad settings and bad files. some: the share of the settings × values that is tried."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_frames(folder / "frames.xyz", waters(3))
        made = _bad_files(folder)
        with contextlib.chdir(folder):
            before = _tree(folder)
            for words in [*_bad_settings(some, rng), *_bad_commands(made)]:
                code, said = _given(words)
                sentences = [line for line in said.splitlines() if line.startswith("error: ")]
                fine = code == 2 and len(sentences) == 1 and "bug" not in sentences[0][:30]
                fine |= words[0] == "doctor" and code == 1
                after = _tree(folder)
                if after != before:
                    fine, before = False, after
                    words = [*words, "(WROTE)"]
                ends[f"exit {code}"] += 1
                if not fine:
                    wrong.append(f"{' '.join(words)} → {code}: {said.strip()[-200:]}")
    return {"tried": sum(ends.values()), "ends": dict(ends), "not as they should": wrong}


def _bad_settings(some: float, rng: np.random.Generator) -> Iterator[list[str]]:
    """Each leads to a file that is not there: what is accepted ends with exit code 2, too."""
    given = {
        "tune": ["tune", "--train", "none.xyz", "--out", "out"],
        "label": ["label", "none.xyz", "--out", "out.xyz"],
        "attack": ["attack", "none.xyz", "--model", "none", "--out", "out.xyz"],
    }
    for name, (cls, start) in TEMPLATES.items():
        file = f"{name}.yaml"
        for path in paths(cls):
            for value in VALUES:
                if rng.random() >= some:
                    continue
                words = given.get(name)
                if words is None:
                    Path(file).write_text(json.dumps(start))
                    words = ["run", file]
                yield [*words, "--set", f"{path}={value}"]


def _bad_files(folder: Path) -> list[str]:
    """Files of structures that hold none, or none that can be."""
    sound = (folder / "frames.xyz").read_text()
    lattice = '3\nLattice="{0} 0 0 0 {0} 0 0 0 {0}" pbc="T T T" Properties=species:S:1:pos:R:3\n'
    body = "O 0 0 0\nH 0 0 1\nH 0 1 0\n"
    texts = {
        "empty": "", "blank": "\n\n\n", "words": "hello\n", "cut": sound[: len(sound) // 3],
        "nan": sound.replace("0.", "nan", 1), "letters": sound.replace("O ", "Xx ", 1),
        "thin": lattice.format(0.01) + body, "wide": lattice.format(1e300) + body,
        "flat": lattice.format(0) + body, "far": "1\n\nH 1e200 0 0\n",
        "same": "2\n\nH 0 0 0\nH 0 0 0\n",
        "minus": "-3\n\n", "huge": "999999999\n\nH 0 0 0\n", "d": "1\n\nD 0 0 0\n",
        "zero": "0\n\n",
    }  # fmt: skip
    names = []
    for name, text in texts.items():
        (folder / f"{name}.xyz").write_text(text)
        names.append(f"{name}.xyz")
    (folder / "binary.xyz").write_bytes(bytes(range(256)) * 40)
    (folder / "short.db").write_bytes(b"S")
    (folder / "half.gz").write_bytes(b"\x1f\x8b\x08")
    (folder / "folder.xyz").mkdir()
    return [
        *names,
        "binary.xyz",
        "short.db",
        "half.gz",
        "folder.xyz",
        "none.xyz",
        "",
        "-",
        "a b.xyz",
    ]


def _bad_commands(made: list[str]) -> Iterator[list[str]]:
    for file in made:
        yield ["label", file, "--reference", "tblite", "--out", "out.xyz"]
        yield ["tune", "--train", file, "--out", "out"]
        yield ["evaluate", "organic-xs", file]
        yield ["doctor", file]
        yield ["select", file, "--n", "2", "--out", "out.xyz"]
        yield ["attack", file, "--model", "organic-xs", "--target", "1 eV/Å", "--out", "out.xyz"]
        yield ["check", "organic-xs", file, "--time", "1e999 ps"]
        yield ["run", file]
        yield ["trust", file if file in ("", "none.xyz", "folder.xyz") else "none.xyz"]
        yield ["tune", "--train", "frames.xyz", "--model", file, "--out", "out"]


def _given(words: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = terminal.run(app, words)
    return code, err.getvalue()


def _tree(folder: Path) -> dict[str, Any]:
    made = {"run.yaml", "pool.yaml", "cago.yaml"}  # ours
    return {
        str(p.relative_to(folder)): _digest(p) if p.is_file() else ""
        for p in sorted(folder.rglob("*"))
        if p.name not in made
    }


# -------------------------------------------------------------------------------- report


def table(found: dict[str, Any]) -> str:
    here = machine(("torch", "ase", "tblite", "mace-torch"))
    lines = [
        f"# Kills, flips and bad inputs, {time.strftime('%Y-%m-%d')}",
        "",
        ", ".join(f"{k} {v}" for k, v in here.items()) + ".",
        "",
    ]
    if "kills" in found:
        lines += ["| killed | kills | commands ended | same to the byte | committed labels lost |"]
        lines += ["|---|---|---|---|---|"]
        for name, k in found["kills"].items():
            ended = f"{k['runs'] - k['failed']} of {k['runs']}"
            lines += [
                f"| `{name}` ({k['seconds']:.0f} s) | {k['kills']} | {ended} | "
                f"{k['same']} of {k['runs']} | {k['labels lost']} |"
            ]
        lines += [""]
    if "flips" in found:
        lines += ["| one flipped bit of | what came of reading it |", "|---|---|"]
        for name, ends in found["flips"].items():
            said = ", ".join(f"{n} {what}" for what, n in sorted(ends.items()))
            lines += [f"| {name} | {said} |"]
        lines += [""]
    if "inputs" in found:
        i = found["inputs"]
        said = ", ".join(f"{n} {end}" for end, n in sorted(i["ends"].items()))
        bad = len(i["not as they should"])
        lines += [f"Bad inputs: {i['tried']} ({said}); **{bad}** not as they should."]
        lines += [f"- {text}" for text in i["not as they should"][:20]]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["kills", "flips", "inputs"])
    parser.add_argument("--kills", type=int, default=10, help="of each command")
    parser.add_argument("--flips", type=int, default=80, help="of each file")
    parser.add_argument("--some", type=float, default=1.0, help="share of the bad settings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two kills, ten flips, some inputs")
    parser.add_argument("--out", type=Path, help="the table, as Markdown")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.kills, options.flips, options.some = 2, 10, 0.05
    rng = np.random.default_rng(options.seed)
    parts: dict[str, Callable[[], Any]] = {
        "flips": lambda: flips(options.flips, rng),
        "inputs": lambda: inputs(options.some, rng),
        "kills": lambda: kills(options.kills, rng),
    }
    found = {name: part() for name, part in parts.items() if name in options.parts}
    told(options, table(found), found)


if __name__ == "__main__":
    main()
