"""A run's folder knows which run it is: its settings, its model and its data, to the bit."""

import contextlib
import errno
import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith import files
from tunesmith.config import TuneConfig, dump
from tunesmith.core import Frame, Settings
from tunesmith.errors import RunFolderError
from tunesmith.potentials.potential import Potential
from tunesmith.settings import plain

#: a folder that holds only labels, and what a run says of itself, is as good as new
_KEPT = ("labels.db", "labels.rescued-", "config.yaml")
_LOCK = "lock"
#: twice: who a run is cannot be found out from anything else in its folder
_STAMPS = ("identity.json", "identity-copy.json")


def fingerprint(frames: Sequence[Frame]) -> str:
    """Of structures and, where they have some, labels: to the bit."""
    total = hashlib.sha256()
    for frame in frames:
        arrays: list[Any] = [frame.atoms.numbers, frame.atoms.positions, frame.atoms.cell.array]
        if (label := frame.label) is not None:
            arrays += [np.array(label.energy), label.forces]
        for array in arrays:
            total.update(np.ascontiguousarray(array).tobytes())
        total.update(repr((frame.weight, frame.atoms.pbc.tolist())).encode())
        if label is not None and label.stress is not None:
            total.update(np.ascontiguousarray(label.stress).tobytes())
    return total.hexdigest()


def identity(potential: Potential, frames: Sequence[Frame]) -> dict[str, str]:
    """What a checkpoint is only good for: this model and these labels, to the bit."""
    return {"model": potential.base.sha256, "data": fingerprint(frames)}


def _flat(values: Any, path: str = "") -> dict[str, Any]:
    if isinstance(values, dict):
        parts = [_flat(value, f"{path}.{key}") for key, value in values.items()]
        return {k: v for part in parts for k, v in part.items()} or {path[1:]: {}}
    return {path[1:]: values}


def _as_good_as_none(path: Path) -> bool:
    """Of what is in a folder: labels, or all that was there before anything was learnt."""
    if path.name == "checkpoint" and path.is_dir():
        names = (p.name for p in path.rglob("*") if not p.is_dir())
        return all(n in (*_STAMPS, _LOCK) or n.endswith(".part") for n in names)
    return path.name.startswith(_KEPT)


def stored(out: Path, config: Settings, may_change: Sequence[str]) -> dict[str, Any] | None:
    """What the folder says of its run, None for a new one; refuses other settings than its own.

    may_change: starts of the paths of settings that may differ.
    """
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file; choose another name for the run's folder.")
    if not out.exists() or all(_as_good_as_none(p) for p in out.iterdir()):
        return None
    stamps = [out / "checkpoint" / name for name in _STAMPS]
    found = files.read_record(stamps[0]) or files.read_record(stamps[1])
    if found is None and not any(stamp.exists() for stamp in stamps):
        raise RunFolderError(f"{out} is not empty and not a run's folder; choose another.")
    if found is None:
        raise RunFolderError(
            f"{stamps[0]} and its copy are damaged, so nothing tells whose run this is; choose "
            f"another folder{_labels_move(out)}."
        )
    old, of = _flat(found["config"]), found["identity"]
    new = _flat(plain(config))
    differ = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    differ = [k for k in differ if not any(_within(k, path) for path in may_change)]
    both = [k for k in differ if k in old and k in new]  # another kind brings other settings, too
    if both:
        key = both[0]
        raise RunFolderError(
            f"{out} was made with another {key} ({old[key]}, now {new[key]}); "
            "choose another folder or the old setting."
        )
    if differ:
        key, which = differ[0], "without" if differ[0] in new else "with"
        raise RunFolderError(
            f"{out} is of another version of tunesmith, {which} a setting {key}; choose another "
            f"folder{_labels_move(out)}."
        )
    return {"config": old, "identity": of}


def _within(key: str, path: str) -> bool:
    """Whether a setting is the one at a path or below it; a path that ends in a dot, or is empty,
    is that of all that starts with it."""
    return key.startswith(path) if path[-1:] in ("", ".") else f"{key}.".startswith(f"{path}.")


def _labels_move(out: Path) -> str:
    kept = (out / "labels.db").exists()
    return f"; move {out}/labels.db there, and none is asked for again" if kept else ""


#: part of an identity → what has changed where it differs
_OTHER = {
    "model": "another model",
    "data": "other data",
    "reference": "another version of the reference",
}


def require_same(out: Path, old: dict[str, str], new: dict[str, str]) -> None:
    """Raise `RunFolderError` where the folder belongs to another model, data or reference."""
    for key, what in _OTHER.items():
        if old.get(key) != new.get(key):
            raise RunFolderError(f"{out} was made with {what}; choose another folder.")


def summary(out: Path, config: TuneConfig, old: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a finished run, unless more epochs are asked for now."""
    epochs = "tune.sampler.epochs"
    if old.get(epochs) != _flat(plain(config)).get(epochs):
        return None
    try:
        return dict(json.loads((out / "summary.json").read_text()))
    except (OSError, ValueError):
        return None


def claim(out: Path, config: Settings, identity: dict[str, str]) -> None:
    """Write what the run is before any work is done."""
    for name in _STAMPS:
        stamp = {"identity": identity, "config": plain(config)}
        files.write_record(out / "checkpoint" / name, stamp)
    files.write_text(out / "config.yaml", dump(config))


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Inside, no other process works on this folder; a killed one leaves it free, and what it had
    half written is gone.

    Raises `RunFolderError` where one does, or where it cannot be written. File systems without
    locks are not guarded.
    """
    path = out / "checkpoint" / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path} ({error.strerror}); choose a folder you may write to."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise RunFolderError(
                    f"another process is working on {out}; wait for it or stop it."
                ) from None
        for part in (p for d in (out, *out.rglob("*/")) for p in files.leftovers(d)):
            part.unlink(missing_ok=True)
        yield
