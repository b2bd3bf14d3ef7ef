"""Files of our own, written whole or not at all: text, and records of JSON with a digest."""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import RunFolderError


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(path: Path, values: dict[str, Any]) -> None:
    """Write JSON-able values with their digest. Raises as `write_text`."""
    write_text(path, json.dumps({"sha256": _record_digest(values), **values}, indent=1) + "\n")


def read_record(path: Path) -> dict[str, Any] | None:
    """What `write_record` wrote; None where it is absent, or not as it was written."""
    try:
        values = json.loads(path.read_bytes())
        digest = values.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return values if digest == _record_digest(values) else None


def _record_digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically. Raises `RunFolderError` where that is not possible."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, *, folders: bool = True) -> Iterator[Path]:
    """A name to write to, which takes the place of ``path`` where the block ends well.

    On the disk before it does; where the block fails nothing stays, nor of a process that was
    killed here before. folders: make those that are missing. Raises `RunFolderError` for an
    `OSError` of the block or of its own.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        for old in leftovers(path.parent, f".{glob.escape(path.name)}.*.part"):
            old.unlink(missing_ok=True)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path} ({error.strerror}); choose a folder that exists, is yours and "
            "has room."
        ) from None


def leftovers(folder: Path, pattern: str = ".*.part") -> list[Path]:
    """What processes that are no more had half written, by `replacing`."""
    return [p for p in folder.glob(pattern) if not _alive(p.name.split(".")[-2])]


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError):
        return True  # not a name of ours
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
