"""Which model files may be unpickled: those whose sha256 the user has vouched for, once.

A pickle runs code when it is loaded. Files that tunesmith wrote itself are remembered as they are
written; any other needs ``tunesmith trust FILE``.
"""

import hashlib
import json
import os
from pathlib import Path

from tunesmith.errors import ModelError, TrustError


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
        return dict(json.loads(registry_path().read_text()))
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
        target = registry_path()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(known | {digest: str(Path(path).resolve())}, indent=1))
            os.replace(part, target)
        except OSError as error:
            raise TrustError(
                f"cannot write {target} ({error.strerror}); set XDG_CONFIG_HOME to a folder you "
                "may write to."
            ) from None
    return digest


def require_trusted(path: Path) -> str:
    """The file's sha256 if it is trusted; raises `TrustError` otherwise, loading nothing."""
    digest = sha256(path)
    if digest not in _read():
        raise TrustError(
            f"{path} is a pickle and would run code when loaded; if you trust whoever made it, "
            f"run `tunesmith trust {path}` once."
        )
    return digest
