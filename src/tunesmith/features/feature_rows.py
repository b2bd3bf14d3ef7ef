"""Rows of numbers on disk, written as they come: ``.npy`` files, whole or not at all."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from tunesmith import files

#: bytes up to which rows are read into memory
_SMALL = 64 * 2**20


def save(path: Path, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Write blocks of rows (B, d) to a file that appears when it is complete; read as `load`.

    Raises `RunFolderError` where the folder cannot be written, and whatever making a block raises.
    """
    with files.replacing(path) as part, part.open("w+b") as file:
        write(file, blocks)
        file.write(_digest(file, file.seek(0, os.SEEK_END)))
    found = load(path)
    assert found is not None
    return found


def load(path: Path) -> np.ndarray | None:
    """Rows that `save` wrote, read-only; None where they are not there, bit for bit."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) - hashlib.sha256().digest_size
            whole = _digest(file, end)
            file.seek(max(end, 0))
            if file.read() != whole:
                return None
            file.seek(0)
            npy.read_magic(file)
            shape, fortran, dtype = npy.read_array_header_1_0(file)
            start = file.tell()
            if fortran or dtype != np.float32 or len(shape) != 2:
                return None
            return read(file, start, shape)
    except (OSError, ValueError):
        return None


def _digest(file: IO[bytes], end: int) -> bytes:
    """The sha256 of a file up to ``end``, which is written behind it: numpy reads no further."""
    total = hashlib.sha256()
    file.seek(0)
    while end > 0 and (block := file.read(min(end, 2**20))):
        total.update(block)
        end -= len(block)
    file.seek(0, os.SEEK_END)
    return total.digest()


def write(file: IO[bytes], blocks: Iterable[np.ndarray]) -> tuple[int, tuple[int, int]]:
    """Write blocks (B, d), at least one, behind a header; where rows start, and their shape."""
    n = width = start = 0

    def header() -> int:
        file.seek(0)
        about = {"descr": "<f4", "fortran_order": False, "shape": (n, width)}
        npy.write_array_header_1_0(file, about)
        return file.tell()

    for block in blocks:
        if not n:
            width = block.shape[1]
            start = header()
        file.write(np.ascontiguousarray(block, "<f4").data)
        n += len(block)
    # numpy leaves room in a header for the number of rows to grow
    assert header() == start
    file.flush()
    return start, (n, width)


def read(file: IO[bytes], start: int, shape: tuple[int, int]) -> np.ndarray:
    """Rows that `write` wrote: in memory if they are few, else a map of the file."""
    mapped = np.memmap(file, np.float32, "r", start, shape)
    if mapped.nbytes > _SMALL:
        return mapped
    found = np.array(mapped)
    found.flags.writeable = False
    return found
