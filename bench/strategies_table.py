"""Tables of `strategies.py` as Markdown.

found: what the bench writes as JSON. ``cells``: one flat record per cell, with the fields of a
cell and of its result.
"""

import math
from pathlib import Path
from statistics import mean
from typing import Any

from strategies_plan import SCRATCH_E0

Record = dict[str, Any]
#: what is measured → its column's heading
MEASURED = {
    "force_rmse": "force RMSE meV/Å",
    "energy_rmse": "energy RMSE meV/atom",
    "energy_rmse_relative": "the same without the mean error",
}
#: lines between which a page's tables stand
MARKS = ("<!-- bench/strategies.py writes from here -->", "<!-- to here -->")


class Cells:
    """Records of cells by their fields; seeds are averaged over."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.records: list[Record] = found["cells"]
        self.steps: int = found["steps"]
        self.best: dict[str, str] = found["best_e0"]
        self.foundation: dict[str, float] = found["foundation"]

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(r["system"] for r in self.records))

    def sizes(self, system: str) -> list[int]:
        return sorted({r["frames"] for r in self.records if r["system"] == system})

    def of(
        self, system: str, frames: int, strategy: str, e0: str = "", times: int = 1
    ) -> list[Any]:
        """The seeds of one cell. e0: "" is the system's best."""
        wanted = (system, frames, strategy, e0 or self._best(system, strategy), times * self.steps)
        keys = ("system", "frames", "strategy", "e0", "steps_asked")
        return [r for r in self.records if tuple(r[k] for k in keys) == wanted]

    def _best(self, system: str, strategy: str) -> str:
        return SCRATCH_E0 if strategy == "scratch" else self.best[system]

    def mean(self, what: str, *cell: Any, **more: Any) -> float:
        """Mean over the seeds; NaN where there is none, or a training ended with an error."""
        values = [r.get(what) for r in self.of(*cell, **more)]
        return math.nan if not values or None in values else mean(values)  # type: ignore

    def value(self, what: str, *cell: Any, seed: int, **more: Any) -> float:
        """Of one seed; NaN where there is none, or its training ended with an error."""
        found = [r.get(what) for r in self.of(*cell, **more) if r["seed"] == seed]
        return math.nan if not found or found[0] is None else float(found[0])

    def shown(self, what: str, *cell: Any, **more: Any) -> str:
        """Mean ± half the range of the seeds."""
        records = self.of(*cell, **more)
        if any("failed" in r for r in records):
            return "failed"
        values = [r[what] for r in records if r[what] is not None]
        if not values:
            return "–"
        half = (max(values) - min(values)) / 2
        digits = 1 if what == "force_rmse" else 2
        spread = f" ± {half:.{digits}f}" if len(values) > 1 else ""
        return f"{mean(values):.{digits}f}{spread}"

    def forgotten(self, *cell: Any, head: str = "forgetting", **more: Any) -> float:
        """Force RMSE on the forgetting set over that of the untouched model."""
        return self.mean(head, *cell, **more) / self.foundation["forgetting"]

    def costs(self, what: str, system: str, frames: int, strategy: str) -> float:
        """CPU seconds per step ("cpu_fit") or in all ("cpu") over naive's, seed by seed."""
        naive = {r["seed"]: r for r in self.of(system, frames, "naive") if what in r}
        of = [r for r in self.of(system, frames, strategy) if what in r and r["seed"] in naive]

        def value(r: Record) -> float:
            return float(r[what] / r["steps"] if what == "cpu_fit" else r[what])

        return mean(value(r) / value(naive[r["seed"]]) for r in of) if of else math.nan


# -------------------------------------------------------------------------------- tables


def page(found: dict[str, Any]) -> str:
    """Everything a reader wants, without a title."""
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    c, cells = found["conditions"], Cells(found)
    parts = [
        f"{about}; one thread per cell; model {c['model']}.",
        f"Every strategy has {found['steps']} optimiser steps of {c['batch_size']} structures "
        "(rounded up to whole epochs; `bayesian` has its own schedule), whatever its learning "
        f"rate, and never stops early. N labels are all there are: {c['valid_fraction']:.0%} of "
        "them, at least one, choose the best epoch, as `tunesmith tune` does. Errors are those on "
        f"{c['held_out']} held-out frames of the same 300 K data, which no cell ever trains on; "
        "± is half the range of the seeds, each with a draw of labels and a training of its own.",
        "Forgetting is the force RMSE on the embedded forgetting set against its GFN2-xTB labels, "
        f"over that of the untouched model ({cells.foundation['forgetting']:.1f} meV/Å). The "
        "target's head answers at the target's level of theory, so that even a model that forgot "
        "nothing would err here by the difference of the two levels; the replay head answers at "
        "the old one.",
    ]
    for system in cells.systems:
        parts += _system(cells, system)
    parts += _cost(found["cost"])
    return "\n\n".join(parts) + "\n"


def _system(cells: Cells, system: str) -> list[str]:
    sizes = cells.sizes(system)
    names = [r["strategy"] for r in cells.records if r["system"] == system]
    compared = [s for s in dict.fromkeys(names) if any(cells.of(system, n, s) for n in sizes)]
    untouched = cells.foundation[system]
    parts = [
        f"## {system}",
        f"Untouched: {untouched:.1f} meV/Å. E0s: {cells.best[system]}.",
        _errors(cells, system, sizes, [(s, s, {}) for s in compared]),
        _behaviour(cells, system, sizes, compared),
    ]
    choices = dict.fromkeys(r["e0"] for r in cells.records if r["system"] == system)
    if len(choices) > 1:
        crossed = [
            (f"{s}, {e0}", s, {"e0": e0})
            for s in ("naive", "lora")
            for e0 in sorted(choices)
            if any(cells.of(system, n, s, e0) for n in sizes)
        ]
        rows = _errors(cells, system, sizes, crossed, forgetting=True)
        parts += [f"### E0s of {system}", rows]
    times = sorted({r["steps_asked"] // cells.steps for r in cells.records} - {1})
    longer = [
        (f"{s}, {t} × the steps", s, {"times": t})
        for t in times
        for s in dict.fromkeys(names)
        if any(cells.of(system, n, s, times=t) for n in sizes)
    ]
    if longer:
        rows = _errors(cells, system, sizes, longer, forgetting=True)
        parts += [f"### More steps on {system}", rows]
    return parts


def _errors(
    cells: Cells,
    system: str,
    sizes: list[int],
    rows: list[tuple[str, str, dict[str, Any]]],
    forgetting: bool = False,
) -> str:
    """rows: (title, strategy, what else says which cell)."""
    headings = [f"{title}, N = {n}" for title in MEASURED.values() for n in sizes]
    headings += [f"forgetting, N = {n}" for n in sizes] if forgetting else []
    body = []
    for title, strategy, more in rows:
        values = [cells.shown(w, system, n, strategy, **more) for w in MEASURED for n in sizes]
        if forgetting:
            values += [_number(cells.forgotten(system, n, strategy, **more)) for n in sizes]
        body.append([title, *values])
    return markdown(["", *headings], body)


def _behaviour(cells: Cells, system: str, sizes: list[int], strategies: list[str]) -> str:
    """What a strategy forgets, how much of the model moves, and its cost beside naive's."""
    headings = ["", "weights", "learning rate"]
    headings += [f"forgetting, N = {n}" for n in sizes]
    headings += [f"forgetting, replay head, N = {n}" for n in sizes]
    headings += ["CPU per step / naive's", "CPU in all / naive's"]
    body = []
    for name in strategies:
        known = [r for n in sizes for r in cells.of(system, n, name) if "failed" not in r]
        if not known:
            continue
        here = (system, max(n for n in sizes if cells.of(system, n, name)), name)
        body.append(
            [
                name,
                str(known[0]["weights"]),
                f"{known[0]['learning_rate']:g}",
                *(_number(cells.forgotten(system, n, name)) for n in sizes),
                *(
                    _number(cells.forgotten(system, n, name, head="forgetting_replay_head"))
                    for n in sizes
                ),
                _number(cells.costs("cpu_fit", *here)),
                _number(cells.costs("cpu", *here)),
            ]
        )
    return markdown(headings, body)


def _cost(cost: dict[str, Any]) -> list[str]:
    if not cost:
        return []
    rows = [
        [
            name,
            str(c["weights"]),
            f"{1e3 * c['cpu_per_step']:.0f}",
            f"{c['per_step_to_naive']:.2f}",
            f"{c['cpu_in_all']:.1f}",
            f"{c['in_all_to_naive']:.2f}",
        ]
        for name, c in cost["strategies"].items()
    ]
    steps = next(iter(cost["strategies"].values()))["steps"]
    told = (
        f"{cost['system']}, 50 labels, {steps} steps, in turns in one process, medians of "
        f"{cost['rounds']} rounds; ratios are taken within a round. In all: with reading, E0s, "
        "replay labels, export and its check."
    )
    headings = ["", "weights that move", "CPU ms per step", "/ naive's"]
    headings += ["CPU s in all", "in all per step / naive's"]
    return ["## Cost", told, markdown(headings, rows)]


def markdown(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def into_docs(path: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Put tables between the marks of a page, one level of headings lower. Exits without marks."""
    before, start, rest = path.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise SystemExit(f"{path} has no lines {marks[0]!r} and {marks[1]!r} to write between.")
    lower = "\n".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines())
    path.write_text(f"{before}{start}\n\n{lower}\n\n{end}{after}")
