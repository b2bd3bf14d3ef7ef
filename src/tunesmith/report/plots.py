"""Pictures of an evaluation and of a training, written as files; no window, no global state."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from tunesmith.calibrate import scores
from tunesmith.errors import DataError
from tunesmith.report.evaluation import Evaluation, centred
from tunesmith.report.tables import number

#: Okabe and Ito's colours, told apart with any colour vision
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
GREY = "#8C8C8C"
#: viridis without its palest yellow, which vanishes on white; dark is dense
DENSITY = LinearSegmentedColormap.from_list(
    "dense", colormaps["viridis_r"](np.linspace(0.1, 1, 256))
)
DENSE = 3000  #: from this many points on density is shown instead of points
BARS = 500  #: up to so many points error bars are told apart
_PANEL = 4.2  # inches, side of one parity panel


def parity(evaluation: Evaluation, path: Path | str, *, title: str = "") -> None:
    """Predicted against reference energies (per atom) and force components, those there are, as one
    picture."""
    drawn = [draw for draw, there in _panels(evaluation) if there]
    if not drawn:
        raise DataError("There is neither an energy nor a force to draw; label the structures.")
    figure = Figure(figsize=(len(drawn) * _PANEL + 0.8, _PANEL + 0.6), layout="compressed")
    axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    for ax, draw in zip(axes, drawn, strict=True):
        draw(ax, evaluation)
    if title:
        figure.suptitle(title)
    save(figure, path)


def _panels(evaluation: Evaluation) -> list[tuple[Callable[[Axes, Evaluation], None], bool]]:
    """What a parity plot shows, and whether there is something to show."""
    energies = bool(np.isfinite(evaluation.energy.predicted).any())
    return [
        (lambda ax, e: _energy_parity(ax, e, "energies"), energies),
        (lambda ax, e: _force_parity(ax, e, "forces"), bool(evaluation.with_forces.any())),
    ]


def learning_curves(histories: Sequence[Sequence[dict[str, Any]]], path: Path | str) -> None:
    """Losses, validation errors and learning rate against the epoch, a line for each member; of a
    single one the best epoch is marked.

    histories: of every member one dict per epoch with ``epoch`` and any of ``train_loss``,
    ``valid_loss``, ``valid_energy_mae_meV_per_atom``, ``valid_force_mae_meV_per_A`` and
    ``learning_rate`` (absent or None where not measured). Best is the lowest ``valid_loss``.
    Raises `DataError` when there is nothing to draw.
    """
    curves = {
        "loss": {"train_loss": "training", "valid_loss": "validation"},
        "energy MAE (meV/atom)": {"valid_energy_mae_meV_per_atom": "validation"},
        "force MAE (meV/Å)": {"valid_force_mae_meV_per_A": "validation"},
        "learning rate": {"learning_rate": "learning rate"},
    }
    names = [key for keys in curves.values() for key in keys]
    series = {key: [_series(history, key) for history in histories] for key in names}
    panels = {
        label: {k: n for k, n in keys.items() if any(np.isfinite(s).any() for s in series[k])}
        for label, keys in curves.items()
    }
    panels = {label: keys for label, keys in panels.items() if keys}
    if not panels:
        raise DataError("The training history holds no number to draw; train at least one epoch.")
    epochs = [np.array([row["epoch"] for row in history]) for history in histories]
    alone, valid = len(histories) == 1, series["valid_loss"][0]
    best = int(np.nanargmin(valid)) if alone and np.isfinite(valid).any() else None

    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for i, (ax, (label, keys)) in enumerate(zip(axes, panels.items(), strict=False)):
        for key, name in keys.items():
            style = "steps-post" if key == "learning_rate" else "default"
            colour = COLOURS[1] if key == "train_loss" else COLOURS[0]
            marker = "o" if alone and len(epochs[0]) <= 30 else None
            look: dict[str, Any] = {"color": colour, "marker": marker, "ms": 3, "ds": style}
            if not alone:
                look |= {"alpha": 0.5, "lw": 1}
            for member, (x, y) in enumerate(zip(epochs, series[key], strict=True)):
                ax.plot(x, y, label=name if member == 0 else None, **look)
        _finish_curve(ax, [y for key in keys for y in series[key]], rate=label == "learning rate")
        ax.set_ylabel(label)
        if i + columns >= len(panels):
            ax.set_xlabel("epoch")
            ax.tick_params(labelbottom=True)
        if label == "loss":
            ax.legend(frameon=False)
        if best is not None:
            _mark_best(
                ax, epochs[0][best], [series[k][0][best] for k in keys if k.startswith("valid")]
            )
    save(figure, path)


# ------------------------------------------------------------------------------ parity panels


def _energy_parity(ax: Axes, evaluation: Evaluation, name: str) -> None:
    """meV/atom, less the reference mean of each composition where any composition repeats."""
    keep = np.isfinite(evaluation.energy.predicted)
    n, groups = evaluation.n_atoms[keep], evaluation.compositions[keep]
    reference = 1e3 * evaluation.energy.reference[keep] / n
    error = 1e3 * evaluation.energy_error_per_atom[keep]
    title = [name, _errors_text(error, "meV/atom")]
    deviation, count = centred(reference, groups)
    if count.max() == 1:
        x, y, symbol = reference / 1e3, (reference + error) / 1e3, "energy (eV/atom)"
    else:
        symbol = "energy − ⟨E⟩ (meV/atom)"
        title.append("⟨E⟩: mean reference of the composition")
        offset_free, _ = centred(error, groups)
        # an offset far beyond the range would squeeze every point into one: draw without it
        if np.abs(error - offset_free).max() > max(np.ptp(deviation), 1e-9):
            mean = number(float(error.mean()))
            title.append(f"drawn without compositions' mean errors ({mean} on average)")
            error = offset_free
        x, y = deviation, deviation + error
    if evaluation.removed is not None:
        title.append("errors are without each composition's mean error")
    if (std := evaluation.energy.std) is not None:
        title += _error_bars(ax, x, y, 1e3 * std[keep] / n / (1e3 if count.max() == 1 else 1))
    _scatter_by_config_type(ax, x, y, evaluation.config_types[keep])
    _finish_parity(ax, x, y, symbol, title)


def _error_bars(ax: Axes, x: np.ndarray, y: np.ndarray, std: np.ndarray) -> list[str]:
    """Of one σ, where they can be told apart; a line for the title."""
    if len(x) > BARS:
        return []
    ax.errorbar(x, y, std, fmt="none", ecolor=GREY, elinewidth=0.7, zorder=0.8)
    return ["bars: one σ of the prediction"]


def _scatter_by_config_type(ax: Axes, x: np.ndarray, y: np.ndarray, types: np.ndarray) -> None:
    """One colour each for the most frequent; the rest share grey."""
    names, frequency = np.unique(types, return_counts=True)
    ranked = list(names[np.argsort(-frequency, kind="stable")])
    for i, name in enumerate(ranked[: len(COLOURS)]):
        rows = types == name
        ax.scatter(x[rows], y[rows], s=14, color=COLOURS[i], label=name, alpha=_alpha(len(x)), lw=0)
    if rest := ranked[len(COLOURS) :]:
        rows = np.isin(types, rest)
        ax.scatter(x[rows], y[rows], s=14, color=GREY, label="other", alpha=_alpha(len(x)), lw=0)
    if len(ranked) > 1:
        legend = ax.legend(loc="lower right", fontsize=8, framealpha=0.8)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)


def _force_parity(ax: Axes, evaluation: Evaluation, name: str) -> None:
    """Components in eV/Å; a logarithmic density where there are many."""
    known = evaluation.with_forces
    x, y = (v[known].ravel() for v in (evaluation.forces.reference, evaluation.forces.predicted))
    title = [name, _errors_text(1e3 * (y - x), "meV/Å")]
    if (std := evaluation.forces.std) is not None:
        title += _error_bars(ax, x, y, std[known].ravel())
    low, high = _finish_parity(ax, x, y, "force component (eV/Å)", title)
    if x.size < DENSE:
        ax.scatter(x, y, s=8, color=COLOURS[0], alpha=_alpha(x.size), lw=0)
        return
    style: dict[str, Any] = {"norm": LogNorm(), "cmap": DENSITY, "mincnt": 1, "linewidths": 0.1}
    picture = ax.hexbin(x, y, gridsize=70, extent=(low, high, low, high), **style)
    beside = ax.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(picture, cax=beside, label="components per bin")


def _finish_parity(
    ax: Axes, x: np.ndarray, y: np.ndarray, symbol: str, title: list[str]
) -> tuple[float, float]:
    """Equal axes with the identity line; their common limits."""
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    pad = 0.05 * (high - low) or 1.0
    low, high = low - pad, high + pad
    ax.axline((low, low), slope=1, color="black", lw=0.8, zorder=0.5)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ax.set(xlabel=f"reference {symbol}", ylabel=f"predicted {symbol}")
    ax.set_title("\n".join(title), loc="left", fontsize=8.5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FormatStrFormatter("%.6g"))
    return low, high


def _errors_text(error: np.ndarray, unit: str) -> str:
    return f"RMSE {number(scores.rmse(error))}, MAE {number(scores.mae(error))} {unit}"


def _alpha(n: int) -> float:
    return float(np.clip(40 / np.sqrt(max(n, 1)), 0.15, 0.8))


# ------------------------------------------------------------------------------ curves


def _series(history: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """One value per epoch, NaN where it was not measured."""
    return np.array([np.nan if row.get(key) is None else row[key] for row in history], float)


def _finish_curve(ax: Axes, values: list[np.ndarray], rate: bool) -> None:
    """Logarithmic where the values are positive and span more than a factor of three; a learning
    rate from zero, so that the shape of its schedule is seen."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    if rate:
        ax.set_ylim(bottom=0, top=1.1 * finite.max())
    elif finite.min() > 0 and finite.max() > 3 * finite.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FormatStrFormatter("%.6g"))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.grid(which="major", color="0.92")


def _mark_best(ax: Axes, epoch: float, values: list[float]) -> None:
    """A line at the best epoch, a dot on the validation curve, and its value above the panel."""
    ax.axvline(epoch, color="black", ls=":", lw=1)
    for value in values:
        if np.isfinite(value):
            ax.plot([epoch], [value], "o", color="black", ms=5, zorder=4)
            ax.set_title(f"best epoch {epoch:g}: {value:.4g}", loc="right", fontsize=9)


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure as a file of the kind its name says."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.1)
