"""Fine-tuning strategies side by side on small sets of acac and 3BPA, from organic-xs.

    python bench/strategies.py --data FOLDER [--quick] [--json FILE] [--jobs 2]

FOLDER holds acac/ and 3bpa/ with train_300K.xyz and the isolated atoms. Every strategy has the
same number of optimiser steps (`--steps`) on N labels, of which a tenth choose the best epoch as
`tunesmith tune` does. A finished cell is a line of `--out`: the same command goes on where it was
stopped, and the cells of the first seed come first, so that a partial run is already a table.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import strategies_findings
import strategies_table
from resumable import Lines, child, needed, run_cells
from strategies_cells import BATCH, FILES, MODEL, VALID
from strategies_plan import BEST_E0, COSTS, Cell, grid, selected, work

HERE = Path(__file__).parent
CELLS = HERE / "strategies_cells.py"
PACKAGES = ("torch", "mace-torch", "e3nn", "numpy", "tunesmith")


# ---------------------------------------------------------------------------- the program


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds acac/ and 3bpa/")
    add("--quick", action="store_true", help="about a minute: one system, 10 frames, 40 steps")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="file of finished cells (default: below --results/runs)")
    add("--results", type=Path, default=HERE / "results", help="folder for the table and its JSON")
    add("--docs", type=Path, help="also put the tables between this page's marks")
    add("--systems", nargs="+", default=list(FILES), choices=list(FILES))
    add("--steps", type=int, default=800, help="of the optimiser, the same for all strategies")
    add("--seeds", type=int, default=2)
    add("--only", nargs="+", default=[], metavar="FIELD=VALUE,…", help="cells that meet all of it")
    add("--jobs", type=int, default=1, help="cells at a time, one thread each")
    add("--rounds", type=int, default=5, help="of the cost section; 0: none")
    add("--list", action="store_true", help="only print the cells and which are done")
    options = parser.parse_args()
    options.sizes, options.held_out, options.forgetting = [10, 50, 200], 200, 10_000
    options.cost_steps = 100
    if options.quick:
        options.systems, options.sizes, options.seeds, options.steps = ["acac"], [10], 1, 40
        options.held_out, options.forgetting, options.rounds = 40, 40, 0
    return options


def told(result: dict[str, Any]) -> str:
    """One line of a result."""
    if "failed" in result:
        return f"ended with an error: {result['failed']}"
    return (
        f"{result['force_rmse']:.1f} meV/Å, {result['energy_rmse']:.2f} meV/atom, on the "
        f"forgetting set {result['forgetting']:.0f} meV/Å; {result['cpu']:.0f} CPU s"
    )


def main() -> None:
    options = _options()
    name = f"strategies-{time.strftime('%Y-%m-%d')}" + ("-quick" if options.quick else "")
    stem = "strategies-quick" if options.quick else "strategies"
    path = (options.out or options.results / "runs" / f"{stem}.jsonl").resolve()
    folder = path.with_suffix("")
    path.parent.mkdir(parents=True, exist_ok=True)
    budget = (options.systems, options.sizes, options.seeds, options.steps)
    everything = grid(*budget, quick=options.quick)
    chosen = selected(everything, options.only)
    conditions = {"model": MODEL, "batch_size": BATCH, "valid_fraction": VALID}
    conditions |= {"held_out": options.held_out, "forgetting": options.forgetting}
    lines = Lines(path, conditions, Cell)
    if options.list:
        for cell in chosen:
            print(f"{'done' if cell in lines.found else '    '} {cell.name}")
        return
    where: Any = {"folder": str(folder), "systems": options.systems}
    sizes = sorted({*options.sizes, *([50] if options.rounds else [])})
    how = {"sizes": sizes, "seeds": options.seeds, "held_out": options.held_out}
    needed(CELLS, "prepare", data=str(options.data), **where, **how)
    found = {
        "machine": measure.machine(PACKAGES),
        "steps": options.steps,
        "conditions": conditions,
        "best_e0": BEST_E0,
        "foundation": needed(CELLS, "foundation", **where, forgetting=options.forgetting),
        "cost": costs(options, folder),
    }

    def one(cell: Cell) -> dict[str, Any] | str:
        return child(
            CELLS, "cell", folder=str(folder), forgetting=options.forgetting, **asdict(cell)
        )

    def write() -> None:
        wanted = set(everything)
        found["cells"] = [record(c, r) for c, r in lines.found.items() if c in wanted]
        text = json.dumps(found, indent=1) + "\n"
        (options.results / f"{name}.json").write_text(text)
        (options.results / f"{name}.md").write_text(f"# {name}\n\n{report(found)}")

    write()
    wrong = run_cells(chosen, lines, options.jobs, one, write, work=work, told=told)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.docs:
        strategies_table.into_docs(options.docs, report(found))
    print(report(found))
    if wrong:
        sys.exit(f"{len(wrong)} cells went wrong; the same command tries them again.")


def record(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    """A cell and its result in one; ``steps`` are those that were done."""
    return asdict(cell) | {"steps_asked": cell.steps} | result


def report(found: dict[str, Any]) -> str:
    """Tables and findings, without a title."""
    verdicts = strategies_findings.verdicts(found)
    tables = strategies_table.page(found)
    return f"{tables}\n## Beside the paper\n\n{verdicts}\n"


def costs(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The cost section, measured once: alone, before any cell runs beside it."""
    kept = folder / "cost.json"
    if not options.rounds:
        return {}
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    system, steps = options.systems[0], options.cost_steps
    arguments: Any = {"system": system, "strategies": COSTS, "steps": steps}
    answer = needed(CELLS, "cost", folder=str(folder), rounds=options.rounds, **arguments)
    answer.pop("seconds")
    found = {"system": system, "rounds": options.rounds, "strategies": answer}
    kept.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
