"""Adversarial structures with a chosen error: does the error come out as chosen, and what do they
teach? Water by GFN1-xTB, learnt from organic-xs; the published benchmarks in small.

Every set of attacks and every course of learning is a cell: a line of a file when it is done, and
the same command goes on where it was stopped.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cago_table
import cago_water
import measure
from cago_attacks import Attacks, cells
from cago_learning import LEARNERS, METHODS, TIMES, Course
from resumable import Lines, child, needed, run_cells

HERE = Path(__file__).resolve().parent
ATTACKS, LEARNING = HERE / "cago_attacks.py", HERE / "cago_learning.py"
PACKAGES = ("torch", "mace-torch", "scipy", "tblite", "tunesmith")
PARTS = ("attacks", "learning")


def main() -> None:
    options = _options()
    stem = "cago-quick" if options.quick else "cago"
    path = (options.out or options.results / f"{stem}-cells.jsonl").resolve()
    folder = (options.work or options.results / "runs" / stem).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    place, quick = str(folder), options.quick
    found: dict[str, Any] = {"machine": measure.machine(PACKAGES)}
    wrong: list[str] = []
    if "attacks" in options.parts:
        lines = Lines(path, {"part": "attacks", "stop": "shape"}, Attacks)
        kept = folder / f"committee{'-quick' if quick else ''}.json"
        if not kept.exists():
            about = needed(ATTACKS, "prepare", folder=place, quick=quick)
            kept.write_text(json.dumps(about))
        plain = json.loads(kept.read_text())["error"]
        wrong += run_cells(
            [] if options.table else cells(quick),
            lines,
            options.jobs,
            lambda cell: child(ATTACKS, "cell", folder=place, cell=asdict(cell), plain=plain),
            lambda: None,
            work=lambda cell: cell.attackers + 3,
            told=_attacked,
        )
        found["committee"] = json.loads(kept.read_text())
        found["attacks"] = [asdict(c) | lines.found[c] for c in cells(quick) if c in lines.found]
    if "learning" in options.parts:
        courses = [
            Course(m, learner, system, seed, quick)
            for system in options.systems
            for learner in options.learners
            for seed in options.seeds
            for m in options.methods
        ]
        done = Lines(path, {"part": "learning", "aim": TIMES}, Course)
        wrong += run_cells(
            [] if options.table else courses,
            done,
            options.jobs,
            lambda course: child(LEARNING, "cell", folder=place, course=asdict(course)),
            lambda: None,
            work=lambda course: 1.0,
            told=_learnt,
        )
        found["learning"] = [asdict(c) | done.found[c] for c in courses if c in done.found]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    text = cago_table.page(found)
    name = f"{stem}-{time.strftime('%Y-%m-%d')}"
    (options.results / f"{name}.md").write_text(f"# {name}\n\n{text}")
    if options.docs:
        cago_table.into_docs(options.docs, text)
        cago_table.pictures(found, options.docs.parent)
    print(text)
    if wrong:
        sys.exit(f"{len(wrong)} cells went wrong; the same command tries them again.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="a little of everything, minutes")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--seeds", nargs="+", type=int, default=list(range(5)), help="of the courses of learning")
    add("--systems", nargs="+", choices=cago_water.SYSTEMS, default=list(cago_water.SYSTEMS))
    add("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help="of learning")
    add("--jobs", type=int, default=1, help="cells side by side")
    add("--out", type=Path, help="file of finished cells, which is gone on with")
    add("--work", type=Path, help="where structures, committee and runs are kept")
    add("--results", type=Path, default=HERE / "results")
    add("--docs", type=Path, help="put the tables into this page, pictures beside it")
    add("--table", action="store_true", help="only write the tables of what is done by now")
    add("--json", type=Path, help="also write everything measured to this file")
    return parser.parse_args()


def _attacked(result: dict[str, Any]) -> str:
    errors = [row["error"] for row in result["structures"] if row["error"] is not None]
    rms = (sum(e * e for e in errors) / len(errors)) ** 0.5
    return f"real error {1e3 * rms:.0f} meV/Å, rms of {len(errors)}"


def _learnt(result: dict[str, Any]) -> str:
    last = result["rounds"][-1]
    return f"{last['labels']} labels, {last['test']['force_rmse_meV_per_A']:.1f} meV/Å"


if __name__ == "__main__":
    main()
