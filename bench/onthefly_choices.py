"""What on-the-fly runs ask by, and what they learn from: is there anything in it?

    python bench/onthefly_choices.py [--seeds 3] [--quick] [--json FILE] [--list]

Short runs of ethanol with GFN1-xTB, by the demo's settings otherwise: labels asked for by the
spread of four or two members or by the tangent kernel (`acquire.spread: ntk`) of four or of one;
and, with two members, all labels learnt from or some of them, chosen by LCMD (`acquire.keep`) or
by chance. All are held against the same labelled frames of trajectories of their own, which the
reference drove. A finished cell is a line of ``--out``: the same command goes on where it was
stopped.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import onthefly_choices_table
from onthefly_choices_plan import QUICK, SCHEDULE, Cell, grid, work
from resumable import Lines, child, needed, run_cells

HERE = Path(__file__).parent
CELLS = HERE / "onthefly_choices_cells.py"
PACKAGES = ("torch", "mace-torch", "ase", "tblite", "numpy", "tunesmith")


def told(result: dict[str, Any]) -> str:
    """One line of a result."""
    cpu = sum(result["spent"].values())
    return f"{result['labels']} labels, {result['md_time_ps']:.2f} ps; {cpu:.0f} CPU s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seeds", type=int, default=3)
    add("--frames", type=int, default=40, help="labelled, of each second trajectory")
    add("--quick", action="store_true", help="a few minutes: 50 steps, one seed, 6 frames")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="file of finished cells (default: below --results/runs)")
    add("--results", type=Path, default=HERE / "results", help="folder for the table and its JSON")
    add("--jobs", type=int, default=1, help="cells at a time, one thread each")
    add("--table", action="store_true", help="only write the tables of what is done by now")
    add("--list", action="store_true", help="only print the cells and which are done")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.frames = 1, 6
    return options


def main() -> None:
    options = _options()
    stem = "onthefly-choices" + ("-quick" if options.quick else "")
    name = f"onthefly-choices-{time.strftime('%Y-%m-%d')}" + ("-quick" if options.quick else "")
    path = (options.out or options.results / "runs" / f"{stem}.jsonl").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_suffix("")
    cells = grid(options.seeds)
    schedule = list(QUICK if options.quick else SCHEDULE)
    conditions = {"schedule": schedule, "seeds": options.seeds, "frames": options.frames}
    lines = Lines(path, conditions, Cell)
    if options.list:
        for cell in cells:
            print(f"{'done' if cell in lines.found else '    '} {cell.name}")
        return
    common = {"folder": str(folder), "seeds": options.seeds, "quick": options.quick}
    needed(CELLS, "prepare", frames=options.frames, **common)
    found: dict[str, Any] = {
        "machine": measure.machine(PACKAGES),
        "conditions": conditions,
    }

    def one(cell: Cell) -> dict[str, Any] | str:
        return child(CELLS, "cell", **common, **asdict(cell))

    def write() -> None:
        found["cells"] = [asdict(c) | r for c, r in lines.found.items() if c in set(cells)]
        (options.results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        text = f"# {name}\n\n{onthefly_choices_table.page(found)}"
        (options.results / f"{name}.md").write_text(text)

    write()
    todo = [] if options.table else cells
    wrong = run_cells(todo, lines, options.jobs, one, write, work=work, told=told)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(onthefly_choices_table.page(found))
    if wrong:
        sys.exit(f"{len(wrong)} cells went wrong; the same command tries them again.")


if __name__ == "__main__":
    main()
