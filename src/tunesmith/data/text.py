"""Text files as people have them: compressed, with a byte-order mark, in an older encoding."""

import codecs
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from ase.io.formats import get_compression, open_with_compression

from tunesmith.errors import DataError

#: how compressed files begin, and the ending by which they are known
_PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are not UTF-8 are those of an older file: each is a letter of Latin-1."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("tunesmith-latin1", _as_latin1)


def plain_name(path: Path) -> str:
    """The file's name without the ending of its compression."""
    return str(get_compression(path.name)[0])


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return get_compression(path.name)[1] is not None


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The file's text, whatever it is packed in and however its letters are written.

    Raises `DataError` where it cannot be read or unpacked, also while its lines are taken.
    """
    try:
        with cast(IO[bytes], open_with_compression(str(path), "rb")) as raw:
            start = raw.read(2)
            raw.seek(0)
            encoding = "utf-16" if start in _UTF16 else "utf-8-sig"
            with io.TextIOWrapper(raw, encoding, errors="tunesmith-latin1") as text:
                yield text
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path}: is damaged or cut off ({error}); pack or copy it again."
        ) from error
    except OSError as error:
        why = error.strerror or error
        cure = "pack or copy it again" if is_packed(path) else "check the path"
        raise DataError(f"{path}: cannot be read ({why}); {cure}.") from error


def beginning(path: Path, size: int = 50_000) -> str:
    """The first letters of a file, unpacked. Raises `DataError` where its name hides a packing."""
    if not is_packed(path):
        with path.open("rb") as raw:
            start = raw.read(6)
        if ending := next((e for magic, e in _PACKED.items() if start.startswith(magic)), None):
            raise DataError(
                f"{path}: is compressed, which its name does not say; rename it to "
                f"{path.name}{ending}."
            )
    with opened(path) as text:
        return text.read(size)
