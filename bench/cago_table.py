"""Tables and pictures of `cago.py`. found: what the bench writes as JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import strategies_table
from cago_attacks import LARGE, MENDED, NONE, PLAIN, TARGETS
from cago_water import SYSTEMS
from strategies_table import markdown
from tunesmith.report.plots import COLOURS, GREY, save

Record = dict[str, Any]
FORCE = "force_rmse_meV_per_A"
#: lines between which a page's tables stand
MARKS = ("<!-- bench/cago.py writes from here -->", "<!-- to here -->")
LAWS = {PLAIN: "calibrated", MENDED: "calibrated, as of twenty", NONE: "uncalibrated"}


def rms(values: Iterable[float]) -> tuple[float, float]:
    """Root mean square, and its standard error (of the mean square, by the delta method)."""
    squares = np.square(list(values))
    root = float(np.sqrt(squares.mean()))
    if len(squares) < 2:
        return root, float("nan")
    return root, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * root))


def page(found: Record) -> str:
    """Everything a reader wants, without a title."""
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    parts = [f"{about}; one thread per cell."]
    if found.get("attacks"):
        parts += ["## Attacks", _committee(found["committee"]), attacks(found["attacks"])]
    if found.get("learning"):
        parts += ["## Learning from one structure", learning(found["learning"])]
        parts.append(proposals(found["learning"]))
    return "\n\n".join(parts) + "\n"


# ------------------------------------------------------------------------------- attacks


def _committee(c: Record) -> str:
    n, (low, high) = c["frames"], c["reach"] or (np.nan, np.nan)
    return (
        f"The committee learnt {n['train']} frames of dynamics at 300 and 400 K, half of them "
        f"of the box, half of the cluster, and was calibrated on {n['calibrate']} others; "
        f"{n['attack']} more are attacked. On those it was calibrated on, a member errs by "
        f"{1e3 * c['error']:.0f} meV/Å and members spread by {1e3 * c['spread']:.0f} (rms over "
        f"atoms): errors over spread have a standard deviation of {c['ratio_raw']:.2f}, over "
        f"calibrated spread of {c['ratio']:.2f}. The law is {c['a']:.3g} · spread^{c['b']:.2f} "
        f"(eV/Å), seen to hold for {1e3 * low:.0f} to {1e3 * high:.0f} meV/Å."
    )


def attacks(records: list[Record]) -> str:
    """A row for every set of attacks; errors are of all of them, whether on target or not."""
    rows = []
    for r in records:
        asked = r["structures"]
        structures = [s for s in asked if s["error"] is not None]
        error, sure = (1e3 * x for x in rms(s["error"] for s in structures))
        of = [[s["error"] for s in structures if s["system"] == name] for name in SYSTEMS]
        on = sum(s["reason"] == "on target" for s in asked)
        rows.append(
            [
                f"{r['target']}",
                LAWS[r["law"]],
                "–" if r["law"] == NONE else str(r["calibrators"]),
                str(r["attackers"]),
                f"{error:.0f} ± {sure:.0f}",
                f"{error / r['target']:.2f}",
                *(f"{1e3 * rms(o)[0]:.0f}" if o else "–" for o in of),
                f"{1e3 * rms(s['before'] for s in structures)[0]:.0f}",
                f"{on} of {len(asked)}",
                str(len(asked) - len(structures)),
                f"{np.median([s['displacement'] for s in structures]):.2f}",
                f"{max(s['largest_force'] for s in structures):.0f}",
                f"{np.median([s['evaluations'] for s in structures]):.0f}",
            ]
        )
    headings = ["target", "", "calibrated by", "attacked by", "real error", "/ target"]
    headings += [
        *SYSTEMS,
        "before",
        "on target",
        "no label",
        "moved, Å",
        "largest force, eV/Å",
        "calls",
    ]
    return markdown(headings, rows)


# ------------------------------------------------------------------------------ learning


def learning(records: list[Record]) -> str:
    """Force errors on plain frames by the number of labels, and how many members are stable."""
    rows = []
    for r in records:
        known = [(x["labels"], x["test"][FORCE]) for x in r["rounds"]]
        stable = ", ".join(
            f"{s['stable']} of {s['members']} ({r['rounds'][int(n)]['labels']})"
            for n, s in r["simulated"].items()
        )
        cells = [r["method"], str(r["seed"]), ", ".join(f"{e:.0f} ({n})" for n, e in known)]
        rows.append([*cells, stable])
    return markdown(
        ["", "seed", "force RMSE on plain frames, meV/Å (labels)", "stable members (labels)"], rows
    )


def proposals(records: list[Record]) -> str:
    """What rounds asked labels for, and the members' error there before they learnt it."""
    rows = []
    for r in records:
        for x in r["rounds"][1:]:
            about = x["about"]
            on = f"{about['on_target']} of {about['attacked']}" if "attacked" in about else "–"
            aim = f"{1e3 * about['aim']:.0f}" if "aim" in about else "–"
            error = f"{1e3 * about['error']:.0f}" if "error" in about else "–"
            each = about.get("errors", [])
            middle = f"{1e3 * np.median(each):.0f}" if each else "–"
            broke = sum(run["wrong"] is not None for run in about.get("runs", []))
            left = sum(about.get("filtered", {}).values())
            row = [r["method"], r["seed"], x["round"], aim, on, error, middle, left, broke]
            rows.append([str(cell) for cell in row])
    headings = ["", "seed", "round", "aim, meV/Å", "on target", "real error, rms"]
    return markdown([*headings, "median", "filtered", "runs that broke"], rows)


# ------------------------------------------------------------------------------ pictures


def pictures(found: Record, folder: Path) -> None:
    """``chosen-error.png`` and ``chosen-error-learning.png``."""
    if records := found.get("attacks"):
        figure = Figure(figsize=(12.6, 4.2), layout="compressed")
        one, two, three = figure.subplots(1, 3)
        _against_target(one, records)
        _distributions(two, records, found["committee"])
        _sizes(three, records)
        save(figure, folder / "chosen-error.png")
    if records := found.get("learning"):
        figure = Figure(figsize=(6.0, 4.2), layout="compressed")
        _learning(figure.subplots(), records)
        save(figure, folder / "chosen-error-learning.png")


def _against_target(ax: Axes, records: list[Record]) -> None:
    most = max(r["calibrators"] for r in records)
    for (law, marker), colour in zip(((PLAIN, "o"), (NONE, "s")), COLOURS, strict=False):
        own = [
            r
            for r in records
            if (r["law"], r["calibrators"], r["attackers"]) == (law, most, 3)
            and r["target"] in TARGETS
        ]
        own.sort(key=lambda r: r["target"])
        for r in own:
            errors = [1e3 * s["error"] for s in r["structures"] if s["error"]]
            ax.plot([r["target"]] * len(errors), errors, marker, color=colour, alpha=0.2, ms=4)
        means = [1e3 * rms(s["error"] for s in r["structures"] if s["error"])[0] for r in own]
        ax.plot([r["target"] for r in own], means, f"-{marker}", color=colour, label=LAWS[law])
    ax.plot([40, 250], [40, 250], "--", color=GREY, label="as chosen")
    ax.set(xscale="log", yscale="log", xlabel="target (meV/Å)", ylabel="real error (meV/Å)")
    ax.set_xticks(TARGETS, [str(t) for t in TARGETS])
    ax.minorticks_off()
    ticks = [20, 50, 100, 200, 500, 1000]
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.set_title("by three of twenty members")
    ax.legend(frameon=False)


def _distributions(ax: Axes, records: list[Record], committee: Record) -> None:
    most, bins = max(r["calibrators"] for r in records), np.geomspace(40, 4000, 28)
    series = [("plain dynamics", 1e3 * np.array(committee["errors"]), GREY)]
    for law, colour in zip((PLAIN, NONE), COLOURS, strict=False):
        for r in records:
            key = (r["law"], r["calibrators"], r["attackers"], r["target"])
            if key == (law, most, 3, LARGE):
                errors = [1e3 * s["error"] for s in r["structures"] if s["error"]]
                series.append((LAWS[law], np.array(errors), colour))
    for name, values, colour in series:
        ax.hist(
            values,
            bins,
            density=False,
            histtype="step",
            lw=1.8,
            color=colour,
            label=name,
            weights=np.full(len(values), 1 / len(values)),
        )
    ax.axvline(LARGE, ls="--", color=GREY)
    ax.set(xscale="log", xlabel="real error of a structure (meV/Å)", ylabel="share of structures")
    ticks = [50, 100, 200, 500, 1000, 2000]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_title(f"target {LARGE} meV/Å")
    ax.legend(frameon=False)


def _sizes(ax: Axes, records: list[Record]) -> None:
    most = max(r["calibrators"] for r in records)
    lines = [
        (f"{LAWS[law]}, attacked by {n}", (law, n), colour)
        for (law, n), colour in zip(((PLAIN, 3), (MENDED, 3), (PLAIN, most)), COLOURS, strict=False)
    ]
    for name, (law, n), colour in lines:
        own = [r for r in records if (r["law"], r["attackers"], r["target"]) == (law, n, LARGE)]
        own.sort(key=lambda r: r["calibrators"])
        found = [rms(s["error"] for s in r["structures"] if s["error"]) for r in own]
        ax.errorbar(
            [r["calibrators"] for r in own],
            [1e3 * f[0] for f in found],
            [1e3 * f[1] for f in found],
            fmt="o-",
            capsize=3,
            color=colour,
            label=name,
        )
    ax.axhline(LARGE, ls="--", color=GREY)
    sizes = sorted({r["calibrators"] for r in records if r["law"] != NONE})
    ax.set(xscale="log", yscale="log", xlabel="members that calibrate")
    ax.set_xticks(sizes, [str(s) for s in sizes])
    ticks = [100, 200, 500, 1000, 2000]
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_ylabel("real error (meV/Å)")
    ax.set_title(f"target {LARGE} meV/Å")
    ax.legend(frameon=False, fontsize=8, loc="upper right")


def _learning(ax: Axes, records: list[Record]) -> None:
    methods = list(dict.fromkeys(r["method"] for r in records))
    for method, colour in zip(methods, COLOURS, strict=False):
        for k, r in enumerate(r for r in records if r["method"] == method):
            known = [(x["labels"], x["test"][FORCE]) for x in r["rounds"]]
            style = {"color": colour, "ls": "-" if k == 0 else ":", "label": None if k else method}
            ax.plot(*zip(*known, strict=True), marker="o", ms=4, **style)
    ax.set(xlabel="labels", ylabel="force RMSE on plain dynamics (meV/Å)", ylim=(0, None))
    ax.legend(frameon=False)


def into_docs(path: Path, text: str) -> None:
    """Put tables between the marks of a page. Exits without marks."""
    strategies_table.into_docs(path, text, MARKS)
