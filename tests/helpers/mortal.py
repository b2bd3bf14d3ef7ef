"""The real program, which ends itself at an exact moment: SIGNAL, MOMENT, CALL, its arguments.

    python mortal.py SIGKILL "inside an update" 30 run water.yaml

Nothing of the program is replaced: one named function kills the process at its CALL-th call. Every
reference call is also counted, by one byte in the file `CALLS` names.
"""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

CALLS = "TUNESMITH_TEST_CALLS"
_BEFORE, _AFTER = True, False
_STATE = "checkpoint/state.safetensors"  # of a run; fits have others, deeper
#: moment → module, function in it, when, and what its arguments must contain for a call to count
MOMENTS = {
    "inside the store's commit": ("ase.db.core", "Database.write", _AFTER, ""),
    "label committed, not learnt": ("tunesmith.data.store", "LabelStore._commit", _AFTER, ""),
    "inside a reference call": ("multiprocessing.connection", "Connection.send_bytes", _AFTER, ""),
    "label computed, not stored": ("tunesmith.references.worker", "Worker.ask", _AFTER, ""),
    "inside an update": ("tunesmith.tune.sghmc", "step", _BEFORE, ""),
    "inside an update of workers": ("concurrent.futures", "ProcessPoolExecutor.map", _AFTER, ""),
    "update done, not saved": ("tunesmith.tune.chains", "SGHMC.update", _AFTER, ""),
    "checkpoint written, not renamed": ("os", "replace", _BEFORE, _STATE),
    "members renamed, state not": ("os", "replace", _AFTER, "members-"),
    "state renamed, old members there": ("os", "replace", _AFTER, _STATE),
    "frame of the trajectory in a buffer": (
        *("tunesmith.loop.onthefly.trajectory_file", "Trajectory.append", _AFTER, ""),
    ),
    "folder not yet claimed": ("os", "replace", _BEFORE, "identity.json"),
    "results half written": ("os", "replace", _BEFORE, "summary.json"),
    "inside a fit": ("tunesmith.tune.adamw_fit", "AdamWFit.step", _BEFORE, ""),
    "members of a round saved, not named": ("os", "replace", _BEFORE, _STATE),
    "rounds saved, old ones there": ("os", "replace", _AFTER, _STATE),
    "proposal kept, nothing labelled": ("os", "replace", _AFTER, "proposed-"),
    "exporting a member": ("torch", "save", _AFTER, "member-1"),
}


def end_at(sign: signal.Signals, moment: str, call: int) -> None:
    """Let this process send itself a signal at the call-th (from 1) occasion of a moment."""
    module, path, before, needle = MOMENTS[moment]
    left = call

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), sign)

    _wrap(module, path, strike, before, needle)


def count_calls(file: str) -> None:
    """Append one byte to a file at every reference call."""

    def count() -> None:
        with open(file, "ab") as counted:
            counted.write(b".")

    _wrap("tunesmith.references.engine", "Engine._run", count, _BEFORE, "")


def _wrap(module: str, path: str, act: Callable[[], None], before: bool, needle: str) -> None:
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        counts = needle in " ".join(map(str, arguments[:2])) if needle else True
        if before and counts:
            act()
        result = real(*arguments, **named)
        if not before and counts:
            act()
        return result

    setattr(owner, name, wrapped)


def main(sign: str, moment: str, call: str, *arguments: str) -> int:
    """Run the program; moment "" or "never": to its end."""
    from tunesmith import cli, terminal

    if file := os.environ.get(CALLS):
        count_calls(file)
    if moment in MOMENTS:
        end_at(signal.Signals[sign], moment, int(call))
    return terminal.run(cli.app, arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
