"""The picture of how honest error bars are: how often they hold against how often they should."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tunesmith.calibrate import scores
from tunesmith.errors import DataError
from tunesmith.report.evaluation import Evaluation, with_spread
from tunesmith.report.plots import COLOURS, GREY, save
from tunesmith.report.tables import number
from tunesmith.words import counted


def reliability(
    spreads: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: Path | str,
    *,
    records: int | None = None,
    title: str = "",
) -> None:
    """Empirical against nominal coverage of central intervals, a line for each name.

    spreads: name → errors and their predicted stds, of one shape and unit. records: independent
    ones among them (structures); then a band shows where 95 % of honest error bars' curves pass
    each level. Below the diagonal bars are too short. Raises `DataError` where there is no spread.
    """
    if not spreads:
        raise DataError("there is no spread to judge; predict with several members.")
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="black", lw=0.8, zorder=0.5)
    if records:
        p = np.linspace(0, 1, 101)
        half = 1.96 * np.sqrt(p * (1 - p) / records)
        low, high = np.maximum(p - half, 0), np.minimum(p + half, 1)
        label = f"chance, {counted(records, 'structure')}"
        ax.fill_between(p, low, high, color=GREY, alpha=0.25, lw=0, label=label)
    for i, (name, (error, std)) in enumerate(spreads.items()):
        nominal, found = scores.coverage_curve(error, std)
        ece, inside = scores.ece(error, std), scores.coverage(error, std, 0.9)
        label = f"{name}: ECE {number(ece)}, {100 * inside:.1f} % in the 90 % interval"
        style = "-" if i < len(COLOURS) else "--"
        look: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "ls": style,
            "marker": "o",
            "ms": 3,
        }
        ax.plot([0, *nominal, 1], [0, *found, 1], label=label, **look)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set(xlabel="errors that should lie in the interval", ylabel="errors that do")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(color="0.92")
    ax.legend(loc="upper left", fontsize=8, framealpha=0.9)
    if title:
        ax.set_title(title, loc="left", fontsize=9)
    save(figure, path)


def of_evaluation(evaluation: Evaluation, path: Path | str) -> None:
    """`reliability` of what one evaluation has a spread of."""
    compared = with_spread(evaluation)
    spreads = {k: (c.error, c.std) for k, c in compared.items() if c.std is not None}
    title = f"error bars, {'calibrated' if evaluation.calibrated else 'raw, not calibrated'}"
    reliability(spreads, path, records=len(evaluation.n_atoms), title=title)
