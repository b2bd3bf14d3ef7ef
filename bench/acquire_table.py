"""Tables of `acquire.py` as Markdown.

found: what the bench writes as JSON. ``cells``: one flat record per cell, with the fields of a
cell and of its result.
"""

import math
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import strategies_table
from acquire_plan import BASELINE, DRAWN
from strategies_table import markdown
from tunesmith.report import curves

Record = dict[str, Any]
FORCE = "force_rmse_meV_per_A"
#: energies need no zero so, which few labels may leave open
ENERGY = "energy_rmse_within_composition_meV_per_atom"
#: lines between which a page's tables stand
MARKS = ("<!-- bench/acquire.py writes from here -->", "<!-- to here -->")


class Courses:
    """Records of courses of rounds by pool and method; those that failed are counted apart."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.records: list[Record] = found["cells"]
        self.plans: dict[str, dict[str, Any]] = found["pools"]

    @property
    def pools(self) -> list[str]:
        return [p for p in self.plans if any(r["pool"] == p for r in self.records)]

    @property
    def reactive(self) -> list[str]:
        return [p for p in self.pools if self.plans[p]["reactions"]]

    def methods(self, pool: str) -> list[str]:
        """That finished a course, the baseline first."""
        named = [r["method"] for r in self.records if r["pool"] == pool and "rounds" in r]
        return sorted(dict.fromkeys(named), key=lambda m: m != BASELINE)

    def failed(self, pool: str) -> list[Record]:
        return [r for r in self.records if r["pool"] == pool and "failed" in r]

    def of(self, pool: str, method: str) -> dict[int, Record]:
        """Its finished courses by seed."""
        wanted = (pool, method)
        return {
            r["seed"]: r
            for r in self.records
            if (r["pool"], r["method"]) == wanted and "rounds" in r
        }

    def compared(self, pool: str, method: str, metric: str) -> Record | None:
        """The method's row of `curves.compare`, over the seeds that chance has too; None where
        there is none, or a round could not be measured."""
        ours, theirs = self.of(pool, method), self.of(pool, BASELINE)
        seeds = sorted(ours.keys() & theirs.keys())
        runs = {
            name: [curves.curve(records[s]["rounds"]) for s in seeds]
            for name, records in ((BASELINE, theirs), (method, ours))
        }
        values = [c.values[metric][c.learnt] for of in runs.values() for c in of]
        if not seeds or not all(np.isfinite(v).all() for v in values):
            return None
        return curves.compare(runs, metric, BASELINE)[-1]

    def average(self, pool: str, method: str, what: str) -> float:
        """Mean of a number of the record over the seeds; NaN of none."""
        values = [float(r[what]) for r in self.of(pool, method).values()]
        return mean(values) if values else math.nan

    def spearman(self, pool: str, method: str) -> float:
        """Of the score with the test structures' force errors, over rounds and seeds."""
        records = self.of(pool, method).values()
        values = [r["spearman"].get("forces") for x in records for r in x["rounds"]]
        known = [v for v in values if v is not None]
        return mean(known) if known else math.nan

    def processes(self, pool: str) -> dict[str, dict[str, float]]:
        """Scores of the residual processes, means over the seeds."""
        tables = [r["gp"] for r in self.records if r["pool"] == pool and "gp" in r]
        if not tables:
            return {}
        return {
            kind: {k: mean(t[kind][k] for t in tables) for k in tables[0][kind]}
            for kind in tables[0]
        }


# -------------------------------------------------------------------------------- tables


def page(found: dict[str, Any]) -> str:
    """Everything a reader wants, without a title."""
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    c, courses = found["conditions"], Courses(found)
    parts = [
        f"{about}; one thread per cell; model {c['model']}.",
        f"Labels of the reactive pools are of {c['labels']}, not of the GFN2-xTB that the model "
        "was pretrained on; those of acac and 3BPA are the data's own. Every round learns all "
        "labels from the pretrained weights on (`by-size`, rates of at most 1e-3, E0s estimated "
        "again). Seeds draw the first labels and everything else; each is compared with the same "
        "seed of random. AUC is the sum over the rounds, round gain as in docs/pool.md; ± is one "
        "standard deviation over seeds. Outliers: the share of what was chosen among the 5 % of "
        "candidates that lie furthest from their neighbours (SOAP).",
    ]
    for pool in courses.pools:
        parts += _pool(courses, pool)
    return "\n\n".join(parts) + "\n"


def _pool(courses: Courses, pool: str) -> list[str]:
    plan = courses.plans[pool]
    parts = [
        f"## {pool}",
        f"{plan['frames']} candidates; {plan['start']} labels by chance, then {plan['rounds']} "
        f"rounds of {plan['batch']}.",
    ]
    if methods := courses.methods(pool):
        rows = [_row(courses, pool, method) for method in methods]
        headings = ["", "seeds", "force AUC", "/ random's", "final force RMSE meV/Å"]
        headings += ["round gain, forces", "energy AUC / random's", "round gain, energies"]
        headings += ["Spearman", "outliers", "CPU s"]
        parts += [markdown(headings, rows), _rounds(courses, pool, methods)]
    if scores := courses.processes(pool):
        parts += [f"### Residual processes of {pool}", _processes(scores)]
    parts += [f"{r['method']}, seed {r['seed']}: {r['failed']}" for r in courses.failed(pool)]
    return parts


def _row(courses: Courses, pool: str, method: str) -> list[str]:
    cells = [method, str(len(courses.of(pool, method)))]
    force, energy = (courses.compared(pool, method, m) for m in (FORCE, ENERGY))
    cells += _force(force) if force else ["–"] * 4
    cells += [f"{energy['auc_ratio']:.2f}", _gain(energy)] if energy else ["–"] * 2
    cells.append(_number(courses.spearman(pool, method)))
    cells.append(_number(courses.average(pool, method, "outliers")))
    return [*cells, f"{courses.average(pool, method, 'cpu'):.0f}"]


def _force(row: Record) -> list[str]:
    return [
        _spread(row["auc"], row["auc_std"]),
        f"{row['auc_ratio']:.2f}",
        _spread(row["final"], row["final_std"]),
        _gain(row),
    ]


def _gain(row: Record) -> str:
    std = row["round_gain_std"]
    return f"{100 * row['round_gain']:+.0f} %" + ("" if std is None else f" ± {100 * std:.0f}")


def _spread(value: float, std: float | None) -> str:
    return f"{value:.0f}" if std is None else f"{value:.0f} ± {std:.0f}"


def _rounds(courses: Courses, pool: str, methods: list[str]) -> str:
    """Force RMSE of every round, means over the seeds."""
    labels: list[int] = []
    rows = []
    for method in methods:
        runs = [curves.curve(r["rounds"]) for r in courses.of(pool, method).values()]
        labels = [int(n) for n in runs[0].labels]
        values = np.mean([c.values[FORCE] for c in runs], axis=0)
        rows.append([method, *(f"{v:.0f}" for v in values)])
    return markdown(["force RMSE meV/Å", *(f"{n} labels" for n in labels)], rows)


def _processes(scores: dict[str, dict[str, float]]) -> str:
    rows = [
        [
            kind,
            f"{s['n']:.0f}",
            f"{s['nll']:.2f}",
            f"{s['rmse_meV']:.0f}",
            f"{s['rmse_before_meV']:.0f}",
            *(f"{s[k]:.3f}" for k in ("ece", "ence", "coverage90")),
        ]
        for kind, s in scores.items()
    ]
    headings = ["", "learnt", "NLL (eV)", "RMSE meV", "without it", "ECE", "ENCE"]
    return markdown([*headings, "90 % interval covers"], rows)


def pictures(found: dict[str, Any], folder: Path) -> None:
    """Learning curves of the reactive pools, ``acquire-POOL.png``."""
    courses = Courses(found)
    for pool in courses.reactive:
        finished = courses.methods(pool)
        runs = {
            method: [curves.curve(r["rounds"]) for r in courses.of(pool, method).values()]
            for method in DRAWN
            if method in finished
        }
        if runs:
            curves.picture(runs, folder / f"acquire-{pool}.png", (ENERGY, FORCE))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def into_docs(path: Path, text: str) -> None:
    """Put tables between the marks of a page. Exits without marks."""
    strategies_table.into_docs(path, text, MARKS)
