"""One calculation in a process of its own, which can be ended, crash, or be used again.

Only another process can be stopped when its time is over, and only another process survives a
crash of compiled code. Starting one takes seconds where a cheap label takes milliseconds, so a
worker is kept and used for the next call. Every worker leads its own process group: programs it
starts belong to that group and end with it.
"""

import atexit
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

#: what a calculation prints, in its scratch folder
LOG = "output.log"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: what every call needs is imported before the clock of a call runs: it takes seconds
_BOOT = """import sys
sys.path[:] = {path!r}
import tunesmith.references.engine
from tunesmith.references.worker import serve
serve({fd})
"""
_START_LIMIT = 300.0  # s until a new worker must have imported the package


class CallFailed(Exception):
    """A calculation gave no label. kind: one of `tunesmith.core.FAILURE_KINDS`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason


# ------------------------------------------------------------------------- the parent's side


class Worker:
    """A child process that waits for calls. threads: for the numerical libraries in it."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.connection, theirs = Pipe()
        # a file, not a pipe: nobody reads it unless the worker dies
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in end)
        path = [os.path.abspath(p) for p in sys.path]
        boot = _BOOT.format(path=path, fd=theirs.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=environment(threads),
        )
        theirs.close()

    def wait_ready(self) -> None:
        """Until the package is imported: this time is not the calculation's."""
        with contextlib.suppress(EOFError, OSError):
            if self.connection.poll(_START_LIMIT) and self.connection.recv() == "ready":
                return
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        self.end()
        raise CallFailed("crashed", f"the worker process did not start: {' '.join(said[-1:])}")

    def ask(self, request: bytes, timeout: float) -> Any:
        """Send one call, wait for its answer; the worker is ended unless it answered."""
        try:
            self.connection.send_bytes(request)
            if not self.connection.poll(timeout):
                self.end()
                raise CallFailed("timed-out", f"no answer within {timeout:g} s; it was ended")
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError) as error:
            code = self.end(patience=5.0)
            raise CallFailed("crashed", f"the process {_ending(code)}") from error
        except BaseException:
            self.end()  # an interrupt must not leave a calculation running
            raise

    def end(self, patience: float = 0.0) -> int | None:
        """End the whole group: ask first (mpirun then ends its ranks), insist after 2 s.

        Returns the exit code of a worker that ended by itself within ``patience`` s, else None.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        code = self.process.returncode
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not self._signal(sign):
                break
            deadline = time.monotonic() + 2.0
            while time.monotonic() < deadline and self._signal(0):
                self.process.poll()  # until it is waited for, an ended child is one of the group
                time.sleep(0.01)
        self.process.wait()
        self.connection.close()
        self.errors.close()
        with contextlib.suppress(ValueError):
            _ALL.remove(self)
        return code

    def _signal(self, sign: int) -> bool:
        """Send to the group; False when nothing of it is left."""
        try:
            os.killpg(self.process.pid, sign)
        except OSError:
            return False
        return True


_ALL: list[Worker] = []
_IDLE: list[Worker] = []
_LOCK = threading.Lock()


def call(
    function: Callable[..., Any],
    *arguments: Any,
    folder: Path,
    timeout: float,
    threads: int = 1,
) -> Any:
    """``function(*arguments)`` in a worker whose current folder is ``folder``.

    What it prints goes to ``folder``/`LOG`. timeout: s. Raises `CallFailed` for whatever goes
    wrong: "timed-out", "crashed", "engine-missing" (an import failed), or what it raised itself.
    """
    # pickled here, so that what cannot be sent is the caller's error and not a dead worker
    request = pickle.dumps((function, arguments, environment(threads), str(folder)))
    worker = _take(threads)
    good, value = worker.ask(request, timeout)
    with _LOCK:
        _IDLE.append(worker)
    if good:
        return value
    raise CallFailed(*value)


def environment(threads: int) -> dict[str, str]:
    return dict(os.environ) | dict.fromkeys(_THREADS, str(threads))


def _take(threads: int) -> Worker:
    with _LOCK:
        for worker in [w for w in _IDLE if w.threads == threads]:
            _IDLE.remove(worker)
            if worker.process.poll() is None:
                return worker
            worker.end()
        worker = Worker(threads)
        _ALL.append(worker)
    worker.wait_ready()
    return worker


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its connection"
    if code < 0:
        return f"was ended by signal {signal.Signals(-code).name}"
    return f"exited with code {code}"


@atexit.register
def end_all() -> None:
    """End every worker of this process."""
    for worker in list(_ALL):
        worker.end()
    _IDLE.clear()


def _forget() -> None:
    # a forked copy must not talk to its parent's workers, nor keep their connections open
    global _LOCK
    _LOCK = threading.Lock()
    for worker in _ALL:
        worker.connection.close()
        worker.process.returncode = 0
    _ALL.clear()
    _IDLE.clear()


os.register_at_fork(after_in_child=_forget)

# -------------------------------------------------------------------------- the child's side


def serve(descriptor: int) -> None:
    """Answer calls until the other side is gone, then end this whole process group."""
    import faulthandler

    faulthandler.enable()
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # read apart from the work: only so is it seen in mid-calculation that the parent is gone
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    connection.send("ready")
    while True:
        connection.send_bytes(_run(requests.get()))


def _listen(connection: Connection, requests: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            requests.put(connection.recv_bytes())
    except (EOFError, OSError):
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _run(request: bytes) -> bytes:
    try:
        function, arguments, variables, folder = pickle.loads(request)
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(folder)
        _print_to(Path(folder) / LOG)
        return pickle.dumps((True, function(*arguments)))
    except CallFailed as failure:
        return pickle.dumps((False, (failure.kind, failure.reason)))
    except ImportError as error:
        return pickle.dumps((False, ("engine-missing", str(error))))
    except Exception as error:
        return pickle.dumps((False, ("crashed", f"{type(error).__name__}: {error}")))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir("/")  # the folder may be deleted now
        _print_to(Path(os.devnull))


def _print_to(path: Path) -> None:
    """Send everything this process prints, compiled code included, to a file."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
