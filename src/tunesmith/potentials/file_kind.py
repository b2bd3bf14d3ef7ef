"""What stands in a model file, read without loading it: by this a backend knows its own files."""

import pickletools
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from tunesmith.errors import ModelError

#: bytes of a file's beginning that a backend may look at
_START = 4096
#: pickles that stand one behind the other in torch's older files, before the numbers
_PICKLES = 5


@dataclass(frozen=True)
class FileContent:
    """A model file as far as it can be read without running anything of it.

    start: its first bytes (4096 at most). members: names of the files in it, where it is a zip
    archive, as those of torch.save are. modules: what its pickles would import from. words: the
    texts in its pickles: keys of dictionaries, names.
    """

    path: Path
    start: bytes
    members: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

    def imports(self, package: str) -> bool:
        """Whether loading it would import something of a Python package."""
        return any(module.partition(".")[0] == package for module in self.modules)


def content_of(path: Path) -> FileContent:
    """Read a file; the instructions of a pickle are read, not run.

    Raises `ModelError` for one that cannot be read, and for an archive that is damaged.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_START)
            if start.startswith(b"PK"):
                return _of_archive(path, start)
            if start.startswith(b"\x80"):
                file.seek(0)
                return FileContent(path, start, frozenset(), *_named(file, _PICKLES))
            return FileContent(path, start)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; give a model file.") from None


def _of_archive(path: Path, start: bytes) -> FileContent:
    try:
        with zipfile.ZipFile(path) as archive:
            members = frozenset(archive.namelist())
            # torch.save writes one
            pickled = [archive.read(n) for n in members if n.endswith("data.pkl")]
    except OSError:
        raise
    except Exception:  # an archive can be damaged in any way
        raise ModelError(
            f"{path} is no model file that can be read: it is damaged or cut off; copy it again."
        ) from None
    found = [_named(BytesIO(content), 1) for content in pickled]
    modules, words = (frozenset().union(*(f[i] for f in found)) for i in (0, 1))
    return FileContent(path, start, members, modules, words)


def _named(file: IO[bytes], pickles: int) -> tuple[frozenset[str], frozenset[str]]:
    """Modules that pickles in a row would import from, and the texts that stand in them."""
    modules: set[str] = set()
    words: set[str] = set()
    try:
        for _ in range(pickles):
            for module, word in _instructions(file):
                (modules if module else words).add(word)
    except Exception:  # whatever is no pickle any more: what was read by then counts
        pass
    return frozenset(modules), frozenset(words)


def _instructions(file: IO[bytes]) -> Iterator[tuple[bool, str]]:
    """Of one pickle: whether it is a module to import from, and its name or any other text."""
    memo: list[str | None] = []
    last: deque[str | None] = deque([None, None], maxlen=2)
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("GLOBAL", "INST"):
            yield True, str(argument).partition(" ")[0]
        elif code.name == "STACK_GLOBAL" and last[0] is not None:  # module and name, before it
            yield True, last[0]
        elif isinstance(argument, str):
            yield False, argument
        if code.name == "MEMOIZE":
            memo.append(last[-1])
        elif code.name in ("BINGET", "LONG_BINGET", "GET"):
            index = int(argument or 0)
            last.append(memo[index] if index < len(memo) else None)
        else:
            last.append(argument if isinstance(argument, str) else None)


def require_pickle(path: Path) -> None:
    """Raise `ModelError` for a file that is no pickle, of which nobody has to be trusted."""
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
