"""A committee on organic-xs as a program that can be killed: PLACE, PROCESSES, STEP or 0.

At that step of training, counted over all processes, the program ends itself by SIGKILL; every step
is counted by one byte in the file PLACE/steps.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tiny import molecules
from tunesmith.data.e0 import choose_e0s
from tunesmith.engines.processes import executor
from tunesmith.potentials import zoo
from tunesmith.tune import adamw_fit
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.committee import Committee
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Fit, Problem
from tunesmith.tune.subspace import All

SETTINGS = Committee(members=3, epochs=2, batch_size=2, checkpoint_every="0 s")
#: of all members: two steps an epoch
STEPS = 3 * 2 * 2
#: as of the main program and its workers
_PLACE, _STEP, _MAIN = "COMMITTEE_PLACE", "COMMITTEE_STEP", "COMMITTEE_MAIN"


def problem() -> Problem:
    model, frames = zoo.load("organic-xs"), molecules(4)
    zero = choose_e0s("foundation", frames=frames, foundation=model.e0s)
    return Problem(model, All(), NoAnchor(), Huber(), frames, molecules(1, seed=9), zero, 5)


def fit(place: Path | None, processes: int = 1) -> Fit:
    with executor(processes, 1) as pool:
        return SETTINGS.fit(problem(), place, executor=pool)


def steps(place: Path) -> int:
    """Steps that were begun, over all runs in this folder."""
    return (place / "steps").stat().st_size


def _counted() -> None:
    """Let steps be counted, here and in every worker, which imports this file too."""
    place, last = Path(os.environ[_PLACE]), int(os.environ[_STEP])
    real = adamw_fit.AdamWFit.step

    def step(run: Any, chosen: Any) -> float:
        with (place / "steps").open("ab") as file:
            file.write(b".")
        if steps(place) == last:
            os.kill(int(os.environ[_MAIN]), signal.SIGKILL)
        return real(run, chosen)

    adamw_fit.AdamWFit.step = step  # type: ignore[method-assign]


if _PLACE in os.environ:
    _counted()

if __name__ == "__main__":
    os.environ |= {_PLACE: sys.argv[1], _STEP: sys.argv[3], _MAIN: str(os.getpid())}
    _counted()
    fit(Path(sys.argv[1]), int(sys.argv[2]))
