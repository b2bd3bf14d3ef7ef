"""What a run says while it goes on: a live line on a terminal, a line now and then elsewhere."""

import time
from collections import deque
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tunesmith.acquire.threshold import Decision
from tunesmith.loop.onthefly.onthefly_standing import AttackRecord, OnTheFlyStanding, Record
from tunesmith.words import counted

#: s between lines where there is no terminal, and between changes of the live line
_QUIET, _LIVE = 15.0, 0.25
#: s of the past that tell how long the rest will take, and labels that are among it at least
_WINDOW, _LABELS = 180.0, 2
_MOST = 4000  # moments remembered


class Screen:
    """Progress on ``console``; `close` it at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        if console.is_terminal and not console.quiet:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
        self._shown = time.monotonic()
        self._past: deque[tuple[float, int, int]] = deque()
        self._line = ""

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, markup=False)

    def busy(self, what: str) -> None:
        """What takes long just now."""
        if self._live is not None:
            self._show(f"{self._line} · {what}" if self._line else what)

    def label(self, record: Record, label_seconds: float, update_seconds: float) -> None:
        """A label was made and learnt."""
        error = f"error {1e3 * record.error:+.1f} meV"
        if record.std is not None:
            error += f", predicted ± {1e3 * record.std:.1f} meV"
        self.say(
            f"{1e-3 * record.time:8.4f} ps  label: {record.why}; {error}; "
            f"label {label_seconds:.1f} s, learnt in {update_seconds:.1f} s"
        )
        self._shown = time.monotonic()

    def attack(self, record: AttackRecord) -> None:
        """A structure that was labelled was attacked."""
        parts = [f"attack: {record.stopped}"]
        if record.std is not None and record.start_std is not None:
            before, after = 1e3 * record.start_std, 1e3 * record.std
            parts.append(f"expected force error {before:.0f} → {after:.0f} meV/Å")
            parts.append(f"moved {record.displacement:.2f} Å")
        if record.error is not None and record.mean_error is not None:
            parts.append(
                f"real error {1e3 * record.error:.0f} meV/Å, of the mean "
                f"{1e3 * record.mean_error:.0f}"
            )
        if record.outcome != "learnt":
            parts.append(f"{record.outcome} ({record.why})")
        self.say(f"{1e-3 * record.time:8.4f} ps  {'; '.join(parts)}")
        self._shown = time.monotonic()

    def begin(self, at: OnTheFlyStanding) -> None:
        """Steps and labels are about to be made: what they take counts from here."""
        self._past.append((time.monotonic(), _steps(at), at.made))

    def step(
        self,
        explorer: Any,
        at: OnTheFlyStanding,
        decision: Decision | None,
        *,
        new: bool = False,
    ) -> None:
        """A step was made; new: there is something that must not wait, as a label."""
        now = time.monotonic()
        if not new and now - self._shown < (_QUIET if self._live is None else _LIVE):
            return
        self._shown = now
        left = self._left(now, at, explorer.total_steps * len(at.explorer.walkers))
        self._line = _line(explorer, at, decision, left, dense=at.made > self._past[0][2])
        if self._live is None:
            self.say(self._line)
        else:
            self._show(self._line)

    def _show(self, line: str) -> None:
        assert self._live is not None
        self._live.update(Text(line, overflow="ellipsis", no_wrap=True), refresh=True)

    def _left(self, now: float, at: OnTheFlyStanding, whole: int) -> float | None:
        """Seconds to go at the speed of the last minutes, or since before the last labels, which
        may be longer ago and cost more than all steps."""
        done = _steps(at)
        self._past.append((now, done, at.made))
        while now - self._past[0][0] > _WINDOW and at.made - self._past[1][2] >= _LABELS:
            self._past.popleft()
        if len(self._past) > _MOST:  # hours without a label: every other moment will do
            self._past = deque([*self._past][::2])
        began, steps, _ = self._past[0]
        return (whole - done) * (now - began) / (done - steps) if done > steps else None


def _steps(at: OnTheFlyStanding) -> int:
    return sum(w.steps for w in at.explorer.walkers)


def _line(
    explorer: Any,
    at: OnTheFlyStanding,
    decision: Decision | None,
    left: float | None,
    *,
    dense: bool,
) -> str:
    """dense: ``left`` counts on labels coming as they came; most come at the beginning."""
    walkers = at.explorer.walkers
    now, steps = sum(map(explorer.time_of, walkers)), _steps(at)
    whole = now / max(steps, 1) * explorer.total_steps * len(walkers)
    parts = [f"{1e-3 * now:.3f} of {1e-3 * whole:.3g} ps", counted(at.made, "label")]
    if decision is not None:
        parts.append(
            f"σ {1e3 * decision.energy_std:.2f} meV, P(over) {100 * decision.probability:.2g} %"
        )
    if left is not None:
        rate = " if labels keep coming at this rate" if dense else ""
        parts.append(f"about {duration(left)} left{rate}")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """In the unit that fits: 12 s, 3 min, 1.4 h, 2.1 d."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            digits = 1 if unit != "min" and seconds < 10 * size else 0
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def duration_or_ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else duration(seconds)
