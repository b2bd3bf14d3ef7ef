"""Learning curves of rounds from a pool: how good each round's model is, and who needs fewer.

A curve is one value per round, lower is better, rounds counted from 0. Runs of several seeds are
compared pair by pair: the first of a method with the first of the baseline, and so on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.table import Table

from tunesmith.errors import DataError
from tunesmith.report.plots import COLOURS, GREY, save
from tunesmith.report.tables import number

#: metric → its name and unit
METRICS = {
    "energy_rmse_meV_per_atom": ("energy RMSE", "meV/atom"),
    "energy_mae_meV_per_atom": ("energy MAE", "meV/atom"),
    "energy_rmse_within_composition_meV_per_atom": ("energy RMSE in composition", "meV/atom"),
    "energy_mae_within_composition_meV_per_atom": ("energy MAE in composition", "meV/atom"),
    "force_rmse_meV_per_A": ("force RMSE", "meV/Å"),
    "force_mae_meV_per_A": ("force MAE", "meV/Å"),
}


@dataclass(frozen=True)
class Curve:
    """One run. labels: (R,) learnt from by the model of every round; values: metric → (R,) on the
    test structures, NaN where a round could not be measured."""

    labels: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def learnt(self) -> np.ndarray:
        """(R,) whether the round's model has learnt anything; the untuned one has not."""
        return self.labels > 0

    def auc(self, metric: str) -> float:
        """As `auc`, over the rounds whose model has learnt."""
        return auc(self.values[metric][self.learnt])


def curve(rounds: Sequence[Mapping[str, Any]]) -> Curve:
    """The curve of a run's rounds, as they stand in its summary."""
    labels = np.array([r["labels"] for r in rounds], int)
    return Curve(labels, {m: _values(rounds, m) for m in METRICS})


def _values(rounds: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    found = [r["test"].get(metric) for r in rounds]
    return np.array([np.nan if v is None else v for v in found], float)


def read(run: Path | str) -> Curve:
    """The curve of a finished run. Raises `DataError` for a folder that holds none."""
    path = Path(run) / "summary.json"
    try:
        return curve(json.loads(path.read_text())["rounds"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{run} holds no finished rounds; finish it with `tunesmith run`."
        ) from None


# -------------------------------------------------------------------------- what they say


def auc(values: np.ndarray) -> float:
    """The area under a curve: the sum of its values over the rounds."""
    return float(np.sum(values))


def round_gain(method: np.ndarray, baseline: np.ndarray) -> float:
    """How much earlier a method is as good as both become: (r_b − r_m) / max(r_b, r_m).

    The target is the larger of the two minima, r the first round (from 0) that reaches it; 0
    where both do in round 0. −6/19 is −31.6 %. Raises `DataError` where a value is no number.
    """
    for values in (method, baseline):
        if not len(values) or not np.isfinite(values).all():
            raise DataError("a round gain needs a value in every round; run to the end first.")
    target = max(np.min(method), np.min(baseline))
    ours, theirs = (int(np.argmax(v <= target)) for v in (method, baseline))
    latest = max(ours, theirs)
    return (theirs - ours) / latest if latest else 0.0


def compare(
    runs: Mapping[str, Sequence[Curve]], metric: str, baseline: str
) -> list[dict[str, Any]]:
    """Of every method the AUC, the final value and the round gain, means over its seeds.

    Standard deviations (n − 1) beside them, None of one seed. ``auc_ratio``: mean of the method's
    over the baseline's, pair by pair. Raises `DataError` where methods have other numbers of seeds
    or rounds than the baseline.
    """
    if baseline not in runs:
        raise DataError(f"there is no method {baseline!r} to compare with; name one of the runs.")
    rows = []
    for name, curves in runs.items():
        pairs = _paired(name, curves, baseline, runs[baseline])
        areas = np.array([c.auc(metric) for c, _ in pairs])
        ratios = [c.auc(metric) / b.auc(metric) for c, b in pairs]
        finals = np.array([c.values[metric][-1] for c, _ in pairs])
        gains = [_gain(c, b, metric) for c, b in pairs]
        rows.append(
            {
                "method": name,
                "seeds": len(pairs),
                "auc": float(areas.mean()),
                "auc_std": _std(areas),
                "auc_ratio": float(np.mean(ratios)),
                "final": float(finals.mean()),
                "final_std": _std(finals),
                "round_gain": float(np.mean(gains)),
                "round_gain_std": _std(np.array(gains)),
            }
        )
    return rows


def _gain(ours: Curve, theirs: Curve, metric: str) -> float:
    """Of the rounds that can be measured in both, which keep their numbers."""
    first = int(np.argmax(ours.learnt & theirs.learnt))
    values = [c.values[metric].copy() for c in (ours, theirs)]
    for v in values:  # the untuned model never is the one that reaches the target
        v[:first] = np.finfo(float).max
    return round_gain(*values)


def _paired(
    name: str, curves: Sequence[Curve], other: str, baseline: Sequence[Curve]
) -> list[tuple[Curve, Curve]]:
    if len(curves) != len(baseline) or not curves:
        raise DataError(
            f"{name} has {len(curves)} runs and {other} {len(baseline)}; give every method the "
            "same seeds."
        )
    for one, two in zip(curves, baseline, strict=True):
        if len(one.labels) != len(two.labels):
            raise DataError(
                f"a run of {name} has {len(one.labels) - 1} rounds and one of {other} "
                f"{len(two.labels) - 1}; compare runs of equal length."
            )
    return list(zip(curves, baseline, strict=True))


def _std(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


# --------------------------------------------------------------------- tables and pictures


def table(rows: Sequence[Mapping[str, Any]], metric: str, baseline: str) -> Table:
    """`compare`'s rows for the terminal."""
    name, unit = METRICS[metric]
    out = Table(title=f"{name} ({unit}), against {baseline}", box=box.SIMPLE_HEAD)
    for column in ("method", "AUC", "AUC / its", "final", "round gain", "seeds"):
        out.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        out.add_row(
            row["method"],
            _with_std(row["auc"], row["auc_std"]),
            f"{row['auc_ratio']:.2f}",
            _with_std(row["final"], row["final_std"]),
            _percent(row["round_gain"], row["round_gain_std"]),
            str(row["seeds"]),
        )
    return out


def _with_std(value: float, std: float | None) -> str:
    return number(value) if std is None else f"{number(value)} ± {number(std)}"


def _percent(value: float, std: float | None) -> str:
    shown = f"{100 * value:+.1f} %"
    return shown if std is None else f"{shown} ± {100 * std:.1f}"


def picture(
    runs: Mapping[str, Sequence[Curve]],
    path: Path | str,
    metrics: Sequence[str] = ("energy_rmse_meV_per_atom", "force_rmse_meV_per_A"),
) -> None:
    """Metrics against the number of labels: a line for each method, its mean over seeds, with a
    band of ± one standard deviation. The untuned model, where it was measured before the first
    label, is a dashed line, unless it lies far above all curves.

    Raises `DataError` where there is no value to draw.
    """
    save(figure(runs, metrics), path)


def figure(runs: Mapping[str, Sequence[Curve]], metrics: Sequence[str]) -> Figure:
    """`picture`, not yet saved."""
    shown = [m for m in metrics if any(np.isfinite(c.values[m]).any() for c in _all(runs))]
    if not shown:
        raise DataError("the rounds hold no number to draw; run at least one.")
    found = Figure(figsize=(4.8 * len(shown), 3.4), layout="constrained")
    for ax, metric in zip(found.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for i, (name, curves) in enumerate(runs.items()):
            colour = GREY if name == "random" else COLOURS[i % len(COLOURS)]
            _line(ax, name, curves, metric, colour)
        untuned = [c.values[metric][0] for c in _all(runs) if not c.learnt[0]]
        if untuned and np.mean(untuned) < 2 * ax.get_ylim()[1]:
            ax.axhline(np.mean(untuned), ls="--", lw=1, color="0.3", label="untuned")
        what, unit = METRICS[metric]
        ax.set(xlabel="labels", ylabel=f"{what} ({unit})")
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.grid(which="major", color="0.92")
        if len(ax.get_legend_handles_labels()[1]) > 1:
            ax.legend(frameon=False, fontsize=8)
    return found


def _line(ax: Axes, name: str, curves: Sequence[Curve], metric: str, colour: str) -> None:
    rounds = min(len(c.labels) for c in curves)
    labels = np.mean([c.labels[:rounds] for c in curves], axis=0)
    values = np.array([c.values[metric][:rounds] for c in curves])
    drawn = (labels > 0) & np.isfinite(values).all(0)
    mean, spread = values.mean(0)[drawn], values.std(0, ddof=min(1, len(values) - 1))[drawn]
    ax.plot(labels[drawn], mean, "o-", ms=3, color=colour, label=name)
    if len(values) > 1:
        low, high = mean - spread, mean + spread
        ax.fill_between(labels[drawn], low, high, color=colour, alpha=0.15, lw=0)


def _all(runs: Mapping[str, Sequence[Curve]]) -> list[Curve]:
    return [c for curves in runs.values() for c in curves]
