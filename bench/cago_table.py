"""Tables and pictures of `cago.py`. found: what the bench writes as JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import strategies_table
from cago_attacks import MENDED, NONE, PLAIN, TWICE
from cago_learning import ATTACKS, METHODS
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
        parts += ["## Attacks", _committee(found["committee"]), held_out(found["committee"])]
        parts.append(attacks(found["attacks"]))
    if found.get("learning"):
        parts += ["## Learning from one structure", against(found["learning"])]
        parts += [f(found["learning"]) for f in (rounds, learning, proposals)]
    return "\n\n".join(parts) + "\n"


# ------------------------------------------------------------------------------- attacks


def _committee(c: Record) -> str:
    n, (low, high) = c["frames"], c["reach"] or (np.nan, np.nan)
    return (
        f"The committee learnt {n['train']} frames of dynamics at 300 and 400 K, half of them "
        f"of the box, half of the cluster, and was calibrated on {n['calibrate']} others; "
        f"{n['attack']} more are attacked. On those it was calibrated on, a member errs by "
        f"{1e3 * c['error']:.0f} meV/Å, the plain error, and members spread by "
        f"{1e3 * c['spread']:.0f} (rms over atoms). The law is {c['a']:.3g} · spread^{c['b']:.2f} "
        f"(eV/Å), seen to hold for {1e3 * low:.0f} to {1e3 * high:.0f} meV/Å."
    )


def held_out(c: Record) -> str:
    """Of every quantity error over error bar on frames that no law has seen."""
    rows = [
        [name, str(r["frames"]), f"{r['raw']:.2f}", f"{r['calibrated']:.2f}", f"{r['b']:.2f}"]
        for name, r in c["held_out"].items()
    ]
    return markdown(
        ["", "frames", "error / spread, rms", "error / calibrated spread", "exponent"], rows
    )


def attacks(records: list[Record]) -> str:
    """A row for every set of attacks; errors are of all of them, whether on target or not."""
    rows = []
    for r in records:
        asked, target = r["structures"], 1e3 * r["target"]
        structures = [s for s in asked if s["error"] is not None]
        error, sure = (1e3 * x for x in rms(s["error"] for s in structures))
        of = [[s["error"] for s in structures if s["system"] == name] for name in SYSTEMS]
        on = sum(s["reason"] == "on target" for s in asked)
        rows.append(
            [
                f"{r['times']:g}",
                f"{target:.0f}",
                LAWS[r["law"]],
                "–" if r["law"] == NONE else str(r["calibrators"]),
                str(r["attackers"]),
                f"{error:.0f} ± {sure:.0f}",
                f"{error / target:.2f} ± {sure / target:.2f}",
                *(f"{1e3 * rms(o)[0]:.0f}" if o else "–" for o in of),
                f"{1e3 * rms(s['before'] for s in structures)[0]:.0f}",
                f"{on} of {len(asked)}",
                f"{np.median([s['off'] for s in asked]) / r['target']:.3f}",
                f"{np.median([s['largest_std'] for s in asked]) / r['target']:.2f}",
                str(len(asked) - len(structures)),
                f"{np.median([s['displacement'] for s in structures]):.2f}",
                f"{max(s['largest_force'] for s in structures):.0f}",
                f"{np.median([s['evaluations'] for s in structures]):.0f}",
            ]
        )
    headings = ["/ plain error", "target", "", "calibrated by", "attacked by", "real error"]
    headings += ["/ target", *SYSTEMS, "before", "on target", "off by, / target"]
    headings += ["worst atom, / target", "no label", "moved, Å", "largest force, eV/Å", "calls"]
    return markdown(headings, rows)


# ------------------------------------------------------------------------------ learning


def courses(records: list[Record]) -> dict[tuple[str, str], dict[str, dict[int, Record]]]:
    """(learner, system) → method → seed → record."""
    found: dict[tuple[str, str], dict[str, dict[int, Record]]] = {}
    for r in records:
        found.setdefault((r["learner"], r["system"]), {}).setdefault(r["method"], {})[r["seed"]] = r
    return found


def final(record: Record) -> float:
    """Force error of single members on plain frames after the last round, meV/Å per component."""
    return 1e3 * record["members"][str(len(record["rounds"]) - 1)]


def against(records: list[Record]) -> str:
    """Of every method and learner the final error of single members, means over seeds with their
    standard errors; and how much less attacks of either kind leave than it, seed by seed."""
    rows = []
    for (learner, system), by_method in courses(records).items():
        for method in (m for m in METHODS if m in by_method):
            own = by_method[method]
            values = [final(r) for r in own.values()]
            last = max(next(iter(own.values()))["simulated"], key=int)
            stable = [
                (r["simulated"][last]["stable"], r["simulated"][last]["members"])
                for r in own.values()
            ]
            labels = [r["rounds"][-1]["labels"] for r in own.values()]
            row = [learner, system, method, str(len(own)), f"{min(labels)}–{max(labels)}"]
            row.append(_mean(values))
            row += ["–" if m == method else _gain(by_method, m, method) for m in ATTACKS]
            rows.append([*row, f"{sum(s for s, _ in stable)} of {sum(m for _, m in stable)}"])
    headings = ["learner", "system", "", "seeds", "labels", "members' force RMSE, meV/Å"]
    return markdown([*headings, *(f"{m} / it, paired" for m in ATTACKS), "stable members"], rows)


def rounds(records: list[Record]) -> str:
    """Members' force errors on plain frames round by round, means over seeds with standard errors,
    meV/Å per component; and the last over the same of the other methods, seed by seed."""
    rows = []
    for (learner, system), by_method in courses(records).items():
        for method in (m for m in METHODS if m in by_method):
            own = list(by_method[method].values())
            row = [learner, system, method]
            for i in range(min(len(r["rounds"]) for r in own)):
                labels = [r["rounds"][i]["labels"] for r in own]
                least, most = min(labels), max(labels)
                said = f"{least}" if least == most else f"{least}–{most}"
                row.append(f"{_mean([1e3 * r['members'][str(i)] for r in own])} ({said})")
            others = [m for m in METHODS if m in by_method and m not in (*ATTACKS, method)]
            row.append(", ".join(f"{m} {_gain(by_method, method, m)}" for m in others))
            rows.append(row)
    longest = max((len(row) for row in rows), default=4)
    rows = [[*row[:-1], *["–"] * (longest - len(row)), row[-1]] for row in rows]
    names = [f"round {i} (labels)" for i in range(longest - 4)]
    return markdown(["learner", "system", "", *names, "last / of others, paired"], rows)


def _mean(values: list[float]) -> str:
    mean = f"{np.mean(values):.1f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.1f}"


def _gain(by_method: dict[str, dict[int, Record]], attack: str, method: str) -> str:
    """Mean over the seeds both have of ln(error of attacks / error of the method), as a ratio."""
    attacked, own = by_method.get(attack, {}), by_method[method]
    logs = [
        np.log(final(attacked[s]) / final(own[s])) for s in sorted(attacked.keys() & own.keys())
    ]
    if not logs:
        return "–"
    ratio = float(np.exp(np.mean(logs)))
    if len(logs) < 2:
        return f"{ratio:.2f} (1)"
    return f"{ratio:.2f} ± {ratio * np.std(logs, ddof=1) / np.sqrt(len(logs)):.2f} ({len(logs)})"


def learning(records: list[Record]) -> str:
    """Force errors of single members on plain frames by the number of labels, and how many members
    are stable."""
    rows = []
    for r in records:
        known = [(x["labels"], 1e3 * r["members"][str(i)]) for i, x in enumerate(r["rounds"])]
        stable = ", ".join(
            f"{s['stable']} of {s['members']} ({r['rounds'][int(n)]['labels']})"
            for n, s in r["simulated"].items()
        )
        cells = [r["learner"], r["system"], r["method"], str(r["seed"])]
        rows.append([*cells, ", ".join(f"{e:.0f} ({n})" for n, e in known), stable])
    return markdown(
        [
            *("learner", "system", "", "seed"),
            *("members' force RMSE on plain frames, meV/Å (labels)", "stable members (labels)"),
        ],
        rows,
    )


def proposals(records: list[Record]) -> str:
    """What rounds asked labels for, and the members' error there before they learnt it: means over
    seeds."""
    rows = []
    for (learner, system), by_method in courses(records).items():
        for method, own in by_method.items():
            for i in range(1, max(len(r["rounds"]) for r in own.values())):
                each = [r["rounds"][i]["about"] for r in own.values() if len(r["rounds"]) > i]
                aims = [1e3 * a["aim"] for a in each if "aim" in a]
                errors = [1e3 * a["error"] for a in each if "error" in a]
                ratios = [_of_aim(a) for a in each if a.get("attacked") and "error" in a]
                on = sum(a.get("on_target", 0) for a in each)
                row = [learner, system, method, str(i), _mean(aims) if aims else "–"]
                ends = sum(a["aim"] < a.get("wanted", a["aim"]) for a in each if "aim" in a)
                below = sum(a["aim"] < a.get("plain", a["aim"]) for a in each if "aim" in a)
                plain = [1e3 * a["plain"] for a in each if "plain" in a]
                row += [f"{ends}, {below}" if aims else "–", f"{max(plain):.0f}" if plain else "–"]
                row.append(f"{on} of {sum(a['attacked'] for a in each)}" if aims else "–")
                row.append(str(sum(a.get("as_they_are", 0) for a in each)) if aims else "–")
                row += [_mean(errors) if errors else "–", _two(ratios)]
                there = [r["rounds"][i] for r in own.values() if len(r["rounds"]) > i]
                refused = [c for x in there for c in x.get("chosen", ()) if c["refused"]]
                row.append(str(sum(sum(a.get("filtered", {}).values()) for a in each)))
                row.append(str(len(refused)))
                broke = [run for a in each for run in a.get("runs", []) if run["wrong"] is not None]
                rows.append([*row, str(len(broke))])
    headings = ["learner", "system", "", "round", "aim, meV/Å", "short of wanted, of plain"]
    headings += ["largest plain, meV/Å", "on target", "as they are", "real error, rms"]
    headings += ["attacks' / aim", "filtered", "label not learnt", "runs that broke"]
    return markdown(headings, rows)


def _of_aim(about: Record) -> float:
    """The real error of what was attacked, in units of what was aimed at."""
    return float(about.get("error_of_attacks", about["error"]) / about["aim"])


def _two(values: list[float]) -> str:
    if not values:
        return "–"
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2f}"


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
        groups = courses(records)
        figure = Figure(figsize=(5.0 * len(groups), 4.2), layout="compressed")
        axes = figure.subplots(1, len(groups), squeeze=False)[0]
        for ax, (group, by_method) in zip(axes, groups.items(), strict=True):
            _learning(ax, group, by_method)
        save(figure, folder / "chosen-error-learning.png")


def _errors(record: Record) -> list[float]:
    return [1e3 * s["error"] for s in record["structures"] if s["error"] is not None]


def _chosen(records: list[Record], **wanted: Any) -> list[Record]:
    """Those with these values, by target."""
    own = [r for r in records if all(r[k] == v for k, v in wanted.items())]
    return sorted(own, key=lambda r: (r["times"], r["calibrators"]))


def _against_target(ax: Axes, records: list[Record]) -> None:
    most = max(r["calibrators"] for r in records)
    lines = [(PLAIN, 3, "o"), (NONE, 3, "s"), (PLAIN, most, "^")]
    for (law, by, marker), colour in zip(lines, COLOURS, strict=False):
        if not (own := _chosen(records, law=law, calibrators=most, attackers=by)):
            continue
        targets = [1e3 * r["target"] for r in own]
        for target, r in zip(targets, own, strict=True):
            errors = _errors(r)
            ax.plot([target] * len(errors), errors, marker, color=colour, alpha=0.15, ms=4)
        means = [rms(_errors(r))[0] for r in own]
        name = f"{LAWS[law]}, attacked by {by}"
        ax.plot(targets, means, f"-{marker}", color=colour, label=name)
    ends = [1e3 * f(r["target"] for r in records) for f in (min, max)]
    ax.plot(ends, ends, "--", color=GREY, label="as chosen")
    ax.set(xscale="log", yscale="log", xlabel="target (meV/Å)", ylabel="real error (meV/Å)")
    known = sorted({round(1e3 * r["target"]) for r in records})
    _ticks(ax, known, [20, 50, 100, 200, 500, 1000, 2000])
    ax.set_title("chosen and real")
    ax.legend(frameon=False, fontsize=8)


def _ticks(ax: Axes, x: list[int], y: list[int]) -> None:
    ax.set_xticks(x, [str(t) for t in x])
    ax.set_yticks(y, [str(t) for t in y])
    ax.minorticks_off()


def _distributions(ax: Axes, records: list[Record], committee: Record) -> None:
    most, bins = max(r["calibrators"] for r in records), np.geomspace(40, 4000, 28)
    series = [("plain dynamics", 1e3 * np.array(committee["errors"]), GREY)]
    for law, colour in zip((PLAIN, NONE), COLOURS, strict=False):
        for r in _chosen(records, law=law, calibrators=most, attackers=3, times=TWICE):
            series.append((LAWS[law], np.array(_errors(r)), colour))
            ax.axvline(1e3 * r["target"], ls="--", color=GREY)
    for name, values, colour in series:
        weights = np.full(len(values), 1 / len(values))
        look: dict[str, Any] = {"histtype": "step", "lw": 1.8, "color": colour}
        ax.hist(values, bins, label=name, weights=weights, **look)
    ax.set(xscale="log", xlabel="real error of a structure (meV/Å)", ylabel="share of structures")
    ticks = [50, 100, 200, 500, 1000, 2000]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_title(f"target {TWICE:g} times the plain error")
    ax.legend(frameon=False)


def _sizes(ax: Axes, records: list[Record]) -> None:
    for law, colour in zip((PLAIN, MENDED), COLOURS, strict=False):
        own = _chosen(records, law=law, attackers=3, times=TWICE)
        found = [rms(_errors(r)) for r in own]
        at = [r["calibrators"] for r in own]
        look: dict[str, Any] = {"fmt": "o-", "capsize": 3, "color": colour}
        ax.errorbar(at, [f[0] for f in found], [f[1] for f in found], label=LAWS[law], **look)
    for target in {1e3 * r["target"] for r in records if r["times"] == TWICE}:
        ax.axhline(target, ls="--", color=GREY)
    sizes = sorted({r["calibrators"] for r in records if r["law"] != NONE})
    ax.set(xscale="log", yscale="log", xlabel="members that calibrate; three attack")
    _ticks(ax, sizes, [100, 200, 500, 1000, 2000])
    ax.set_ylabel("real error (meV/Å)")
    ax.set_title(f"target {TWICE:g} times the plain error")
    ax.legend(frameon=False, fontsize=8, loc="upper right")


def _learning(ax: Axes, group: tuple[str, str], by_method: dict[str, dict[int, Record]]) -> None:
    """Mean over seeds, with a band of its standard error."""
    for method, colour in zip(METHODS, COLOURS, strict=False):
        own = list(by_method.get(method, {}).values())
        if not own:
            continue
        values = np.array(
            [[1e3 * r["members"][str(i)] for i in range(len(r["rounds"]))] for r in own]
        )
        labels = np.mean([[x["labels"] for x in r["rounds"]] for r in own], axis=0)
        mean = values.mean(0)
        ax.plot(labels, mean, "o-", ms=4, color=colour, label=f"{method} ({len(own)})")
        if len(own) > 1:
            error = values.std(0, ddof=1) / np.sqrt(len(own))
            ax.fill_between(labels, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
    ax.set(xlabel="labels", ylabel="members' force RMSE, plain (meV/Å)", ylim=(0, None))
    ax.set_title(", ".join(group))
    ax.legend(frameon=False)


def into_docs(path: Path, text: str) -> None:
    """Put tables between the marks of a page. Exits without marks."""
    strategies_table.into_docs(path, text, MARKS)
