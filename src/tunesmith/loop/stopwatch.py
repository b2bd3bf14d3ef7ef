"""Where the wall time of a run goes."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping


class Stopwatch:
    """Seconds by part. Parts may be nested: each second counts for the innermost alone."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.totals: dict[str, float] = {}
        self._open = ["other"]
        self._clock = clock
        self._since = clock()

    def _book(self) -> None:
        now = self._clock()
        part = self._open[-1]
        self.totals[part] = self.totals.get(part, 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside counts as ``name``."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Time of earlier sessions."""
        for part, value in seconds.items():
            self.totals[part] = self.totals.get(part, 0.0) + value

    def read(self) -> dict[str, float]:
        """Seconds by part until now."""
        self._book()
        return dict(self.totals)
