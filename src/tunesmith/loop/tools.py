"""What a run works with and what changes no number."""

from concurrent.futures import Executor
from dataclasses import dataclass

from tunesmith.loop.interrupts import Interrupts
from tunesmith.loop.screen import Screen
from tunesmith.loop.stopwatch import Stopwatch


@dataclass(frozen=True)
class Tools:
    """Time, signals, what is said, and where chains are sampled (None: here)."""

    watch: Stopwatch
    interrupts: Interrupts
    screen: Screen
    executor: Executor | None = None
