"""Every cure that is printed works: damage a file, follow the sentence to the letter, arrive at
what an undamaged run came to, to the byte, with no label asked for twice."""

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import small
import small_cago
import small_pool
from tunesmith import config, fine_tune
from tunesmith.data.store import LabelStore
from tunesmith.errors import RunFolderError
from tunesmith.loop.run import run
from tunesmith.posterior.ensemble import open_model
from tunesmith.references.tblite import TBLite
from tunesmith.tune.adamw_fit import AdamWFit


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = int(np.random.default_rng(len(content)).integers(len(content) // 4, len(content)))
    content[place] ^= 4
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


DAMAGES = (flipped, cut, emptied, removed)


def outcome(out: Path) -> dict[str, bytes]:
    """What decides how the tuned model predicts, and what was labelled."""
    names = ("members/members.safetensors", "labels.extxyz", "trajectory.extxyz")
    return {n: (out / n).read_bytes() for n in names if (out / n).exists()}


def follow(sentence: str, out: Path) -> Path:
    """Do as it says; the folder to run in then."""
    if drop := re.search(r'python -c "(.*)"', sentence):
        subprocess.run([sys.executable, "-c", drop[1]], check=True)
        return out
    if "move it away, and delete" in sentence:
        (out / "labels.db").rename(out / "away")
    if delete := re.search(r"delete (\S+) and run the same command again", sentence):
        Path(delete[1]).unlink()
        return out
    if "choose another folder" in sentence:
        other = out.with_name("other")
        if move := re.search(r"move (\S+) there", sentence):
            other.mkdir()
            shutil.move(move[1], other)
        return other
    if move := re.search(r"are in (\S+): move that to (\S+), or", sentence):
        shutil.move(move[1], move[2])
        return out
    if "move it away and its labels will be computed again" in sentence:
        (out / "labels.db").rename(out / "away")
        return out
    raise AssertionError(f"no cure to follow: {sentence}")


def arrive(go: Callable[[Path], Any], out: Path, damage: str) -> Path:
    """Run, follow what is said, run again; at most three times."""
    for _ in range(3):
        try:
            go(out)
            return out
        except RunFolderError as error:
            print(damage, "→", error)
            out = follow(str(error), out)
    go(out)
    return out


def files_of(out: Path) -> list[str]:
    found = (p for p in out.rglob("*") if p.is_file() and p.name != "lock")
    return sorted(str(p.relative_to(out)) for p in found)


class Case:
    """A finished run, or one that was interrupted; and how it is run again."""

    def __init__(self, out: Path, go: Callable[[Path], Any]) -> None:
        self.out, self.go = out, go


def tuned(folder: Path, *overrides: str) -> Case:
    named = small_cago.files(folder)
    given = {"model.source": "organic-xs", "data.train": named["data.test"]}
    settings = config.load(config.TuneConfig, None, list(overrides), given)

    def go(out: Path) -> Any:
        return fine_tune(settings, out, Console(quiet=True))

    go(folder / "run")
    return Case(folder / "run", go)


def loops(settings: Any) -> Callable[[Path], Any]:
    return lambda out: run(settings, out, Console(quiet=True))


def looped(folder: Path, settings: Any) -> Case:
    go = loops(settings)
    go(folder / "run")
    return Case(folder / "run", go)


def case(kind: str, folder: Path) -> Case:
    match kind:
        case "one fit":
            return tuned(folder, "tune.sampler={kind: adamw, epochs: 2, batch_size: 2}")
        case "committee":
            sampler = "{kind: committee, members: 2, epochs: 2, batch_size: 2}"
            return tuned(folder, f"tune.sampler={sampler}", "execute.processes=1")
        case "sghmc":
            sampler = "{kind: sghmc, members: 2, steps: 20}"
            return tuned(
                folder, "strategy=bayesian", f"tune.sampler={sampler}", "execute.processes=1"
            )
        case "pool":
            return looped(folder, small_pool.config(small_pool.files(folder)))
        case "cago":
            return looped(folder, small_cago.config(small_cago.files(folder)))
    raise ValueError(kind)


@pytest.fixture(scope="module")
def finished(
    smallest: tuple[Path, Any], water: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Case]:
    """The finished run of a kind, made once: tests damage copies of its folder."""

    @cache
    def made(kind: str) -> Case:
        if kind == "on the fly":
            return Case(smallest[0], loops(small.config(water)))
        return case(kind, tmp_path_factory.mktemp("whole"))

    return made


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("sghmc", "pool", "cago")]


@pytest.mark.parametrize("kind", ["one fit", "committee", "on the fly", *SLOW])
def test_every_file_of_a_finished_run(
    kind: str, finished: Callable[[str], Case], tmp_path: Path
) -> None:
    whole = finished(kind)
    right = outcome(whole.out)
    assert right
    rng = np.random.default_rng(0)
    names = files_of(whole.out)
    assert len(names) > 5
    for name in names:
        if name.endswith(".png"):
            continue
        damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
        out = tmp_path / "damaged"
        shutil.copytree(whole.out, out)
        damage(out / name)
        said = f"{kind}: {name} {damage.__name__}"
        arrived = arrive(whole.go, out, said)
        found = outcome(arrived)
        assert found == right, said
        open_model(str(arrived))
        shutil.rmtree(out)
        if arrived != out:
            shutil.rmtree(arrived)


def test_a_damaged_row_of_labels(finished: Callable[[str], Case], tmp_path: Path) -> None:
    """Drop the row, begin anew: only that label is asked for again, and all is as it was."""
    whole, out = finished("on the fly"), tmp_path / "run"
    shutil.copytree(whole.out, out)
    right, path = outcome(out), out / "labels.db"
    before = {e.frame.origin: e.seconds for e in LabelStore(path).entries()}
    with sqlite3.connect(path) as db:
        forces = bytes(db.execute("SELECT forces FROM systems WHERE id=2").fetchone()[0])
        db.execute("UPDATE systems SET forces=? WHERE id=2", (forces[::-1],))
    arrive(whole.go, out, "row 2")
    assert outcome(out) == right
    after = {e.frame.origin: e.seconds for e in LabelStore(path).entries()}
    assert before.keys() == after.keys()
    assert sum(before[k] != after[k] for k in before) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["committee", "on the fly", "pool", "cago"])
def test_every_file_of_an_interrupted_run(
    kind: str,
    finished: Callable[[str], Case],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted as late as half of its labels or fits are there."""
    whole = finished(kind)
    right = outcome(whole.out)
    target, name = (TBLite, "label") if kind in ("on the fly", "cago") else (AdamWFit, "step")
    real, calls = getattr(target, name), []

    def counted(*args: Any) -> Any:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(target, name, counted)
    whole.go(tmp_path / "counted")
    half = len(calls) * 2 // 3

    def interrupted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == half:
            raise KeyboardInterrupt
        return real(*args)

    calls.clear()
    monkeypatch.setattr(target, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        whole.go(tmp_path / "part")
    monkeypatch.setattr(target, name, real)
    names = [n for n in files_of(tmp_path / "part") if not n.endswith((".png", ".extxyz"))]
    for i, name in enumerate(names):
        out = tmp_path / "damaged"
        shutil.copytree(tmp_path / "part", out)
        DAMAGES[i % len(DAMAGES)](out / name)
        arrived = arrive(whole.go, out, f"{kind}, interrupted: {name}")
        assert outcome(arrived) == right, name
        shutil.rmtree(out)
        if arrived != out:
            shutil.rmtree(arrived)
