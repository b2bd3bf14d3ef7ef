"""Names of several files: patterns taken apart, and what messages call each."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import DataError


def expanded(names: Sequence[str | Path]) -> list[Path]:
    """The files that names and patterns (``runs/*/OUTCAR``) stand for; those of a pattern sorted.

    A file whose name looks like a pattern is that file. Raises `DataError` for a pattern that no
    file matches, and for a file that is named twice.
    """
    paths: list[Path] = []
    for name in map(str, names):
        if Path(name).exists() or not glob.has_magic(name):
            paths.append(Path(name))
            continue
        found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
        if not found:
            raise DataError(f"{name}: no file matches; check the path.")
        paths += map(Path, found)
    if twice := next((p for p in paths if paths.count(p) > 1), None):
        raise DataError(f"{twice}: named twice; name each file once.")
    return paths


def require_files(names: Iterable[str | Path | None]) -> None:
    """Raise `DataError` for what is not there; cheap, to be asked before anything takes seconds."""
    for path in expanded([name for name in names if name is not None]):
        require_file(path)


def require_file(path: Path) -> None:
    """Raise `DataError` where there is no file, or a folder."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the file in it.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path.")


def files_of(settings: Any) -> list[str | Path]:
    """All files of structures that a configuration names."""
    found: list[str | Path] = []
    for section in (getattr(settings, "data", None), getattr(settings, "explore", None)):
        for name in ("train", "initial", "valid", "test", "start", "files"):
            value = getattr(section, name, None)
            if isinstance(value, str | tuple):
                found += [value] if isinstance(value, str) else value
    return found


def told_apart(paths: Sequence[Path]) -> list[str]:
    """What origins call each file: by its name, and its folder too where two have the same."""
    names = [path.name for path in paths]
    return [str(p) if names.count(p.name) > 1 else p.name for p in paths]
