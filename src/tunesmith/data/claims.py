"""Who computes a label: one process or thread at a time, by locks that die with their owner.

Beside a store ``labels.db`` stands, while calculations run, a folder ``labels.db.claims`` with a
locked file for each. A killed process leaves its file, but no lock. File systems without locks are
not guarded: there a label may be computed twice, and the first one committed is the label.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_BUSY = (errno.EAGAIN, errno.EACCES)
_EVERY = 0.1  # seconds between two tries


@contextlib.contextmanager
def claim(store: Path, key: str, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Inside, nobody else computes the label ``key``; gives whether somebody else just did.

    waiting: called once, where somebody else is at it.
    """
    file, waited = _take(store, key), False
    while file is None:
        if not waited and waiting is not None:
            waiting()
        waited = True
        time.sleep(_EVERY)  # not a blocking lock: Ctrl-C gets through
        file = _take(store, key)
    try:
        yield waited
    finally:
        _give_back(store, key, file)


def claimed(store: Path, key: str) -> bool:
    """Whether somebody else is computing the label ``key`` just now."""
    if not _path(store, key).exists():
        return False
    file = _take(store, key)
    if file is not None:
        _give_back(store, key, file)
    return file is None


def _path(store: Path, key: str) -> Path:
    return store.with_name(f"{store.name}.claims") / key


def _take(store: Path, key: str) -> int | None:
    """A locked file; None where another has it; -1 where there are no locks to be had."""
    path = _path(store, key)
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            if not path.parent.parent.is_dir():
                return -1
            continue  # its folder was just removed by one who was done
        except OSError:
            return -1
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            return None if error.errno in _BUSY else -1
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file
        os.close(file)  # locked, but removed by one who was done: a lock on nothing


def _give_back(store: Path, key: str, file: int) -> None:
    if file == -1:
        return
    with contextlib.suppress(OSError):
        _path(store, key).unlink()
    os.close(file)
    with contextlib.suppress(OSError):
        _path(store, key).parent.rmdir()  # where no other is left
