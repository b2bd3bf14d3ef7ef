"""Pictures of attacks and of courses of learning."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.cago.cago_attacks import MENDED, NONE, PLAIN, TWICE
from bench.cago.cago_learning import METHODS
from bench.cago.cago_tables import LAWS, courses, rms
from bench.runner.parts import Found, Record
from tunesmith.report.plots import COLOURS, GREY, save


def pictures(found: Found, folder: Path) -> None:
    """``chosen-error.png`` and ``chosen-error-learning.png``."""
    if records := found.get("attacks"):
        figure = Figure(figsize=(12.6, 4.2), layout="compressed")
        one, two, three = figure.subplots(1, 3)
        _against_target(one, records)
        _distributions(two, records, found.get("committee", []))
        _sizes(three, records)
        save(figure, folder / "chosen-error.png")
    if records := found.get("learning"):
        groups = courses(records)
        figure = Figure(figsize=(5.0 * len(groups), 4.2), layout="compressed")
        axes = figure.subplots(1, len(groups), squeeze=False)[0]
        for ax, (group, by_method) in zip(axes, groups.items(), strict=True):
            _learning(ax, group, by_method)
        save(figure, folder / "chosen-error-learning.png")


def _errors(record: Record) -> list[float]:
    return [1e3 * s["error"] for s in record["structures"] if s["error"] is not None]


def _chosen(records: list[Record], **wanted: Any) -> list[Record]:
    """Those with these values, by target."""
    own = [r for r in records if all(r[k] == v for k, v in wanted.items())]
    return sorted(own, key=lambda r: (r["times"], r["calibrators"]))


def _against_target(ax: Axes, records: list[Record]) -> None:
    most = max(r["calibrators"] for r in records)
    lines = [(PLAIN, 3, "o"), (NONE, 3, "s"), (PLAIN, most, "^")]
    for (law, by, marker), colour in zip(lines, COLOURS, strict=False):
        if not (own := _chosen(records, law=law, calibrators=most, attackers=by)):
            continue
        targets = [1e3 * r["target"] for r in own]
        for target, r in zip(targets, own, strict=True):
            errors = _errors(r)
            ax.plot([target] * len(errors), errors, marker, color=colour, alpha=0.15, ms=4)
        means = [rms(_errors(r))[0] for r in own]
        name = f"{LAWS[law]}, attacked by {by}"
        ax.plot(targets, means, f"-{marker}", color=colour, label=name)
    ends = [1e3 * f(r["target"] for r in records) for f in (min, max)]
    ax.plot(ends, ends, "--", color=GREY, label="as chosen")
    ax.set(xscale="log", yscale="log", xlabel="target (meV/Å)", ylabel="real error (meV/Å)")
    known = sorted({round(1e3 * r["target"]) for r in records})
    _ticks(ax, known, [20, 50, 100, 200, 500, 1000, 2000])
    ax.set_title("chosen and real")
    ax.legend(frameon=False, fontsize=8)


def _ticks(ax: Axes, x: list[int], y: list[int]) -> None:
    ax.set_xticks(x, [str(t) for t in x])
    ax.set_yticks(y, [str(t) for t in y])
    ax.minorticks_off()


def _distributions(ax: Axes, records: list[Record], committee: list[Record]) -> None:
    most, bins = max(r["calibrators"] for r in records), np.geomspace(40, 4000, 28)
    series = [("plain dynamics", 1e3 * np.array(c["errors"]), GREY) for c in committee]
    for law, colour in zip((PLAIN, NONE), COLOURS, strict=False):
        for r in _chosen(records, law=law, calibrators=most, attackers=3, times=TWICE):
            series.append((LAWS[law], np.array(_errors(r)), colour))
            ax.axvline(1e3 * r["target"], ls="--", color=GREY)
    for name, values, colour in series:
        weights = np.full(len(values), 1 / len(values))
        look: dict[str, Any] = {"histtype": "step", "lw": 1.8, "color": colour}
        ax.hist(values, bins, label=name, weights=weights, **look)
    ax.set(xscale="log", xlabel="real error of a structure (meV/Å)", ylabel="share of structures")
    ticks = [50, 100, 200, 500, 1000, 2000]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_title(f"target {TWICE:g} times the plain error")
    ax.legend(frameon=False)


def _sizes(ax: Axes, records: list[Record]) -> None:
    for law, colour in zip((PLAIN, MENDED), COLOURS, strict=False):
        own = _chosen(records, law=law, attackers=3, times=TWICE)
        found = [rms(_errors(r)) for r in own]
        at = [r["calibrators"] for r in own]
        look: dict[str, Any] = {"fmt": "o-", "capsize": 3, "color": colour}
        ax.errorbar(at, [f[0] for f in found], [f[1] for f in found], label=LAWS[law], **look)
    for target in {1e3 * r["target"] for r in records if r["times"] == TWICE}:
        ax.axhline(target, ls="--", color=GREY)
    sizes = sorted({r["calibrators"] for r in records if r["law"] != NONE})
    ax.set(xscale="log", yscale="log", xlabel="members that calibrate; three attack")
    _ticks(ax, sizes, [100, 200, 500, 1000, 2000])
    ax.set_ylabel("real error (meV/Å)")
    ax.set_title(f"target {TWICE:g} times the plain error")
    ax.legend(frameon=False, fontsize=8, loc="upper right")


def _learning(ax: Axes, group: tuple[str, str], by_method: dict[str, dict[int, Record]]) -> None:
    """Mean over seeds, with a band of its standard error."""
    for method, colour in zip(METHODS, COLOURS, strict=False):
        own = list(by_method.get(method, {}).values())
        if not own:
            continue
        values = np.array(
            [[1e3 * r["members"][str(i)] for i in range(len(r["rounds"]))] for r in own]
        )
        labels = np.mean([[x["labels"] for x in r["rounds"]] for r in own], axis=0)
        mean = values.mean(0)
        ax.plot(labels, mean, "o-", ms=4, color=colour, label=f"{method} ({len(own)})")
        if len(own) > 1:
            error = values.std(0, ddof=1) / np.sqrt(len(own))
            ax.fill_between(labels, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
    ax.set(xlabel="labels", ylabel="members' force RMSE, plain (meV/Å)", ylim=(0, None))
    ax.set_title(", ".join(group))
    ax.legend(frameon=False)
