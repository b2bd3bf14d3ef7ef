"""Names of several files: patterns taken apart, and what messages call each."""

import glob
from collections.abc import Sequence
from pathlib import Path

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


def told_apart(paths: Sequence[Path]) -> list[str]:
    """What origins call each file: by its name, and its folder too where two have the same."""
    names = [path.name for path in paths]
    return [str(p) if names.count(p.name) > 1 else p.name for p in paths]
