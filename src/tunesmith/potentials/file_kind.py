"""Whose model file it is: told from what a pickle would import and hold, without loading it."""

import pickletools
import zipfile
from pathlib import Path

from tunesmith.errors import ModelError

#: what the dictionaries of checkpoints are known by
_SEVENNET = {"model_state_dict", "config"}
_CHGNET = {"model_args", "state_dict"}


def require_model(path: Path) -> None:
    """Raise `ModelError` for a file that is no saved model at all, whatever is trusted."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError:
        return  # said where it is read
    if not start.startswith((b"PK", b"\x80")):  # an archive of torch, or a bare pickle
        raise ModelError(
            f"{path} is no model file: it holds neither an archive of torch nor a pickle; give the "
            "file that the model's package has saved."
        )


def unreadable(error: Exception) -> str:
    """Why a model file could not be loaded, in few words."""
    text = str(error).strip()
    if any(word in text for word in ("miniz", "zip archive", "central directory")):
        return "it is damaged or cut off"
    first = (text.splitlines() or [type(error).__name__])[0]
    return first if len(first) <= 120 else first[:120].rpartition(" ")[0] + " …"


def package_of(path: Path) -> str:
    """ "mace", "sevennet" or "chgnet" for a model file; "mace" where nothing tells.

    torch.save writes a zip archive with one pickle, whose instructions are read, not run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            modules, texts = _named(archive.read(name))
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError):
        return "mace"
    if any(m.partition(".")[0] == "mace" for m in modules):
        return "mace"
    if texts >= _SEVENNET:
        return "sevennet"
    return "chgnet" if texts >= _CHGNET else "mace"


def _named(pickled: bytes) -> tuple[set[str], set[str]]:
    """Modules a pickle would import from, and those of the wanted words that stand in it."""
    modules, texts = set(), set()
    for code, argument, _ in pickletools.genops(pickled):
        if code.name == "GLOBAL":
            modules.add(str(argument).partition(" ")[0])
        elif isinstance(argument, str) and argument in _SEVENNET | _CHGNET:
            texts.add(argument)
    return modules, texts
