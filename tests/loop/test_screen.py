"""What the line on the screen says of the time left and of labels."""

import io
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich.console import Console

from tunesmith.loop import screen as screens
from tunesmith.loop.screen import Screen


@dataclass
class Walker:
    steps: int = 0


@dataclass
class Explorer:
    total_steps: int = 1000
    walkers: list[Walker] = field(default_factory=lambda: [Walker()])

    def time_of(self, walker: Walker) -> float:
        return 0.5 * walker.steps


@dataclass
class At:
    explorer: Explorer
    made: int = 0


class Clock:
    """A step costs 0.01 s, a label 100 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(screens.time, "monotonic", lambda: self.now)


def lines(monkeypatch: pytest.MonkeyPatch, labels: set[int], steps: int) -> tuple[list[str], Any]:
    """Run so many steps, with labels at some of them; every line, and the seconds really left."""
    clock, file = Clock(monkeypatch), io.StringIO()
    screen = Screen(Console(file=file, width=200))
    explorer = Explorer()
    at: Any = At(explorer)
    screen.begin(at)
    for i in range(steps):
        if i in labels:
            clock.now += 100.0
            at.made += 1
        clock.now += 0.01
        explorer.walkers[0].steps += 1
        screen.step(explorer, at, None, new=i in labels)
    return file.getvalue().splitlines(), clock


def test_labels_count_in_the_time_left_and_are_shown_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every twentieth step asks: an hour and more is left, not the seconds of bare steps."""
    said, _ = lines(monkeypatch, set(range(0, 1000, 20)), 101)
    counts = [line.split(" · ")[1] for line in said]
    assert counts[:6] == ["1 label", *(f"{n} labels" for n in range(2, 7))]
    # 899 steps are left, and with them 45 labels of 100 s
    assert "about 75 min left" in next(line for line in said if "6 labels" in line)


def test_labels_of_long_ago_weigh_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels in the first steps only: what is left comes down as steps without any go by."""
    said, _ = lines(monkeypatch, {0, 1, 2}, 3)
    assert "h left if labels keep coming at this rate" in said[-1]
    monkeypatch.undo()
    clock, file = Clock(monkeypatch), io.StringIO()
    screen, explorer = Screen(Console(file=file, width=200)), Explorer(total_steps=100_000)
    at: Any = At(explorer)
    screen.begin(at)
    for i in range(60_000):
        clock.now += 100.01 if i < 3 else 0.01
        at.made += i < 3
        explorer.walkers[0].steps += 1
        screen.step(explorer, at, None, new=i < 3)
    last = file.getvalue().splitlines()[-1]
    assert "about 9 min left" in last or "about 10 min left" in last or "about 8 min left" in last


def test_without_labels_time_is_that_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, file = Clock(monkeypatch), io.StringIO()
    screen, explorer = Screen(Console(file=file, width=200)), Explorer(total_steps=4000)
    at: Any = At(explorer)
    screen.begin(at)
    for _ in range(2000):
        clock.now += 0.01
        explorer.walkers[0].steps += 1
        screen.step(explorer, at, None)
    assert file.getvalue().splitlines()[-1].endswith("about 25 s left")
