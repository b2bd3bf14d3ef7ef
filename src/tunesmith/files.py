"""Files of our own: tensors with JSON beside them, and records of JSON; written whole or not at
all, each with its digest, no pickle."""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from tunesmith.core import Tensor
from tunesmith.errors import CheckpointError, RunFolderError


def _digest(tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and JSON-able ``info`` to one safetensors file, replacing it atomically.

    Raises `RunFolderError` where the folder cannot be written.
    """
    # clones: safetensors refuses tensors that share memory
    plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    stamp = {"info": json.dumps(info), "sha256": _digest(plain)}
    # one entry: safetensors writes several in a random order, and equal content is an equal file
    metadata = {"tunesmith": json.dumps(stamp)}
    with replacing(path) as part:
        try:
            save_file(plain, part, metadata=metadata)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(None, str(error)) from None


#: of a checkpoint that a fit or a round can do without
_AGAIN = "delete it and run the same command again"


def read_tensors(path: Path, cure: str = _AGAIN) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote.

    Raises `CheckpointError`, which ends with the ``cure``, when a single bit has changed.
    """
    try:
        # read at once: safetensors opens a file twice, and it may be replaced in between
        content = path.read_bytes()
        tensors = load(content)
        header = content[8 : 8 + int.from_bytes(content[:8], "little")]
        metadata = json.loads(header).get("__metadata__", {})
        if "tunesmith" in metadata:  # weights shipped with the package have no such level
            metadata = json.loads(metadata["tunesmith"])
        if metadata.get("sha256") != _digest(tensors):
            raise SafetensorError("its checksum does not fit")
        return tensors, json.loads(metadata["info"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged ({_why(error)}); {cure}.") from None


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)[:80]


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
