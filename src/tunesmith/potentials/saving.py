"""Model files written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import RunFolderError


def save(content: Any, path: Path) -> None:
    """torch.save beside the place, then moved there. Raises `RunFolderError` where it cannot."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, part)
        os.replace(part, path)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path} ({error.strerror}); choose a folder you may write to."
        ) from None
