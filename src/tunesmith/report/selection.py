"""The map of a selection: candidates, what is labelled, what was chosen."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith.report.plots import COLOURS, GREY, save


def selection_map(
    pool: np.ndarray,
    chosen: np.ndarray,
    path: Path | str,
    *,
    labelled: np.ndarray | None = None,
    explained: np.ndarray,
    title: str = "",
) -> None:
    """Points (n, 2) of two principal components, whose parts of the variance are ``explained``."""
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    ax = figure.subplots()
    alpha = float(np.clip(60 / np.sqrt(max(len(pool), 1)), 0.2, 0.8))
    ax.scatter(*pool.T, s=9, color=GREY, alpha=alpha, lw=0, label="pool")
    if labelled is not None:
        style = {"s": 26, "facecolors": "none", "edgecolors": COLOURS[0], "lw": 1.1}
        ax.scatter(*labelled.T, label="labelled", **style)
    style = {"s": 26, "color": COLOURS[5], "edgecolors": "black", "lw": 0.4, "zorder": 3}
    ax.scatter(*chosen.T, label="chosen", **style)
    for axis, name, part in zip((ax.xaxis, ax.yaxis), ("first", "second"), explained, strict=True):
        axis.set_label_text(f"{name} principal component ({100 * part:.0f} % of the variance)")
        axis.set_major_locator(MaxNLocator(5))
    legend = ax.legend(frameon=True, framealpha=0.9, fontsize=9)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    if title:
        ax.set_title(title, loc="left", fontsize=9)
    save(figure, path)
