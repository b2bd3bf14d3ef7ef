"""Processes that share the work of a run, and never outlive it."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing.connection import Connection
from types import FrameType

import torch

from tunesmith.errors import TunesmithError

#: s that a worker which nobody wants any more has to give back what libraries took (tqdm a
#: semaphore, which would be called leaked on the user's screen); and between two times it is told
_PATIENCE, _AGAIN = 5.0, 0.1


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
    unwanted = threading.Event()

    def leave(_: int, frame: FrameType | None) -> None:
        if unwanted.is_set() and _at_work(frame):
            raise SystemExit

    signal.signal(signal.SIGUSR1, leave)
    torch.set_num_threads(threads)
    threading.Thread(target=_until, args=(life, unwanted), daemon=True).start()


def _until(life: Connection, unwanted: threading.Event) -> None:
    """Wait for the parent's end, and make the main thread leave: what libraries want to be run at
    the end, it alone can run to the end."""
    with contextlib.suppress(EOFError, OSError):
        life.recv_bytes()
    unwanted.set()
    for _ in range(round(_PATIENCE / _AGAIN)):
        with contextlib.suppress(OSError):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        time.sleep(_AGAIN)
    os._exit(0)


def _at_work(frame: FrameType | None) -> bool:
    """Whether the main thread waits for tasks or does one; else it is leaving."""
    while frame is not None:
        if frame.f_code.co_name == "_process_worker":
            return True
        frame = frame.f_back
    return False
