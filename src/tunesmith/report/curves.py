"""Learning curves of rounds from a pool: how good each round's model is, and who needs fewer.

A curve is one value per round, lower is better, rounds counted from 0. Runs of several seeds are
compared with the same seeds of a baseline: the first of a method with the first of the baseline,
and so on, since they start from the same labels. Ratios and round gains are of the curves' means
over the seeds; the mean of every pair's own stands beside them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.table import Table

from tunesmith.errors import DataError
from tunesmith.report.plots import COLOURS, GREY, save
from tunesmith.report.seeds import interval
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
#: what a round's model is measured on: labelled structures of `data`, or a pool's unlabelled rest
Structures = Literal["test", "valid", "rest"]


@dataclass(frozen=True)
class Curve:
    """One run. labels: (R,) learnt from by the model of every round; values: metric → (R,) on some
    structures, NaN where a round could not be measured."""

    labels: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def learnt(self) -> np.ndarray:
        """(R,) whether the round's model has learnt anything; the untuned one has not."""
        return self.labels > 0

    def auc(self, metric: str) -> float:
        """As `auc`, over the rounds whose model has learnt."""
        return auc(self.values[metric][self.learnt])


def curve(rounds: Sequence[Mapping[str, Any]], on: Structures = "test") -> Curve:
    """The curve of a run's rounds, as they stand in its summary."""
    labels = np.array([r["labels"] for r in rounds], int)
    return Curve(labels, {m: _values(rounds, m, on) for m in METRICS})


def _values(rounds: Sequence[Mapping[str, Any]], metric: str, on: Structures) -> np.ndarray:
    found = [r.get(on, {}).get(metric) for r in rounds]
    return np.array([np.nan if v is None else v for v in found], float)


def read(run: Path | str, on: Structures = "test") -> Curve:
    """The curve of a finished run. Raises `DataError` for a folder that holds none."""
    path = Path(run) / "summary.json"
    try:
        rounds = json.loads(path.read_text())["rounds"]
        found = curve(rounds, on)
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{run} holds no finished rounds; finish it with `tunesmith run`."
        ) from None
    if on == "rest" and not any(r.get("rest") for r in rounds):
        raise DataError(f"{run} was not measured on the pool's rest; run it with explore.rest.")
    return found


# -------------------------------------------------------------------------- what they say


def auc(values: np.ndarray) -> float:
    """The area under a curve: the sum of its values over the rounds."""
    return float(np.sum(values))


def round_gain(method: np.ndarray, baseline: np.ndarray) -> float:
    """How much earlier a method is as good as both become: (r_b − r_m) / max(r_b, r_m).

    The target is the larger of the two minima, r the first round (from 0) that reaches it; 0
    where both do in round 0. −6/19 is −31.6 %. Raises `DataError` where a value is no number.
    """
    _require_numbers(method, baseline)
    return float(_gain(method, baseline))


def _gain(method: np.ndarray, baseline: np.ndarray, first: int = 0) -> np.ndarray:
    """`round_gain` of curves (…, R) that begin with round ``first``, the untuned model's left out:
    (…)."""
    target = np.maximum(method.min(-1), baseline.min(-1))[..., None]
    ours, theirs = (first + np.argmax(v <= target, axis=-1) for v in (method, baseline))
    return np.asarray((theirs - ours) / np.maximum(np.maximum(ours, theirs), 1))


def _require_numbers(*curves: np.ndarray) -> None:
    for values in curves:
        if not values.size or not np.isfinite(values).all():
            raise DataError(
                "a comparison needs a value in every round; run to the end first, or, where all "
                "candidates of explore.rest were asked for before, set a larger one in a new run."
            )


def compare(
    runs: Mapping[str, Sequence[Curve]], metric: str, baseline: str, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Every method against the baseline, over its seeds.

    ``auc`` and ``final``: means over the seeds; ``…_std``: their standard deviations (n − 1).
    ``auc_ratio`` and ``final_ratio``, method's over baseline's, and ``round_gain``: of the curves'
    means over the seeds, as in the paper, of whose round gains each is one fraction of whole
    rounds. ``…_interval``: the central 90 % of resampled pairs of seeds (`seeds.interval`).
    ``…_pairs``, ``…_pairs_std``: mean and standard deviation of every pair's own, another number
    wherever curves are ragged. Spreads are None of one seed. Only rounds count in which every
    model has learnt something.

    seed: of the resampling, where it draws. Raises `DataError` where numbers of seeds or rounds
    differ, or a round has no value.
    """
    if baseline not in runs:
        raise DataError(f"there is no method {baseline!r} to compare with; name one of the runs.")
    rows = []
    for name, curves in runs.items():
        _require_pairs(name, curves, baseline, runs[baseline])
        rows.append({"method": name, **_row(curves, runs[baseline], metric, seed)})
    return rows


def _row(
    method: Sequence[Curve], baseline: Sequence[Curve], metric: str, seed: int
) -> dict[str, Any]:
    learnt = np.all([c.learnt for c in (*method, *baseline)], axis=0)
    ours, theirs = (
        np.array([c.values[metric][learnt] for c in curves]) for curves in (method, baseline)
    )
    _require_numbers(ours, theirs)
    row: dict[str, Any] = {"seeds": len(ours)}
    for what, values in (("auc", ours.sum(1)), ("final", ours[:, -1])):
        row |= {what: float(values.mean()), f"{what}_std": _std(values)}
    measures: dict[str, _Measure] = {
        "auc_ratio": lambda m, b: m.sum(-1) / b.sum(-1),
        "final_ratio": lambda m, b: m[..., -1] / b[..., -1],
        "round_gain": partial(_gain, first=int(np.argmax(learnt))),
    }
    for what, measure in measures.items():
        row |= _over_seeds(what, measure, ours, theirs, seed)
    return row


#: curves of a method and of the baseline (…, R) → (…)
_Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _over_seeds(
    what: str, measure: _Measure, ours: np.ndarray, theirs: np.ndarray, seed: int
) -> dict[str, Any]:
    """A measure of curves (n, R): of their means, of resampled pairs' means, and of every pair."""

    def resampled(drawn: np.ndarray) -> np.ndarray:
        return measure(ours[drawn].mean(1), theirs[drawn].mean(1))

    each = measure(ours, theirs)
    return {
        what: float(measure(ours.mean(0), theirs.mean(0))),
        f"{what}_interval": interval(resampled, len(ours), seed),
        f"{what}_pairs": float(each.mean()),
        f"{what}_pairs_std": _std(each),
    }


def _require_pairs(
    name: str, curves: Sequence[Curve], other: str, baseline: Sequence[Curve]
) -> None:
    """Raise `DataError` where runs cannot be paired, or cannot be averaged round by round."""
    if len(curves) != len(baseline) or not curves:
        raise DataError(
            f"{name} has {len(curves)} runs and {other} {len(baseline)}; give every method the "
            "same seeds."
        )
    rounds = len(baseline[0].labels)
    for run in (*curves, *baseline):
        if len(run.labels) != rounds:
            raise DataError(
                f"runs of {name} and {other} have {rounds - 1} and {len(run.labels) - 1} rounds; "
                "compare runs of equal length."
            )


def _std(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


# --------------------------------------------------------------------- tables and pictures


def table(rows: Sequence[Mapping[str, Any]], metric: str, baseline: str) -> Table:
    """`compare`'s rows for the terminal."""
    name, unit = METRICS[metric]
    out = Table(
        title=f"{name} ({unit}), against {baseline}",
        caption="of the seeds' mean curves [central 90 % over resampled seeds]; of pairs: the mean "
        "of every seed's own gain; ±: one standard deviation over seeds",
        box=box.SIMPLE_HEAD,
    )
    for column in ("method", "AUC", "AUC / its", "final", "round gain", "of pairs", "seeds"):
        out.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        ratio, gain = row["auc_ratio"], row["round_gain"]
        out.add_row(
            row["method"],
            _with_std(row["auc"], row["auc_std"]),
            f"{ratio:.2f}{_between(row['auc_ratio_interval'], '{:.2f}')}",
            _with_std(row["final"], row["final_std"]),
            f"{100 * gain:+.1f} %{_between(row['round_gain_interval'], '{:+.0f}', 100)}",
            _percent(row["round_gain_pairs"], row["round_gain_pairs_std"]),
            str(row["seeds"]),
        )
    return out


def _between(ends: tuple[float, float] | None, shown: str, times: float = 1) -> str:
    """An interval to stand behind its number; nothing of one seed."""
    if ends is None:
        return ""
    low, high = (shown.format(times * end) for end in ends)
    return f" [{low}, {high}]"


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
