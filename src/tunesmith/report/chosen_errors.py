"""The picture of rounds that choose their structures' error: what was aimed at, what came."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith.report.plots import COLOURS, GREY, save

NAME = "errors.png"


def picture(rounds: Sequence[Mapping[str, Any]], path: Path | str) -> None:
    """Real force errors of the structures of every round, before they are learnt, against labels.

    rounds: of a summary; those with ``about.errors`` (eV/Å, one of each structure) are drawn,
    beside what was aimed at and the target. Of none nothing is written.
    """
    drawn = [r for r in rounds if r["about"].get("errors")]
    if not drawn:
        return
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    ax = figure.subplots()
    labels = [r["labels"] for r in drawn]
    every = [(r["labels"], 1e3 * e) for r in drawn for e in r["about"]["errors"]]
    ax.plot(*np.transpose(every), "o", ms=3, mfc="none", color=GREY, label="of each structure")
    real = [1e3 * r["about"]["error"] for r in drawn]
    ax.plot(labels, real, "o-", ms=5, color=COLOURS[0], label="of all (rms)")
    # of hot dynamics and the like nothing is aimed at
    if aimed := [(r["labels"], 1e3 * r["about"]["aim"]) for r in drawn if "aim" in r["about"]]:
        ax.plot(*np.transpose(aimed), "_", ms=14, mew=2, color=COLOURS[5], label="aimed at")
    target = 1e3 * drawn[-1]["about"]["target"]
    ax.axhline(target, ls="--", lw=1, color=COLOURS[5], label=f"target {target:.4g} meV/Å")
    ax.set(xlabel="labels, those of the round included", ylabel="real force error (meV/Å)")
    ax.set_title("errors of each round's structures, before they were learnt", fontsize=10)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.legend(frameon=False, fontsize=8)
    save(figure, path)


def row(folder: Path) -> list[tuple[str, str]]:
    """What is said of the picture in a run's folder, where there is one."""
    return [("real errors", str(folder / NAME))] if (folder / NAME).exists() else []
