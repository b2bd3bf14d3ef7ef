"""Worker processes: they share the work, never outlive the run, and are missed when they go."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from tunesmith.engines.processes import executor, unbroken
from tunesmith.errors import TunesmithError


def test_one_process_needs_no_workers() -> None:
    with executor(1, 1) as pool:
        assert pool is None


def test_workers_end_with_the_block_whatever_they_do() -> None:
    began = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt), executor(2, 1) as pool:
        assert pool is not None
        assert pool.submit(os.getpid).result() != os.getpid()
        pool.submit(time.sleep, 1000)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 60


def test_what_libraries_took_in_workers_is_given_back(tmp_path: Path) -> None:
    """Nothing on the screen of whoever interrupts a run."""
    script = """
import multiprocessing, time
from tunesmith.engines.processes import executor
locks = []
def lock():
    locks.append(multiprocessing.RLock())  # as tqdm does
if __name__ == "__main__":
    try:
        with executor(2, 1) as pool:
            pool.submit(lock).result()
            pool.submit(time.sleep, 1000)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
"""
    (tmp_path / "s.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "s.py"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_workers_end_when_the_run_is_killed(tmp_path: Path) -> None:
    script = """
import os, sys, time
from tunesmith.engines.processes import executor
if __name__ == "__main__":
    with executor(2, 1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 1000).result()
"""
    (tmp_path / "s.py").write_text(script)
    run = subprocess.Popen([sys.executable, tmp_path / "s.py"], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    worker = int(run.stdout.readline())
    run.kill()
    run.wait()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and Path(f"/proc/{worker}").exists():
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    run.stdout.close()


def test_a_killed_worker_is_said_in_a_sentence() -> None:
    with executor(2, 1) as pool:
        assert pool is not None
        task = pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(TunesmithError, match=r"ended from outside.* just run the same command"):
            _answer(task)


def _answer(task: Future[None]) -> None:
    with unbroken():
        task.result()
