"""Who should choose what is labelled: representations and rules against chance and committees.

    python bench/acquire.py --data FOLDER [--quick] [--json FILE] [--list] [--only pool=small]

Courses of rounds from two reactive pools, which recipes/reactions/make.py makes with tblite, and
two of plain dynamics, acac and 3BPA, of which FOLDER holds train_300K.xyz; and the residual
Gaussian processes of the same representations. A finished cell is a line of ``--out``: the same
command goes on where it was stopped, and the cells that tell most come first. The whole grid is
estimated at about 2.9 CPU hours on one core (`acquire_plan.work`; ``--list`` adds it up).
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import acquire_findings
import acquire_table
import measure
from acquire_cells import METHOD, MODEL, pools
from acquire_plan import POOLS, Cell, grid, selected, work
from resumable import Lines, child, needed, run_cells

HERE = Path(__file__).parent
CELLS = HERE / "acquire_cells.py"
PACKAGES = ("torch", "mace-torch", "tblite", "dscribe", "rdkit", "numpy", "tunesmith")


def told(result: dict[str, Any]) -> str:
    """One line of a result."""
    if "failed" in result:
        return f"ended with an error: {result['failed']}"
    if "gp" in result:
        said = "; ".join(f"{k} covers {v['coverage90']:.2f}" for k, v in result["gp"].items())
    else:
        last = result["rounds"][-1]
        said = f"{last['test']['force_rmse_meV_per_A']:.0f} meV/Å with {last['labels']} labels"
    return f"{said}; {result['cpu']:.0f} CPU s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, help="folder that holds acac/ and 3bpa/, where those are asked for")
    add("--quick", action="store_true", help="minutes: 40 candidates, two rounds, a few methods")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="file of finished cells (default: below --results/runs)")
    add("--results", type=Path, default=HERE / "results", help="folder for the table and its JSON")
    add(
        "--docs",
        type=Path,
        help="tables between this page's marks, and pictures",
    )
    add("--pools", nargs="+", default=list(POOLS), choices=list(POOLS))
    add("--seeds", type=int, default=5)
    add("--full", action="store_true", help="all methods with all seeds: several times as long")
    add("--only", nargs="+", default=[], metavar="FIELD=VALUE,…", help="cells that meet all of it")
    add("--jobs", type=int, default=1, help="cells at a time, one thread each")
    add(
        "--rest",
        action="store_true",
        help="do again what was finished before rounds were measured on the pool's rest",
    )
    add("--table", action="store_true", help="only write the tables of what is done by now")
    add("--list", action="store_true", help="only print the cells, which are done, and their cost")
    options = parser.parse_args()
    if options.quick:
        options.pools, options.seeds = ["small"], 1
    return options


def main() -> None:
    options = _options()
    name = f"acquire-{time.strftime('%Y-%m-%d')}" + ("-quick" if options.quick else "")
    stem = "acquire-quick" if options.quick else "acquire"
    path = (options.out or options.results / "runs" / f"{stem}.jsonl").resolve()
    folder, plan = (options.results / "runs" / stem).resolve(), pools(options.quick)
    everything = grid(options.pools, options.seeds, full=options.full, quick=options.quick)
    chosen = selected(everything, options.only)
    courses = {p: asdict(plan[p]) for p in options.pools}
    # that rounds are measured on the rest too changes nothing else: older cells are as good
    conditions = {"model": MODEL, "labels": METHOD, "quick": options.quick}
    lines = Lines(path, conditions, Cell)
    older = forgotten(chosen, lines) if options.rest else {}
    if options.list:
        show(chosen, lines, options.quick)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    data = None if options.data is None else str(options.data.resolve())
    todo = [] if options.table else chosen
    for pool in dict.fromkeys(c.pool for c in todo):
        needed(CELLS, "prepare", data=data, folder=str(folder), pool=pool, quick=options.quick)
    found: dict[str, Any] = {
        "machine": measure.machine(PACKAGES),
        "conditions": conditions,
        "pools": courses,
    }

    def one(cell: Cell) -> dict[str, Any] | str:
        return child(CELLS, "cell", folder=str(folder), quick=options.quick, **asdict(cell))

    def write() -> None:
        known = older | lines.found
        done = in_order([c for c in known if c.pool in options.pools])
        found["cells"] = [asdict(c) | known[c] for c in done]
        text = json.dumps(found, indent=1) + "\n"
        (options.results / f"{name}.json").write_text(text)
        (options.results / f"{name}.md").write_text(f"# {name}\n\n{report(found)}")

    write()
    cost = {c: work(c, plan) for c in todo}
    wrong = run_cells(todo, lines, options.jobs, one, write, work=cost.__getitem__, told=told)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.docs:
        acquire_table.into_docs(options.docs, report(found))
        acquire_table.pictures(found, options.docs.parent)
    print(report(found))
    if wrong:
        sys.exit(f"{len(wrong)} cells went wrong; the same command tries them again.")


def forgotten(cells: list[Cell], lines: Lines[Cell]) -> dict[Cell, dict[str, Any]]:
    """Take cells for undone whose rounds were not measured on the rest; their results, which
    stand until there are new ones."""
    older = {}
    for cell in cells:
        rounds = lines.found.get(cell, {}).get("rounds", ())
        if any(not r.get("rest") for r in rounds):
            older[cell] = lines.found.pop(cell)
    return older


def in_order(cells: list[Cell]) -> list[Cell]:
    """As of the whole grid, whenever they were done; those that are none of it last."""
    place = {cell: i for i, cell in enumerate(grid(list(POOLS), 5, full=True))}
    return sorted(cells, key=lambda c: place.get(c, len(place)))


def show(cells: list[Cell], lines: Lines[Cell], quick: bool) -> None:
    """The cells, and what they are estimated to cost, pool by pool."""
    plan, left = pools(quick), 0.0
    totals: dict[str, float] = {}
    for cell in cells:
        cost, done = work(cell, plan), cell in lines.found
        totals[cell.pool] = totals.get(cell.pool, 0.0) + cost
        left += 0.0 if done else cost
        print(f"{'done' if done else '    '} {cell.name:<32} {cost:5.0f} CPU s")
    parts = ", ".join(f"{pool} {cost / 60:.0f}" for pool, cost in totals.items())
    total = sum(totals.values())
    print(f"about {total / 3600:.1f} CPU h in all ({parts} min), {left / 3600:.1f} h left")


def report(found: dict[str, Any]) -> str:
    """Tables and findings, without a title."""
    verdicts = acquire_findings.verdicts(found)
    return f"{acquire_table.page(found)}\n## Beside the paper\n\n{verdicts}\n"


if __name__ == "__main__":
    main()
