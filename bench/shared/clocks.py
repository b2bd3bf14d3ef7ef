"""Where time and memory go inside a program: seconds and CPU seconds by part, peaks."""

import contextlib
import functools
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

Spent = dict[str, tuple[float, float]]


class Split:
    """Time on the clock and CPU time of this process, by part.

    Parts may be nested: time counts for the innermost alone. Functions of a package are watched
    while the block lasts: `watch` puts a timed one in their place, and back at the end.
    """

    def __init__(self, first: str = "other", wait: Callable[[], None] | None = None) -> None:
        """wait: for a device that computes on its own, called before each look at the clock."""
        self._totals: dict[str, list[float]] = {}
        #: how often each part was begun
        self.counts: Counter[str] = Counter()
        self._open = [first]
        self._wait = wait
        self._since = self._now()
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> "Split":
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _now(self) -> tuple[float, float]:
        if self._wait is not None:
            self._wait()
        return time.perf_counter(), time.process_time()

    def _book(self) -> None:
        now = self._now()
        total = self._totals.setdefault(self._open[-1], [0.0, 0.0])
        total[0] += now[0] - self._since[0]
        total[1] += now[1] - self._since[1]
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._book()
        self.counts[name] += 1
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def watch(self, owner: Any, name: str, part: str | Callable[..., str]) -> None:
        """Time ``owner.name`` as ``part``, which may depend on how it is called."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part if isinstance(part, str) else part(*args, **kwargs)):
                return original(*args, **kwargs)

        setattr(owner, name, timed)
        self._undo.callback(setattr, owner, name, original)

    def within(self, name: str) -> bool:
        """Whether that part has begun and not ended."""
        return name in self._open

    def read(self) -> Spent:
        """Part → (seconds, CPU seconds) until now."""
        self._book()
        return {part: (a, b) for part, (a, b) in self._totals.items()}


def gradient_part(*_: Any, **options: Any) -> str:
    """Which backward pass a call of ``torch.autograd.grad`` is: only that of the forces is
    differentiated again."""
    return "backward, forces" if options.get("create_graph") else "backward, weights"


def cpu_seconds() -> float:
    """Of this process and of the ended ones it started."""
    others = os.times()
    return time.process_time() + others.children_user + others.children_system


def peak_mb() -> float:
    """Of resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds of one call, those of processes it started and ended included."""
    began, used = time.perf_counter(), cpu_seconds()
    work()
    return {"wall_s": time.perf_counter() - began, "cpu_s": cpu_seconds() - used}


def medians(runs: Iterable[dict[str, float]]) -> dict[str, float]:
    """Key by key, of dicts with the same keys."""
    every = list(runs)
    return {key: median(run[key] for run in every) for key in every[0]}


@contextlib.contextmanager
def stopwatch(sampler: type[Any]) -> Iterator[list[float]]:
    """CPU seconds of every call of a sampler's ``fit`` while the block lasts."""
    fit: Callable[..., Any] = sampler.fit
    spent: list[float] = []

    def watched(*args: Any, **kwargs: Any) -> Any:
        started = cpu_seconds()
        found = fit(*args, **kwargs)
        spent.append(cpu_seconds() - started)
        return found

    inherited = "fit" not in vars(sampler)
    sampler.fit = watched
    try:
        yield spent
    finally:
        if inherited:
            del sampler.fit
        else:
            sampler.fit = fit
