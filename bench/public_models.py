"""Public foundation models on small sets of DFT labels: untouched, and fine-tuned three ways.

    python bench/public_models.py --data FOLDER [--models 7net-0] [--quick] [--json FILE] [--jobs 2]

FOLDER holds ethanol/, acac/ and 3bpa/ with their frames. Every strategy has the same number of
optimiser steps (`--steps`). Forgetting is the force error on crystals that the untouched model
relaxed and rattled, against what it said of them; pseudolabel replays crystals of other
compositions. Models of different environments are run one after the other with the same `--out`:
a finished cell is a line of it, and the same command goes on where it was stopped.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import public_models_table
from public_models_cells import BATCH, FILES, REPLAYED, VALID, ZERO_SHOT, Cell
from resumable import Lines, child, needed, run_cells

HERE = Path(__file__).parent
CELLS = HERE / "public_models_cells.py"
PACKAGES = ("torch", "sevenn", "chgnet", "mace-torch", "e3nn", "numpy", "tunesmith")
STRATEGIES = ("naive", "lora", "pseudolabel")
#: rough time of a step beside naive's on ethanol, for the time left alone
_ATOMS = {"ethanol": 9, "acac": 15, "3bpa": 27}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder that holds ethanol/, acac/ and 3bpa/")
    add("--models", nargs="+", default=["7net-0", "chgnet:0.3.0"])
    add("--systems", nargs="+", default=list(FILES), choices=list(FILES))
    add("--sizes", nargs="+", type=int, default=[100, 20])
    add("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    add("--steps", type=int, default=500, help="of the optimiser, the same for all strategies")
    add("--quick", action="store_true", help="minutes: ethanol, 20 frames, 20 steps, naive")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="file of finished cells (default: below --results/runs)")
    add("--results", type=Path, default=HERE / "results", help="folder for the table")
    add("--jobs", type=int, default=1, help="cells at a time, one thread each")
    add("--table", action="store_true", help="only write the table of what is done")
    options = parser.parse_args()
    options.held_out, options.copies, options.every = 200, 3, 1
    if options.quick:
        options.systems, options.sizes, options.steps = ["ethanol"], [20], 20
        options.strategies, options.held_out = ["naive"], 40
        options.copies, options.every = 2, 8
    return options


def grid(options: argparse.Namespace) -> list[Cell]:
    """Cells in the order they are worth having."""
    found = [Cell(m, s, 0, ZERO_SHOT, 0) for m in options.models for s in options.systems]
    for size in options.sizes:
        for system in options.systems:
            for strategy in options.strategies:
                found += [Cell(m, system, size, strategy, options.steps) for m in options.models]
    return found


def work(cell: Cell) -> float:
    """Proportional to the time a cell takes, roughly."""
    return (cell.steps or 20) * (_ATOMS[cell.system] + 15 * (cell.strategy == "pseudolabel"))


def told(result: dict[str, Any]) -> str:
    """One line of a result."""
    return (
        f"{result['force_mae']:.1f} meV/Å, {result['energy_mae']:.2f} meV/atom, crystals "
        f"{result['forgetting_mae']:.0f} meV/Å; {result.get('cpu', 0):.0f} CPU s"
    )


def main() -> None:
    options = _options()
    stem = "public-models-quick" if options.quick else "public-models"
    path = (options.out or options.results / "runs" / f"{stem}.jsonl").resolve()
    folder = path.with_suffix("")
    path.parent.mkdir(parents=True, exist_ok=True)
    conditions = {"batch_size": BATCH, "replayed": REPLAYED, "valid_fraction": VALID}
    conditions |= {"held_out": options.held_out, "copies": options.copies}
    lines = Lines(path, conditions, Cell)
    found: dict[str, Any] = {"machine": measure.machine(PACKAGES), "conditions": conditions}

    def write() -> None:
        found["cells"] = [asdict(c) | r for c, r in lines.found.items()]
        name = f"{stem}-{time.strftime('%Y-%m-%d')}"
        text = public_models_table.page(found)
        (options.results / f"{name}.md").write_text(f"# {name}\n\n{text}")

    if not options.table:
        how = {"sizes": options.sizes, "held_out": options.held_out}
        where: Any = {"folder": str(folder), "systems": options.systems}
        needed(CELLS, "prepare", data=str(options.data), **where, **how)
        for model in options.models:
            kept = folder / f"crystals-{model.replace(':', '_')}.json"
            if not kept.exists():
                made = {"copies": options.copies, "every": options.every}
                answer = needed(CELLS, "crystals", folder=str(folder), model=model, **made)
                kept.write_text(json.dumps(answer))

        def one(cell: Cell) -> dict[str, Any] | str:
            return child(CELLS, "cell", folder=str(folder), **asdict(cell))

        wrong = run_cells(grid(options), lines, options.jobs, one, write, work=work, told=told)
        if wrong:
            print(f"{len(wrong)} cells went wrong; the same command tries them again.")
    write()
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(public_models_table.page(found))
    if not options.table and wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
