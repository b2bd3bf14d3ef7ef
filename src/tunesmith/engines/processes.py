"""Processes that share the work of a run, and never outlive it."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing.connection import Connection

import torch

from tunesmith.errors import TunesmithError

#: s that a worker which nobody wants any more has to give back what libraries took (tqdm a
#: semaphore, which would be called leaked on the user's screen)
_PATIENCE = 5.0


@contextlib.contextmanager
def executor(processes: int, threads: int) -> Iterator[Executor | None]:
    """Something tasks can be submitted to; None, which means here and now, for one process.

    Processes are started with the first task, each with ``threads`` threads. They end with the
    block, whatever they are doing, and also when this process is killed: each waits for the end
    of a pipe whose other end only this process holds.
    """
    if processes == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _begin, (theirs, threads))
    try:
        yield pool
    except BaseException:
        ours.close()  # whatever they are doing, nobody wants it any more
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Inside, a process that was ended from outside is a `TunesmithError` of one sentence."""
    try:
        yield
    except BrokenExecutor:
        raise TunesmithError(
            "a process that shared the work was ended from outside, perhaps for want of memory; "
            "lower execute.processes, or just run the same command to go on."
        ) from None


def _begin(life: Connection, threads: int) -> None:
    """What a worker does first."""
    for name in (signal.SIGINT, signal.SIGTERM):  # they reach us too, by Ctrl-C or a scheduler;
        signal.signal(name, signal.SIG_IGN)  # the parent answers, and we end with it
    torch.set_num_threads(threads)
    threading.Thread(target=_until, args=(life,), daemon=True).start()


def _until(life: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        life.recv_bytes()
    threading.Timer(_PATIENCE, os._exit, (0,)).start()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    os._exit(0)
