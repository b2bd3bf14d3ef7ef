"""Tensors of our own on disk with JSON beside them: safetensors, whole or not at all."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from tunesmith.core import Tensor
from tunesmith.errors import CheckpointError
from tunesmith.files import replacing


def _digest(tensors: dict[str, Tensor], info: str | None) -> str:
    """Of names, kinds, shapes and numbers, and of what is said beside them. info: None: of numbers
    alone, as of the weights that are shipped."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        if info is not None:
            total.update(f" {tensors[name].dtype} {tuple(tensors[name].shape)} ".encode())
        total.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    if info is not None:
        total.update(info.encode())
    return total.hexdigest()


def write(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and JSON-able ``info`` to one safetensors file, replacing it atomically.

    Raises `RunFolderError` where the folder cannot be written.
    """
    # clones: safetensors refuses tensors that share memory
    plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    said = json.dumps(info)
    stamp = {"info": said, "sha256": _digest(plain, said)}
    # one entry: safetensors writes several in a random order, and equal content is an equal file
    metadata = {"tunesmith": json.dumps(stamp)}
    with replacing(path) as part:
        try:
            save_file(plain, part, metadata=metadata)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(None, str(error)) from None


#: of a checkpoint that a fit or a round can do without
_AGAIN = "run the same command again"


def read(path: Path, cure: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote.

    Raises `CheckpointError` when a single bit has changed, and where there is no file; it ends with
    the ``cure``, None: of a file that can be done without.
    """
    try:
        # read at once: safetensors opens a file twice, and it may be replaced in between
        content = path.read_bytes()
        tensors = load(content)
        header = content[8 : 8 + int.from_bytes(content[:8], "little")]
        metadata = json.loads(header).get("__metadata__", {})
        said = None
        if "tunesmith" in metadata:  # weights shipped with the package have no such level
            metadata = json.loads(metadata["tunesmith"])
            said = metadata["info"]
        if metadata.get("sha256") != _digest(tensors, said):
            raise SafetensorError("its checksum does not fit")
        return tensors, json.loads(metadata["info"])
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; {cure or _AGAIN}.") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        cure = cure or f"delete it and {_AGAIN}"
        raise CheckpointError(f"{path} is damaged ({_why(error)}); {cure}.") from None


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)[:80]
