"""Files of our own: tensors with JSON beside them, written whole or not at all, no pickle."""

import hashlib
import json
import os
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
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(plain, part, metadata=metadata)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise RunFolderError(
            f"cannot write {path} ({error}); choose a folder you may write to."
        ) from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote. Raises `CheckpointError` when a single bit has changed."""
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
        raise CheckpointError(
            f"{path} is damaged ({str(error)[:80]}); delete it and run the same command again."
        ) from None


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically. Raises `RunFolderError` where that is not possible."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        os.replace(part, path)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path} ({error.strerror}); choose a folder you may write to."
        ) from None
