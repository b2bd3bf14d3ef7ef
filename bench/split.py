"""Where time goes inside a program: seconds and CPU seconds by part."""

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
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
