"""Which model files may be unpickled: those whose sha256 the user has vouched for, once.

A pickle runs code when it is loaded. Files that tunesmith wrote itself are remembered as they are
written; any other needs ``tunesmith trust FILE``.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tunesmith import files
from tunesmith.errors import ModelError, RunFolderError, TrustError


def sha256(path: Path) -> str:
    """Hex digest of a file. Raises `ModelError` when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; give a model file.") from None


def registry_path() -> Path:
    """Where the trusted hashes are kept: below XDG_CONFIG_HOME or ~/.config."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "tunesmith" / "trusted.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(registry_path().read_text())
        if not isinstance(known, dict):
            raise ValueError("it holds no list of hashes")
        return known
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TrustError(
            f"cannot read the list of trusted files {registry_path()} ({error}); delete it and "
            "run `tunesmith trust FILE` again."
        ) from None


def trust(path: str | Path) -> str:
    """Remember a file as trusted; returns its sha256."""
    digest = sha256(Path(path))
    known = _read()
    if digest not in known:
        text = json.dumps(known | {digest: str(Path(path).resolve())}, indent=1)
        try:
            files.write_text(registry_path(), text)
        except RunFolderError as error:
            why = str(error).partition(";")[0]
            raise TrustError(f"{why}; set XDG_CONFIG_HOME to a folder you may write to.") from None
    return digest


@contextmanager
def checked(path: Path, check: Callable[[str], None]) -> Iterator[tuple[Path, str]]:
    """A file whose sha256 passes a check, as a copy that nobody else can write; and its sha256.

    What is loaded is what was hashed, even where ``path`` is replaced meanwhile. Raises what
    ``check`` raises, and `ModelError` for a file that cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; give a model file.") from None
    digest = hashlib.sha256(content).hexdigest()
    check(digest)
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        copy = Path(folder) / path.name
        try:
            copy.write_bytes(content)
        except OSError as error:
            raise ModelError(
                f"{path}: no private copy of it can be made in {tempfile.gettempdir()} "
                f"({error.strerror}); make room there, or set TMPDIR."
            ) from None
        yield copy, digest


def trusted(path: Path) -> AbstractContextManager[tuple[Path, str]]:
    """`checked` of a file somebody has vouched for; `TrustError` for any other, loading nothing."""

    def check(digest: str) -> None:
        if digest not in _read():
            raise TrustError(
                f"{path} is a pickle and would run code when loaded; if you trust whoever made it, "
                f"run `tunesmith trust {path}` once."
            )

    return checked(path, check)
