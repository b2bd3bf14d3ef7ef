"""The picture of a power law: how large errors were where it says how large they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from tunesmith.calibrate.powerlaw import AGREEMENT, PowerLaw
from tunesmith.calibrate.recalibrate import UNITS
from tunesmith.core import BY_MEMBERS
from tunesmith.report.plots import COLOURS, GREY, save

#: in a run's folder
NAME = "calibration.png"
_PANEL = 4.8  # inches


@dataclass(frozen=True)
class _Shown:
    """How a quantity is shown. factor: from eV, eV/Å or eV/Å³."""

    name: str
    of: str
    unit: str
    factor: float


_SHOWN = {
    "energy": _Shown("energy", "of an energy", "meV", 1e3),
    "forces": _Shown("forces", "of a force component", "meV/Å", 1e3),
    "stress": _Shown("stress", "of a stress component", "GPa", 1 / GPa),
    BY_MEMBERS: _Shown("forces, members alone", "of a force component", "meV/Å", 1e3),
}


def reliability_curves(laws: Mapping[str, Any], path: Path | str) -> None:
    """`PowerLaw.reliability` of each quantity, a panel each.

    laws: quantity → calibration, as `Members` have them. One of another kind, or of too few points
    for a group, has no curve; without any, nothing is drawn and a picture of earlier laws removed.

    Rms error against rms calibrated σ, with two standard errors; the band about the diagonal is
    `AGREEMENT` wide, so that a group agrees where its bar reaches the band. Shaded is the range.
    """
    drawn = {
        name: law
        for name, law in laws.items()
        if isinstance(law, PowerLaw) and law.reliability().points.size
    }
    if not drawn:
        Path(path).unlink(missing_ok=True)
        return
    figure = Figure(figsize=(_PANEL * len(drawn), _PANEL + 0.9), layout="constrained")
    axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    # attacks follow what members differ by, where that has a law of its own
    followed = BY_MEMBERS if BY_MEMBERS in laws else "forces"
    for ax, (name, law) in zip(axes, drawn.items(), strict=True):
        _panel(ax, name, law, targets=name == followed)
    save(figure, path)


def row(folder: Path) -> list[tuple[str, str]]:
    """What is said of the picture in a run's folder, where there is one."""
    return [("where error bars hold", str(folder / NAME))] if (folder / NAME).exists() else []


def _panel(ax: Axes, name: str, law: PowerLaw, *, targets: bool) -> None:
    curve, shown = law.reliability(), _SHOWN[name]
    bars = np.exp(2 * curve.uncertainty)
    std, error = shown.factor * curve.std, shown.factor * curve.error
    ends = _limits(std, error / bars, error * bars)
    ax.plot(ends, ends, color="black", lw=0.8, zorder=1.5)
    look: dict[str, Any] = {"color": GREY, "alpha": 0.3, "lw": 0}
    near = f"within a factor of {AGREEMENT:g}"
    ax.fill_between(ends, ends / AGREEMENT, ends * AGREEMENT, label=near, **look)
    if (reach := law.reach(1)) is not None:
        low, high = shown.factor * np.array(reach)
        text = _range_text(law, name, targets)
        ax.axvspan(low, high, color=COLOURS[4], alpha=0.2, lw=1, zorder=0, label=text)
    groups: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
        ("agrees (bars: two standard errors)", curve.agrees, {"fmt": "o", "color": COLOURS[0]}),
        ("does not agree", ~curve.agrees, {"fmt": "s", "color": COLOURS[5], "mfc": "white"}),
    )
    for label, part, look in groups:
        if part.any():
            x, y, bar = std[part], error[part], bars[part]
            ax.errorbar(x, y, [y - y / bar, y * bar - y], label=label, ms=5, lw=1, **look)
    _finish(ax, name, ends)
    law_text = (
        f"{shown.name}: σ = {law.a:.3g} · spread^{law.b:.3g} ({UNITS[name]}), "
        f"{law.records} {'structures' if law.rate else 'points'}"
    )
    ax.set_title(law_text, loc="left", fontsize=9)


def _limits(*shown: np.ndarray) -> np.ndarray:
    """Of both axes, with some room; a zero has no place on them."""
    positive = np.concatenate([values[values > 0] for values in shown])
    return np.array([positive.min() / 1.2, positive.max() * 1.2])


def _range_text(law: PowerLaw, name: str, targets: bool) -> str:
    def said(components: int) -> str:
        low, high = _SHOWN[name].factor * np.array(law.reach(components))
        return f"{low:.4g} to {high:.4g}" if low < high else f"near {low:.4g} alone"

    text = f"seen to hold, {said(1)}"
    return text if not targets else f"{text}\n(targets, length per atom: {said(3)})"


def _finish(ax: Axes, name: str, ends: np.ndarray) -> None:
    of, unit = _SHOWN[name].of, _SHOWN[name].unit
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    ax.set(xlabel=f"calibrated σ {of} ({unit})", ylabel=f"rms error ({unit})")
    steps = (1.0, 2.0, 5.0) if ends[1] > 10 * ends[0] else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(FormatStrFormatter("%.6g"))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(which="major", color="0.92")
    ax.set_axisbelow(True)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.12), fontsize=8, frameon=False)
