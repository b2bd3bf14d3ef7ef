"""Processes of their own: for a function's answer, or for a program that is measured from outside.

Only the standard library is used here and in whatever calls `measured`: on Linux a program's peak
memory starts at that of the process that launched it, so the launcher must be small.
"""

import bisect
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_POLL = 0.05  # s
_ONE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def command(function: str, **arguments: Any) -> list[str]:
    """The command line that prints the answer of ``module:function`` to arguments as JSON."""
    return [sys.executable, "-m", "bench.runner.child", function, json.dumps(arguments)]


def call(function: str, *, quiet: bool = False, **arguments: Any) -> dict[str, Any] | str:
    """The answer of ``module:function`` in a process of its own, one thread, or the end of what it
    complained. quiet: errors are not shown meanwhile."""
    done = subprocess.run(
        command(function, **arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
        env=os.environ | _ONE,
    )
    if done.returncode:
        return "\n".join((done.stderr or "").splitlines()[-8:]) or f"exit code {done.returncode}"
    return dict(json.loads(done.stdout.splitlines()[-1]))


def needed(function: str, **arguments: Any) -> dict[str, Any]:
    """As `call`, and without its answer there is no going on."""
    answer = call(function, **arguments)
    if isinstance(answer, str):
        sys.exit(f"{function} failed: {answer}")
    return answer


@dataclass(frozen=True)
class Measured:
    """One run: seconds and CPU seconds (user + system) in all, peak resident memory in MB.

    clock, cpu_at_clock: seconds since 1970 and the CPU seconds used until then, sampled.
    """

    seconds: float
    cpu: float
    peak_mb: float
    clock: tuple[float, ...]
    cpu_at_clock: tuple[float, ...]

    def cpu_until(self, moment: float) -> float:
        """CPU seconds used until a moment (seconds since 1970), between samples linearly."""
        i = min(max(1, bisect.bisect(self.clock, moment)), len(self.clock) - 1)
        t0, t1 = self.clock[i - 1 : i + 1]
        c0, c1 = self.cpu_at_clock[i - 1 : i + 1]
        return c0 + (c1 - c0) * (moment - t0) / (t1 - t0)


def measured(command: list[str], log: Path) -> Measured:
    """Run a command to its end, one thread, its output to ``log``. Exits where it fails."""
    clock, used = [time.time()], [0.0]
    with open(log, "w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | _ONE
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            clock.append(time.time())
            used.append(_cpu(process.pid))
            time.sleep(_POLL)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        sys.exit(f"{' '.join(command[:4])} … failed ({process.returncode}); see {log}:\n{tail}")
    return Measured(
        seconds=time.time() - clock[0],
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / 1024,
        clock=tuple(clock),
        cpu_at_clock=tuple(used),
    )


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    started = time.monotonic()
    answer = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2])) or {}
    print(json.dumps({"seconds": round(time.monotonic() - started, 1)} | answer))
