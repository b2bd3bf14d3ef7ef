"""What a run has written for its user, by digest: it is finished while all of it is as it was."""

import itertools
from collections.abc import Callable
from pathlib import Path

from tunesmith import files

_SEAL = Path("checkpoint") / "written.json"
_OUTPUTS = (
    *("final.model", "members/*.safetensors", "members/*.model", "labels.extxyz", "summary.json"),
    *("learning_curves.png", "calibration.png", "curves.png", "errors.png", "onthefly.png"),
)


def seal(out: Path) -> None:
    """Remember what was written, all of it by now."""
    found = [path for pattern in _OUTPUTS for path in sorted(out.glob(pattern))]
    digests = {str(path.relative_to(out)): files.sha256(path) for path in found}
    files.write_record(out / _SEAL, {"files": digests})


def unseal(out: Path) -> None:
    """Nothing is finished any more: work begins that will write anew."""
    (out / _SEAL).unlink(missing_ok=True)


def intact(out: Path) -> bool:
    """Whether everything was written, and is as it was."""
    sealed = files.read_record(out / _SEAL)
    return sealed is not None and not _altered(out, sealed["files"])


def put_aside(out: Path, say: Callable[[str], None]) -> None:
    """Move away what somebody else has changed, so that writing it anew loses nothing."""
    sealed = files.read_record(out / _SEAL) or {"files": {}}
    for path in _altered(out, sealed["files"]):
        if not path.exists():
            say(f"{path} is gone; it is written anew.")
            continue
        names = (f"{path.name}.changed{n or ''}" for n in itertools.count())
        aside = next(p for p in map(path.with_name, names) if not p.exists())
        path.rename(aside)
        say(f"{path} is not as this run wrote it: kept as {aside.name}, and written anew.")
    unseal(out)


def _altered(out: Path, digests: dict[str, str]) -> list[Path]:
    paths = {out / name: digest for name, digest in digests.items()}
    return [p for p, digest in paths.items() if not p.is_file() or files.sha256(p) != digest]
