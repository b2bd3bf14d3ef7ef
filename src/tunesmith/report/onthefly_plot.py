"""The picture of an on-the-fly run: when it asked, how wrong it was, whether it knew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith.report.plots import COLOURS, GREY, save


class Asked(Protocol):
    """One label that was asked for: the fields of a run's record that are drawn (fs, eV)."""

    @property
    def clock(self) -> float: ...
    @property
    def labelled(self) -> float: ...
    @property
    def untuned(self) -> float: ...
    @property
    def std(self) -> float | None: ...
    @property
    def error(self) -> float: ...
    @property
    def force_ratio(self) -> float | None: ...
    @property
    def untuned_force_ratio(self) -> float | None: ...


def picture(
    records: Sequence[Asked],
    path: Path | str,
    *,
    simulated: float,
    target: float | None = None,
) -> None:
    """Labels over time; errors against the target, untuned beside; error against its bar. Where
    forces are judged, their errors over what is allowed too.

    simulated: fs in all. target: eV, None where no energy was asked for.
    """
    judged = [r for r in records if r.force_ratio is not None]
    panels = 4 if judged else 3
    figure = Figure(figsize=(4.2 * panels, 4.2), layout="constrained")
    count, error, *forces, honest = figure.subplots(1, panels)
    known = [r for r in records if r.std is not None]
    times = 1e-3 * np.array([r.clock for r in known])
    _count(count, records, 1e-3 * simulated)
    _errors(error, known, times, target)
    _honest(honest, known, target)
    for ax in forces:
        _forces(ax, judged)
    for ax in (count, error, *forces):
        ax.xaxis.set_major_locator(MaxNLocator(5))
    count.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    save(figure, path)


def _count(ax: Axes, records: Sequence[Asked], end: float) -> None:
    at = 1e-3 * np.array([0.0, *(r.clock for r in records)])
    ax.step(np.append(at, end), [*range(len(at)), len(at) - 1], where="post", color=COLOURS[0])
    ax.set(xlabel="simulated time (ps)", ylabel="labels asked for", title="when it asked")
    ax.set_ylim(bottom=0)


def _errors(ax: Axes, known: Sequence[Asked], times: np.ndarray, target: float | None) -> None:
    untuned = 1e3 * np.abs([r.untuned - r.labelled for r in known])
    tuned = 1e3 * np.abs([r.error for r in known])
    ax.plot(times, untuned, "o", ms=4, mfc="none", color=GREY, label="untuned model")
    ax.plot(times, tuned, "o", ms=4, color=COLOURS[0], label="model as it was then")
    if target is not None:
        ax.axhline(1e3 * target, color=COLOURS[5], lw=1, label=_named(target))
    if len(known):
        ax.set_yscale("log")
    ax.set(xlabel="simulated time (ps)", ylabel="|energy error| (meV)", title="how wrong it was")
    ax.legend(frameon=False, fontsize=8)


def _forces(ax: Axes, judged: Sequence[Asked]) -> None:
    """Of every structure the atom whose force is furthest off."""
    times = 1e-3 * np.array([r.clock for r in judged])
    untuned = [np.nan if (x := r.untuned_force_ratio) is None else x for r in judged]
    ax.plot(times, untuned, "o", ms=4, mfc="none", color=GREY, label="untuned model")
    own = [np.nan if (x := r.force_ratio) is None else x for r in judged]
    ax.plot(times, own, "o", ms=4, color=COLOURS[0], label="model as it was then")
    ax.axhline(1, color=COLOURS[5], lw=1, label="target")
    ax.set_yscale("log")
    ax.set(xlabel="simulated time (ps)", ylabel="largest force error / target")
    ax.set_title("how wrong its forces were")
    ax.legend(frameon=False, fontsize=8)


def _named(target: float) -> str:
    return f"target {1e3 * target:.1f} meV"


def _honest(ax: Axes, known: Sequence[Asked], target: float | None) -> None:
    std = 1e3 * np.array([r.std for r in known], float)
    tuned = 1e3 * np.abs([r.error for r in known])
    untuned = 1e3 * np.abs([r.untuned - r.labelled for r in known])
    if len(known):
        wide = np.linspace(0, 1.1 * std.max(), 50)
        ax.fill_between(wide, 0, 1.96 * wide, color=COLOURS[0], alpha=0.15, lw=0, label="95 %")
    ax.plot(std, untuned, "o", ms=4, mfc="none", color=GREY, label="untuned model")
    ax.plot(std, tuned, "o", ms=4, color=COLOURS[0], label="model as it was then")
    if target is not None:
        ax.axhline(1e3 * target, color=COLOURS[5], lw=1)
    top = 1.3 * max(tuned.max(initial=0.0), 2.2 * std.max(initial=0.0), 1e-3)
    ax.set(xlabel="calibrated σ (meV)", ylabel="|energy error| (meV)", title="whether it knew")
    ax.set_ylim(0, top)
    ax.legend(frameon=False, fontsize=8)
