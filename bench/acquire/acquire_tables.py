"""Tables of courses of rounds and of residual processes, and their learning curves."""

import math
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from bench.acquire.acquire_plan import BASELINE, COMMITTEES, DRAWN, MEMBERS, REST
from bench.runner.parts import Found, Record
from bench.runner.tables import described, markdown, number, table
from tunesmith.report import curves

FORCE = "force_rmse_meV_per_A"
#: energies need no zero so, which few labels may leave open
ENERGY = "energy_rmse_within_composition_meV_per_atom"


class Courses:
    """Records of courses of rounds by pool and method; those that failed are counted apart."""

    def __init__(self, found: Found) -> None:
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

    def compared(
        self,
        pool: str,
        method: str,
        metric: str,
        baseline: str = BASELINE,
        on: curves.Structures = "test",
    ) -> Record | None:
        """The method's row of `curves.compare`, over the seeds that both were measured with; None
        where there is none, or a round has no value."""
        ours, theirs = self.measured(pool, method, on), self.measured(pool, baseline, on)
        seeds = sorted(ours.keys() & theirs.keys())
        runs = {
            name: [curves.curve(records[s]["rounds"], on) for s in seeds]
            for name, records in ((baseline, theirs), (method, ours))
        }
        values = [c.values[metric][c.learnt] for of in runs.values() for c in of]
        if not seeds or not all(np.isfinite(v).all() for v in values):
            return None
        return curves.compare(runs, metric, baseline)[-1]

    def measured(self, pool: str, method: str, on: curves.Structures) -> dict[int, Record]:
        """As `of`, without cells that are older than a measurement."""
        found = self.of(pool, method)
        return {s: r for s, r in found.items() if all(x.get(on) for x in r["rounds"])}

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

    def tables(self, pool: str) -> list[dict[str, dict[str, float]]]:
        """Scores of the residual processes by kind and name, of every seed."""
        return [r["gp"] for r in self.records if r["pool"] == pool and "gp" in r]


# -------------------------------------------------------------------------------- tables


def page(found: Found) -> str:
    """Everything a reader wants, without a title."""
    c, courses = found["conditions"], Courses(found)
    parts = [
        f"Tables written: {described(found)}; one thread per cell; model "
        f"{c['model']}. Cells may be older.",
        f"Labels of the reactive pools are of {c['labels']}, not of the GFN2-xTB that the model "
        "was pretrained on; those of acac and 3BPA are the data's own. Every round learns all "
        "labels from the pretrained weights on (`by-size`, rates of at most 1e-3, E0s estimated "
        "again). Seeds draw the first labels and everything else; each is compared with the same "
        "seed of random. AUC is the sum over the rounds. Ratios and round gains "
        "(docs/how-to/compare-runs.md) are of the seeds' mean curves, in brackets the central 90 % "
        "over resampled seeds; of pairs: the mean of every seed's own gain; ± is one standard "
        "deviation over seeds. Energies are compared within each composition. A committee's errors "
        "are those of the mean of its three models, all others a single model's. Outliers: the "
        "share of what was chosen among the 5 % "
        "of candidates that lie furthest from their neighbours (SOAP).",
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
        parts += [markdown(HEADINGS, rows), _gains(courses, pool), _rounds(courses, pool)]
        parts += _rest(courses, pool)
    if tables := courses.tables(pool):
        parts += [f"### Residual processes of {pool}, seeds: {len(tables)}", _processes(tables)]
    parts += [f"{r['method']}, seed {r['seed']}: {r['failed']}" for r in courses.failed(pool)]
    return parts


HEADINGS = (
    *("", "seeds", "force AUC", "/ random's", "final force RMSE meV/Å", "/ random's"),
    *("energy AUC / random's", "final energy RMSE / random's", "Spearman", "outliers", "CPU s"),
)


def _row(courses: Courses, pool: str, method: str) -> list[str]:
    force, energy = (courses.compared(pool, method, m) for m in (FORCE, ENERGY))
    return [
        *(titled(method), str(len(courses.of(pool, method)))),
        *(_spread(force, "auc"), _ratio(force, "auc_ratio")),
        *(_spread(force, "final"), _ratio(force, "final_ratio")),
        *(_ratio(energy, "auc_ratio"), _ratio(energy, "final_ratio")),
        number(courses.spearman(pool, method)),
        number(courses.average(pool, method, "outliers")),
        f"{courses.average(pool, method, 'cpu'):.0f}",
    ]


def titled(method: str) -> str:
    """A committee's errors are those of its mean, which one model's are not."""
    return f"{method} (mean of {MEMBERS})" if method in COMMITTEES else method


def _gains(courses: Courses, pool: str) -> str:
    """Round gains of everyone but chance, whose own are none."""
    rows = []
    for method in courses.methods(pool):
        if method == BASELINE:
            continue
        found = [courses.compared(pool, method, m) for m in (FORCE, ENERGY)]
        cells = [text for row in found for text in (_gain(row), _of_pairs(row))]
        rows.append([titled(method), str(len(courses.of(pool, method))), *cells])
    headings = ["round gain", "seeds", "forces", "of pairs", "energies", "of pairs"]
    return markdown(headings, rows)


def _gain(row: Record | None) -> str:
    if row is None:
        return "–"
    ends = [f"{100 * end:+.0f}" for end in row["round_gain_interval"] or ()]
    return f"{100 * row['round_gain']:+.0f} %" + (f" [{', '.join(ends)}]" if ends else "")


def _of_pairs(row: Record | None) -> str:
    if row is None or row["round_gain_pairs_std"] is None:
        return "–"
    return f"{100 * row['round_gain_pairs']:+.0f} % ± {100 * row['round_gain_pairs_std']:.0f}"


def _ratio(row: Record | None, what: str) -> str:
    if row is None:
        return "–"
    if row["method"] == BASELINE:
        return "1"
    ends = [f"{end:.2f}" for end in row[f"{what}_interval"] or ()]
    return f"{row[what]:.2f}" + (f" [{', '.join(ends)}]" if ends else "")


def _spread(row: Record | None, what: str) -> str:
    if row is None:
        return "–"
    std = row[f"{what}_std"]
    return f"{row[what]:.0f}" + ("" if std is None else f" ± {std:.0f}")


def _rounds(courses: Courses, pool: str) -> str:
    """Force RMSE of every round, means over the seeds."""
    labels: list[int] = []
    rows = []
    for method in courses.methods(pool):
        runs = [curves.curve(r["rounds"]) for r in courses.of(pool, method).values()]
        labels = [int(n) for n in runs[0].labels]
        values = np.mean([c.values[FORCE] for c in runs], axis=0)
        rows.append([titled(method), str(len(runs)), *(f"{v:.0f}" for v in values)])
    return markdown(["force RMSE meV/Å", "seeds", *(f"{n} labels" for n in labels)], rows)


def _rest(courses: Courses, pool: str) -> list[str]:
    """On the candidates not yet asked for, of what was measured there."""
    rows = []
    for method in courses.methods(pool):
        if row := courses.compared(pool, method, FORCE, on="rest"):
            cells = [_spread(row, "final"), _ratio(row, "final_ratio"), _ratio(row, "auc_ratio")]
            gains = ["–", "–"] if method == BASELINE else [_gain(row), _of_pairs(row)]
            rows.append([titled(method), str(row["seeds"]), *cells, *gains])
    if not rows:
        return []
    headings = ["on the rest", "seeds", "final force RMSE meV/Å", "/ random's"]
    headings += ["force AUC / random's", "round gain, forces", "of pairs"]
    text = (
        f"On up to {REST} candidates drawn by lot, those not yet asked for. What a rule takes is "
        "gone from here: hard ones taken make the rest easier, learning aside."
    )
    return [text, markdown(headings, rows)]


def _processes(tables: list[dict[str, dict[str, float]]]) -> str:
    """Means over the seeds; ± is one standard deviation."""
    rows = []
    for kind in tables[0]:
        values = {k: np.array([t[kind][k] for t in tables]) for k in tables[0][kind]}
        stds = {k: f" ± {v.std(ddof=1):.2f}" if len(v) > 1 else "" for k, v in values.items()}
        row: Record = {k: float(v.mean()) for k, v in values.items()}
        rows.append(row | {"kind": kind, "std": stds})
    columns = {
        "": "{kind}",
        "learnt": "{n:.0f}",
        "NLL (eV)": "{nll:.2f}{std[nll]}",
        "RMSE meV": "{rmse_meV:.0f}",
        "without it": "{rmse_before_meV:.0f}",
        "ECE": "{ece:.3f}",
        "ENCE": "{ence:.3f}",
        "90 % interval covers": "{coverage90:.2f}{std[coverage90]}",
    }
    return table(rows, columns)


def pictures(found: Found, folder: Path) -> None:
    """Learning curves of the reactive pools, ``acquire-POOL.png``."""
    courses = Courses(found)
    for pool in courses.reactive:
        finished = courses.methods(pool)
        runs = {
            titled(method): [curves.curve(r["rounds"]) for r in courses.of(pool, method).values()]
            for method in DRAWN
            if method in finished
        }
        if runs:
            curves.picture(runs, folder / f"acquire-{pool}.png", (ENERGY, FORCE))
