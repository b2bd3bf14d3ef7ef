"""Run a program and measure it from outside: wall time, CPU time as it goes, peak memory.

Only the standard library is used here and in whatever calls `run`: on Linux a program's peak
memory starts at that of the process that launched it, so the launcher must be small.
"""

import argparse
import bisect
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_POLL = 0.05  # s


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


def told(options: argparse.Namespace, text: str, found: dict[str, Any]) -> None:
    """Print a bench's tables, and write them and all that was found where that is asked for."""
    print(text)
    if options.out:
        options.out.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def run(command: list[str], log: Path) -> Measured:
    """Run a command to its end, one thread, its output to ``log``. Exits where it fails."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    clock, used = [time.time()], [0.0]
    with open(log, "w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | one_thread
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


def machine(packages: tuple[str, ...]) -> dict[str, str | int | float]:
    """What a result depends on: processor, cores, load, Python and package versions."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **found,
    }


def worker(script: Path, step: str, **arguments: object) -> dict[str, object]:
    """Run ``python script step ARGUMENTS-as-JSON`` in a process of its own; its JSON result."""
    command = [sys.executable, str(script), step, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{script.name} {step} failed ({done.returncode}).")
    return dict(json.loads(done.stdout.splitlines()[-1]))
