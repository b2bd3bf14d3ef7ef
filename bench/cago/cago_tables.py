"""Tables of attacks and of courses of learning."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.cago.cago_attacks import MENDED, NONE, PLAIN
from bench.cago.cago_learning import ATTACKS, METHODS
from bench.cago.cago_water import SYSTEMS
from bench.runner.parts import Found, Record
from bench.runner.tables import described, markdown, mean_error, table

FORCE = "force_rmse_meV_per_A"
LAWS = {PLAIN: "calibrated", MENDED: "calibrated, as of twenty", NONE: "uncalibrated"}


def rms(values: Iterable[float]) -> tuple[float, float]:
    """Root mean square, and its standard error (of the mean square, by the delta method)."""
    squares = np.square(list(values))
    root = float(np.sqrt(squares.mean()))
    if len(squares) < 2:
        return root, float("nan")
    return root, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * root))


def page(found: Found) -> str:
    """Everything a reader wants, without a title."""
    parts = [f"{described(found)}; one thread per cell."]
    if found.get("attacks"):
        known = found.get("committee", ())
        parts += ["## Attacks", *(text for c in known for text in (_committee(c), held_out(c)))]
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
    columns = {
        "": "{name}",
        "frames": "{frames}",
        "error / spread, rms": "{raw:.2f}",
        "error / calibrated spread": "{calibrated:.2f}",
        "exponent": "{b:.2f}",
    }
    return table([r | {"name": name} for name, r in c["held_out"].items()], columns)


def attacks(records: list[Record]) -> str:
    """A row for every set of attacks; errors are of all of them, whether on target or not."""
    return table([_of_attacks(r) for r in records], ATTACK_COLUMNS)


def _of_attacks(r: Record) -> Record:
    """Numbers of a set of attacks, meV/Å."""
    asked, target = r["structures"], 1e3 * r["target"]
    known = [s for s in asked if s["error"] is not None]
    error, sure = (1e3 * x for x in rms(s["error"] for s in known))
    of = {name: [s["error"] for s in known if s["system"] == name] for name in SYSTEMS}
    middle = {k: np.median([s[k] for s in asked]) / r["target"] for k in ("off", "largest_std")}
    middle |= {k: np.median([s[k] for s in known]) for k in ("displacement", "evaluations")}
    return r | {
        **{"mev": target, "named": LAWS[r["law"]], "error": error, "sure": sure, "of": middle},
        "by": "–" if r["law"] == NONE else r["calibrators"],
        "ratio": f"{error / target:.2f} ± {sure / target:.2f}",
        **{name: f"{1e3 * rms(o)[0]:.0f}" if o else "–" for name, o in of.items()},
        "before": 1e3 * rms(s["before"] for s in known)[0],
        "on": f"{sum(s['reason'] == 'on target' for s in asked)} of {len(asked)}",
        "lost": len(asked) - len(known),
        "force": max(s["largest_force"] for s in known),
    }


ATTACK_COLUMNS = {
    "/ plain error": "{times:g}",
    "target": "{mev:.0f}",
    "": "{named}",
    "calibrated by": "{by}",
    "attacked by": "{attackers}",
    "real error": "{error:.0f} ± {sure:.0f}",
    "/ target": "{ratio}",
    **{name: f"{{{name}}}" for name in SYSTEMS},
    "before": "{before:.0f}",
    "on target": "{on}",
    "off by, / target": "{of[off]:.3f}",
    "worst atom, / target": "{of[largest_std]:.2f}",
    "no label": "{lost}",
    "moved, Å": "{of[displacement]:.2f}",
    "largest force, eV/Å": "{force:.0f}",
    "calls": "{of[evaluations]:.0f}",
}


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


Courses = dict[str, dict[int, Record]]


def by_method(records: list[Record]) -> Iterable[tuple[list[str], str, list[Record], Courses]]:
    """Learner and system; method, its records, and those of all methods by seed."""
    for names, every in courses(records).items():
        for method in (m for m in METHODS if m in every):
            yield list(names), method, list(every[method].values()), every


def against(records: list[Record]) -> str:
    """Of every method and learner the final error of single members, means over seeds with their
    standard errors; and how much less attacks of either kind leave than it, seed by seed."""
    rows = []
    for names, method, own, every in by_method(records):
        last = max(own[0]["simulated"], key=int)
        stable, out_of = (sum(r["simulated"][last][k] for r in own) for k in ("stable", "members"))
        labels = [r["rounds"][-1]["labels"] for r in own]
        row = [*names, method, str(len(own)), f"{min(labels)}–{max(labels)}"]
        row.append(mean_error(final(r) for r in own))
        row += ["–" if m == method else _gain(every, m, method) for m in ATTACKS]
        rows.append([*row, f"{stable} of {out_of}"])
    headings = ["learner", "system", "", "seeds", "labels", "members' force RMSE, meV/Å"]
    return markdown([*headings, *(f"{m} / it, paired" for m in ATTACKS), "stable members"], rows)


def rounds(records: list[Record]) -> str:
    """Members' force errors on plain frames round by round, means over seeds with standard errors,
    meV/Å per component; and the last over the same of the other methods, seed by seed."""
    rows = []
    for names, method, own, every in by_method(records):
        row = [*names, method]
        for i in range(min(len(r["rounds"]) for r in own)):
            labels = dict.fromkeys(sorted(r["rounds"][i]["labels"] for r in own))
            said = "–".join(str(n) for n in {min(labels): 0, max(labels): 0})
            row.append(f"{mean_error(1e3 * r['members'][str(i)] for r in own)} ({said})")
        others = [m for m in METHODS if m in every and m not in (*ATTACKS, method)]
        rows.append([*row, ", ".join(f"{m} {_gain(every, method, m)}" for m in others)])
    longest = max((len(row) for row in rows), default=4)
    rows = [[*row[:-1], *["–"] * (longest - len(row)), row[-1]] for row in rows]
    names = [f"round {i} (labels)" for i in range(longest - 4)]
    return markdown(["learner", "system", "", *names, "last / of others, paired"], rows)


def _gain(every: Courses, attack: str, method: str) -> str:
    """Mean over the seeds both have of ln(error of attacks / error of the method), as a ratio."""
    attacked, own = every.get(attack, {}), every[method]
    logs = [
        np.log(final(attacked[s]) / final(own[s])) for s in sorted(attacked.keys() & own.keys())
    ]
    if not logs:
        return "–"
    ratio, n = float(np.exp(np.mean(logs))), len(logs)
    sure = f" ± {ratio * np.std(logs, ddof=1) / np.sqrt(n):.2f}" if n > 1 else ""
    return f"{ratio:.2f}{sure} ({n})"


def learning(records: list[Record]) -> str:
    """Force errors of single members on plain frames by the number of labels, and how many members
    are stable."""

    def known(r: Record) -> str:
        each = [(1e3 * r["members"][str(i)], x["labels"]) for i, x in enumerate(r["rounds"])]
        return ", ".join(f"{error:.0f} ({labels})" for error, labels in each)

    def stable(r: Record) -> str:
        return ", ".join(
            f"{s['stable']} of {s['members']} ({r['rounds'][int(n)]['labels']})"
            for n, s in r["simulated"].items()
        )

    columns: dict[str, Any] = {
        **{"learner": "{learner}", "system": "{system}", "": "{method}", "seed": "{seed}"},
        "members' force RMSE on plain frames, meV/Å (labels)": known,
        "stable members (labels)": stable,
    }
    return table(records, columns)


def proposals(records: list[Record]) -> str:
    """What rounds asked labels for, and the members' error there before they learnt it: means over
    seeds."""
    rows = []
    for (learner, system), every in courses(records).items():
        for method, own in every.items():
            for i in range(1, max(len(r["rounds"]) for r in own.values())):
                there = [r["rounds"][i] for r in own.values() if len(r["rounds"]) > i]
                rows.append([learner, system, method, str(i), *_proposed(there)])
    headings = ["learner", "system", "", "round", "aim, meV/Å", "short of wanted, of plain"]
    headings += ["largest plain, meV/Å", "on target", "as they are", "real error, rms"]
    headings += ["attacks' / aim", "filtered", "label not learnt", "runs that broke"]
    return markdown(headings, rows)


def _proposed(there: list[Record]) -> list[str]:
    """The numbers of one round, over the seeds."""
    each = [r["about"] for r in there]
    aimed = [a for a in each if "aim" in a]
    wrong = [a for a in each if a.get("attacked") and "error" in a]
    short, below = (sum(a["aim"] < a.get(k, a["aim"]) for a in aimed) for k in ("wanted", "plain"))
    plain = [1e3 * a["plain"] for a in each if "plain" in a]
    on, as_they_are = (sum(a.get(k, 0) for a in each) for k in ("on_target", "as_they_are"))
    broke = [run for a in each for run in a.get("runs", []) if run["wrong"] is not None]
    return [
        mean_error(1e3 * a["aim"] for a in aimed),
        f"{short}, {below}" if aimed else "–",
        f"{max(plain):.0f}" if plain else "–",
        f"{on} of {sum(a['attacked'] for a in each)}" if aimed else "–",
        str(as_they_are) if aimed else "–",
        mean_error(1e3 * a["error"] for a in each if "error" in a),
        mean_error([a.get("error_of_attacks", a["error"]) / a["aim"] for a in wrong], ".2f"),
        str(sum(sum(a.get("filtered", {}).values()) for a in each)),
        str(sum(bool(c["refused"]) for r in there for c in r.get("chosen", ()))),
        str(len(broke)),
    ]
