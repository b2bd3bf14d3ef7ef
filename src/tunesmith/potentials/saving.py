"""Model files written whole or not at all."""

from pathlib import Path
from typing import Any

import torch

from tunesmith import files


def save(content: Any, path: Path) -> None:
    """torch.save beside the place, then moved there. Raises `RunFolderError` where it cannot."""
    with files.replacing(path) as part:
        try:
            torch.save(content, part)
        except RuntimeError as error:
            if "inline_container" not in str(error):  # torch's writer, which says no more
                raise
            raise OSError(None, "torch could not write to the end") from None
