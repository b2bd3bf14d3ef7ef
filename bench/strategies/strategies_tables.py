"""Tables of fine-tuning strategies: errors, forgetting and cost."""

import math
from statistics import mean
from typing import Any

from bench.runner.parts import Found, Record
from bench.runner.tables import described, markdown, number, table
from bench.strategies.strategies_plan import SCRATCH_E0

#: what is measured → its column's heading
MEASURED = {
    "force_rmse": "force RMSE meV/Å",
    "energy_rmse": "energy RMSE meV/atom",
    "energy_rmse_relative": "the same without the mean error",
}


class Cells:
    """Records of cells by their fields; seeds are averaged over."""

    def __init__(self, found: Found) -> None:
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
        keys = ("system", "frames", "strategy", "e0", "steps")
        return [r for r in self.records if tuple(r["asked"][k] for k in keys) == wanted]

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
        return self.mean(head, *cell, **more) / self.untouched("forgetting")

    def untouched(self, on: str) -> float:
        """Force RMSE of the untouched model, meV/Å; NaN where it was not measured."""
        return self.foundation.get(on, math.nan)

    def costs(self, what: str, system: str, frames: int, strategy: str) -> float:
        """CPU seconds per step ("cpu_fit") or in all ("cpu") over naive's, seed by seed."""
        naive = {r["seed"]: r for r in self.of(system, frames, "naive") if what in r}
        of = [r for r in self.of(system, frames, strategy) if what in r and r["seed"] in naive]

        def value(r: Record) -> float:
            return float(r[what] / r["steps"] if what == "cpu_fit" else r[what])

        return mean(value(r) / value(naive[r["seed"]]) for r in of) if of else math.nan


# -------------------------------------------------------------------------------- tables


def page(found: Found) -> str:
    """Everything a reader wants, without a title."""
    c, cells = found["conditions"], Cells(found)
    parts = [
        f"{described(found)}; one thread per cell; model {c['model']}.",
        f"Every strategy has {found['steps']} optimiser steps of {c['batch_size']} structures "
        "(rounded up to whole epochs; `bayesian` has its own schedule), whatever its learning "
        f"rate, and never stops early. N labels are all there are: {c['valid_fraction']:.0%} of "
        "them, at least one, choose the best epoch, as `tunesmith tune` does. Errors are those on "
        f"{c['held_out']} held-out frames of the same 300 K data, which no cell ever trains on; "
        "± is half the range of the seeds, each with a draw of labels and a training of its own.",
        "Forgetting is the force RMSE on the embedded forgetting set against its GFN2-xTB labels, "
        f"over that of the untouched model ({number(cells.untouched('forgetting'), '.1f')} meV/Å). "
        "The target's head answers at the target's level of theory, so that even a model that "
        "forgot nothing would err here by the difference of the two levels; the replay head "
        "answers at the old one.",
    ]
    for system in cells.systems:
        parts += _system(cells, system)
    parts += _cost(found["cost"])
    return "\n\n".join(parts) + "\n"


def _system(cells: Cells, system: str) -> list[str]:
    sizes = cells.sizes(system)
    names = [r["strategy"] for r in cells.records if r["system"] == system]
    compared = [s for s in dict.fromkeys(names) if any(cells.of(system, n, s) for n in sizes)]
    parts = [
        f"## {system}",
        f"Untouched: {number(cells.untouched(system), '.1f')} meV/Å. E0s: {cells.best[system]}.",
        _errors(cells, system, sizes, [(s, s, {}) for s in compared]),
        _behaviour(cells, system, sizes, compared),
    ]
    choices = dict.fromkeys(r["e0"] for r in cells.records if r["system"] == system)
    times = sorted({r["asked"]["steps"] // cells.steps for r in cells.records} - {1})
    every = dict.fromkeys(names)
    crossed = [(f"{s}, {e}", s, {"e0": e}) for s in ("naive", "lora") for e in sorted(choices)]
    longer = [(f"{s}, {t} × the steps", s, {"times": t}) for t in times for s in every]
    if len(choices) < 2:
        crossed = []
    for title, rows in ((f"E0s of {system}", crossed), (f"More steps on {system}", longer)):
        there = [r for r in rows if any(cells.of(system, n, r[1], **r[2]) for n in sizes)]
        if there:
            parts += [f"### {title}", _errors(cells, system, sizes, there, forgetting=True)]
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
            values += [number(cells.forgotten(system, n, strategy, **more)) for n in sizes]
        body.append([title, *values])
    return markdown(["", *headings], body)


def _behaviour(cells: Cells, system: str, sizes: list[int], strategies: list[str]) -> str:
    """What a strategy forgets, how much of the model moves, and its cost beside naive's."""
    heads = {"forgetting": "forgetting", "forgetting, replay head": "forgetting_replay_head"}
    headings = ["", "weights", "learning rate", *(f"{t}, N = {n}" for t in heads for n in sizes)]
    body = []
    for name in strategies:
        known = [r for n in sizes for r in cells.of(system, n, name) if "failed" not in r]
        if not known:
            continue
        here = (system, max(n for n in sizes if cells.of(system, n, name)), name)
        row = [name, str(known[0]["weights"]), f"{known[0]['learning_rate']:g}"]
        for head in heads.values():
            row += [number(cells.forgotten(system, n, name, head=head)) for n in sizes]
        body.append([*row, *(number(cells.costs(what, *here)) for what in ("cpu_fit", "cpu"))])
    return markdown([*headings, "CPU per step / naive's", "CPU in all / naive's"], body)


def _cost(cost: dict[str, Any]) -> list[str]:
    if not cost:
        return []
    rows = [{"name": name} | c for name, c in cost["strategies"].items()]
    told = (
        f"{cost['system']}, 50 labels, {rows[0]['steps']} steps, in turns in one process, medians "
        f"of {cost['rounds']} rounds; ratios are taken within a round. In all: with reading, E0s, "
        "replay labels, export and its check."
    )
    columns: dict[str, Any] = {
        "": "{name}",
        "weights that move": "{weights}",
        "CPU ms per step": lambda c: f"{1e3 * c['cpu_per_step']:.0f}",
        "/ naive's": "{per_step_to_naive:.2f}",
        "CPU s in all": "{cpu_in_all:.1f}",
        "in all per step / naive's": "{in_all_to_naive:.2f}",
    }
    if "wall_to_naive" in rows[0]:
        columns["wall time in all per step / naive's"] = "{wall_to_naive:.2f}"
    return ["## Cost", told, table(rows, columns)]
