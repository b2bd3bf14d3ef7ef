"""Ctrl-C and SIGTERM: a step is finished and saved, a long calculation is left at once.

Leaving a reference call or an update loses nothing but that call: the last checkpoint and the
label store repeat what came since.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context in which the two signals wait until `came` is looked at; inside `at_once` they do
    not."""

    def __init__(self) -> None:
        self._came: int | None = None
        self._now = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)

    def _handle(self, sign: int, frame: FrameType | None) -> None:
        again, self._came = self._came is not None, sign
        if self._now or again:
            self.leave()

    @property
    def came(self) -> bool:
        """Whether a signal waits to be answered."""
        return self._came is not None

    def leave(self) -> None:
        """Raise `KeyboardInterrupt` for Ctrl-C, `SystemExit` with code 143 for SIGTERM."""
        if self._came == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal is answered immediately."""
        if self.came:
            self.leave()
        self._now = True
        try:
            yield
        finally:
            self._now = False
