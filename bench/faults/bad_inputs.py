"""Bad settings and bad files, given to every command; what comes of them."""

import contextlib
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.config.reading import TEMPLATES
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.errors import TunesmithError
from tunesmith.registry import SECTIONS
from tunesmith.settings import class_of, join, nested

#: what no setting, or few of them, can take
VALUES = (
    *("-1", "0", "1e400", ".nan", "[]", "{}", "''", "null", "true", "1e999 ps", "-3 eV"),
    *("7 parsec", "a: b: c", "[1, x", "../../etc/passwd", "💥", "1000000000000", "$(touch pwned)"),
)


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


def given(some: float, seed: int, frames: list[Frame]) -> dict[str, Any]:
    """How many were tried and how they ended. some: the share of the settings × values."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_frames(folder / "frames.xyz", frames)
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
    return {"tried": sum(ends.values()), "ends": dict(ends), "wrong": wrong}


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
    others = ("binary.xyz", "short.db", "half.gz", "folder.xyz", "none.xyz", "", "-", "a b.xyz")
    return [*names, *others]


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
        str(p.relative_to(folder)): digest(p) if p.is_file() else ""
        for p in sorted(folder.rglob("*"))
        if p.name not in made
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
