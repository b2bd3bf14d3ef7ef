"""A selection shown: the map of pool, labelled and chosen structures; the chosen as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tunesmith.kernels import Kernel
from tunesmith.report.plots import COLOURS, GREY, save
from tunesmith.report.principal_components import Components
from tunesmith.report.tables import number

#: candidates drawn at most, drawn by lot of more
DRAWN = 20_000
#: what the score of a chosen structure is, where the rule says it
_MEANING = {"lcmd": "distance", "kcenter": "distance", "posterior-variance": "variance"}
_ROWS = 10  # of the table


def selection_map(
    pool: np.ndarray,
    chosen: np.ndarray,
    path: Path | str,
    *,
    labelled: np.ndarray | None = None,
    kernel: Kernel,
    rng: np.random.Generator,
    title: str = "",
) -> None:
    """Structures on the two leading principal components of the kernel between their features.

    pool (n, d), of which the rows ``chosen`` (k,) were chosen; labelled (m, d). The components are
    those of pool and labelled together.
    """
    shown = np.asarray(pool[np.sort(rng.permutation(len(pool))[:DRAWN])])
    everything = shown if labelled is None else np.concatenate([shown, labelled])
    components = Components.fit(everything, kernel, rng)
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    ax = figure.subplots()
    alpha = float(np.clip(60 / np.sqrt(max(len(shown), 1)), 0.2, 0.8))
    grey: dict[str, Any] = {"s": 9, "color": GREY, "alpha": alpha, "lw": 0}
    ax.scatter(*components.project(shown).T, label="pool", **grey)
    if labelled is not None:
        ring: dict[str, Any] = {"s": 26, "facecolors": "none", "edgecolors": COLOURS[0], "lw": 1.1}
        ax.scatter(*components.project(labelled).T, label="labelled", **ring)
    dot: dict[str, Any] = {"s": 26, "color": COLOURS[5], "edgecolors": "black", "lw": 0.4}
    ax.scatter(*components.project(np.asarray(pool[chosen])).T, label="chosen", zorder=3, **dot)
    parts = zip((ax.xaxis, ax.yaxis), ("first", "second"), components.explained, strict=True)
    for axis, name, part in parts:
        axis.set_label_text(f"{name} principal component ({100 * part:.0f} % of the variance)")
        axis.set_major_locator(MaxNLocator(5))
    legend = ax.legend(framealpha=0.9, fontsize=9)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    if title:
        ax.set_title(title, loc="left", fontsize=9)
    save(figure, path)


def selection_table(summary: Mapping[str, Any]) -> RenderableType:
    """The first of the chosen; ``summary`` is that of `tunesmith select`."""
    what = _MEANING.get(summary["rule"], summary["score"])
    nearest = bool(summary["n_labelled"])
    heads = ["order", "structure", "composition"]
    heads += ([what] if what else []) + (["nearest labelled"] if nearest else [])
    table = Table(*(Column(head, overflow="fold") for head in heads), box=box.SIMPLE_HEAD)
    for row in summary["chosen"][:_ROWS]:
        cells = [str(row["order"]), row["origin"], row["composition"]]
        cells += ([number(row["score"])] if what else []) + ([row["nearest"]] if nearest else [])
        table.add_row(*map(Text, cells))
    rest = summary["n_chosen"] - _ROWS
    return Group(table, Text(f"  and {rest} more\n")) if rest > 0 else table
