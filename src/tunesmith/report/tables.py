"""Tables of an evaluation's summary for the terminal; they fit 80 columns.

They take the summary (a dict, also as read back from JSON), so that a saved one prints the same.
"""

from typing import Any

from ase.units import GPa
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tunesmith.words import counted

NONE = "–"  # not measured, or not defined

#: label, key, unit of the rows of the overall table, and of those a comparison shows
OVERALL = (
    ("Energy RMSE", "energy_rmse_meV_per_atom", "meV/atom"),
    ("Energy MAE", "energy_mae_meV_per_atom", "meV/atom"),
    ("Energy mean error", "energy_mean_error_meV_per_atom", "meV/atom"),
    ("Energy mean error removed", "energy_removed_mean_error_meV_per_atom", "meV/atom"),
    ("Energy RMSE within composition", "energy_rmse_within_composition_meV_per_atom", "meV/atom"),
    ("Energy MAE within composition", "energy_mae_within_composition_meV_per_atom", "meV/atom"),
    ("Energy R² within composition", "energy_r2_within_composition", ""),
    ("Force RMSE", "force_rmse_meV_per_A", "meV/Å"),
    ("Force MAE", "force_mae_meV_per_A", "meV/Å"),
    ("Largest force error", "max_force_error_meV_per_A", "meV/Å"),
    ("Reference force rms", "force_rms_reference_meV_per_A", "meV/Å"),
    ("Force R²", "force_r2", ""),
    ("Stress RMSE", "stress_rmse_GPa", "GPa"),
    ("Stress MAE", "stress_mae_GPa", "GPa"),
)
#: what belongs to the data or may change sign: shown before and after without a ratio
NO_RATIO = (
    "energy_mean_error_meV_per_atom",
    "energy_removed_mean_error_meV_per_atom",
    "force_rms_reference_meV_per_A",
)
_AUC = {"auc_roc_over_threshold": "threshold", "auc_roc_over_median_error": "median error"}


def number(value: float | None) -> str:
    """Four significant digits, without an exponent where that stays short; – for None."""
    if value is None:
        return NONE
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def evaluation_table(summary: dict[str, Any], *, title: str = "Errors") -> RenderableType:
    """Overall errors, then per element, per config_type (more than one), spread, worst frames."""
    parts: list[RenderableType] = [_overall(summary, title)]
    if summary["per_element"]:
        parts.append(_per_element(summary))
    if len(summary["per_config_type"]) > 1:
        parts.append(_per_config_type(summary))
    if "over_threshold" in summary:
        parts += [Text(line) for line in (*_threshold_lines(summary["over_threshold"]), "")]
    if "spread" in summary:
        parts.append(_spread(summary["spread"], summary["spread_calibrated"]))
    parts.append(_worst(summary["worst_frames"]))
    parts += [Text(note, style="italic") for note in summary.get("notes", ())]
    return Group(*parts)


def comparison_table(
    before: dict[str, Any], after: dict[str, Any], *, title: str = "Before and after tuning"
) -> RenderableType:
    """Two summaries side by side with before/after: 4.0 means the error is a quarter."""
    table = _table(title, "", "before", "after", "before/after")
    for label, key, unit in OVERALL:
        if key in before or key in after:
            old, new = before.get(key), after.get(key)
            ratio = NONE if key in NO_RATIO or not unit else _ratio(old, new)
            table.add_row(_with_unit(label, unit), number(old), number(new), ratio)
    elements = before["per_element"], after["per_element"]
    table.add_section()
    for name in dict.fromkeys((*elements[0], *elements[1])):
        old, new = (e.get(name, {}).get("force_rmse_meV_per_A") for e in elements)
        label = _with_unit(f"Force RMSE on {name}", "meV/Å")
        table.add_row(label, number(old), number(new), _ratio(old, new))
    notes = dict.fromkeys((*before.get("notes", ()), *after.get("notes", ())))
    if before["energies"] != after["energies"]:
        notes[
            f"Energies are {before['energies']} before and {after['energies']} after: compare "
            "those within composition."
        ] = None
    return Group(table, *(Text(note, style="italic") for note in notes))


# --------------------------------------------------------------------------------- parts


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _with_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _ratio(before: float | None, after: float | None) -> str:
    if before is None or after is None or after == 0:
        return NONE
    ratio = before / after
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def _overall(summary: dict[str, Any], title: str) -> Table:
    counts = f"{counted(summary['n_frames'], 'frame')}, {summary['n_atoms']} atoms"
    if "n_members" in summary:
        counts += f", {counted(summary['n_members'], 'member')}"
    table = _table(f"{title} ({counts})", "", "value", "unit")
    for label, key, unit in OVERALL:
        if key in summary:
            table.add_row(label, number(summary[key]), unit)
    return table


def _per_element(summary: dict[str, Any]) -> Table:
    table = _table("Forces per element (meV/Å)", "element", "atoms", "RMSE", "MAE", "largest")
    for symbol, row in summary["per_element"].items():
        errors = (row[k] for k in _FORCE_KEYS)
        table.add_row(symbol, str(row["n_atoms"]), *(number(v) for v in errors))
    return table


_FORCE_KEYS = ("force_rmse_meV_per_A", "force_mae_meV_per_A", "max_force_error_meV_per_A")


def _per_config_type(summary: dict[str, Any]) -> Table:
    columns = ("config_type", "frames", "E RMSE", "E MAE", "F RMSE", "F MAE")
    table = _table("Per config_type (E meV/atom, F meV/Å)", *columns)
    keys = ("energy_rmse_meV_per_atom", "energy_mae_meV_per_atom", *_FORCE_KEYS[:2])
    for name, row in summary["per_config_type"].items():
        table.add_row(Text(name), str(row["n_frames"]), *(number(row.get(k)) for k in keys))
    return table


def _threshold_lines(over: dict[str, dict[str, float]]) -> list[str]:
    lines = []
    what = {"energy": "energy errors", "force": "atoms' force errors"}
    for name, row in over.items():
        key = next(k for k in row if k.startswith("threshold_"))
        unit = {"eV_per_A": "eV/Å", "eV_per_atom": "eV/atom", "eV": "eV per structure"}
        limit = f"{row[key]:.4g} {unit[key.removeprefix('threshold_')]}"
        lines.append(f"{100 * row['fraction_over']:.1f} % of {what[name]} are over {limit}.")
    return lines


def _spread(spread: dict[str, dict[str, Any]], calibrated: bool) -> Table:
    """Quantities as columns: how well the predicted spread tells the errors."""
    state = "calibrated" if calibrated else "raw, not calibrated"
    table = _table(f"Spread ({state})", "", *spread)
    rows: dict[str, list[str]] = {}
    for column, scores in enumerate(spread.values()):
        for label, text in _spread_cells(scores).items():
            rows.setdefault(label, [NONE] * len(spread))[column] = text
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table


#: as keys say it → factor, and what is shown
_SPREAD_UNITS = {"eV": (1e3, "meV"), "eV_per_A": (1e3, "meV/Å"), "eV_per_A3": (1 / GPa, "GPa")}


def _spread_cells(scores: dict[str, Any]) -> dict[str, str]:
    cells = {}
    for key, value in scores.items():
        if key == "coverage":
            for level, found in value.items():
                cells[f"errors inside the {100 * float(level):g} % interval"] = (
                    f"{100 * found:.1f} %"
                )
        elif key.startswith("rms_std"):
            scale, unit = _SPREAD_UNITS[key.removeprefix("rms_std_")]
            cells["rms std"] = f"{number(scale * value)} {unit}"
        elif key.startswith("nll"):
            cells["NLL (nats; eV, eV/Å, eV/Å³)"] = number(value)
        elif key in _AUC:
            cells[f"AUC-ROC of error over {_AUC[key]}"] = number(value)
        else:
            names = {"ece": "ECE", "ence": "ENCE", "spearman": "Spearman of std with |error|"}
            text = str(value) if key == "n_without_spread" else number(value)
            cells[names.get(key, key.replace("_", " "))] = text
    return cells


def _worst(worst: dict[str, list[dict[str, Any]]]) -> Table:
    table = _table("Worst frames", "origin", "composition", "quantity", "error")
    units = {
        "force": ("largest force (meV/Å)", "max_force_error_meV_per_A"),
        "energy": ("energy (meV/atom)", "energy_error_meV_per_atom"),
    }
    for name, frames in worst.items():
        what, key = units[name]
        for row in frames[:3]:
            origin = Text(_tail(row["origin"]))
            table.add_row(origin, row["composition"], what, number(row[key]))
    return table


def _tail(text: str, width: int = 26) -> str:
    """The end of a long path: the file's name and the frame's number tell most."""
    return text if len(text) <= width else "…" + text[1 - width :]
