"""Fine-tuning strategies side by side on small sets of acac and 3BPA, from organic-xs.

    python bench/strategies.py --data FOLDER [--quick] [--json FILE] [--jobs 2]

FOLDER holds acac/ and 3bpa/ with train_300K.xyz and the isolated atoms. Every strategy has the
same number of optimiser steps (`--steps`) on N labels, of which a tenth choose the best epoch as
`tunesmith tune` does. A finished cell is a line of `--out`: the same command goes on where it was
stopped, and the cells of the first seed come first, so that a partial run is already a table.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measure
import strategies_findings
import strategies_table
from strategies_cells import BATCH, FILES, MODEL, VALID
from strategies_plan import BEST_E0, COSTS, Cell, grid, selected, work

HERE = Path(__file__).parent
CELLS = HERE / "strategies_cells.py"
PACKAGES = ("torch", "mace-torch", "e3nn", "numpy", "tunesmith")


# --------------------------------------------------------------------------- the running


def child(step: str, **arguments: Any) -> dict[str, Any] | str:
    """A step in a process of its own, one thread: its answer, or the end of what it complained."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, str(CELLS), step, json.dumps(arguments)]
    quiet = step == "cell"
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
        env=os.environ | one_thread,
    )
    if done.returncode:
        return "\n".join((done.stderr or "").splitlines()[-8:]) or f"exit code {done.returncode}"
    return dict(json.loads(done.stdout.splitlines()[-1]))


def needed(step: str, **arguments: Any) -> dict[str, Any]:
    """As `child`, and without its answer there is no going on."""
    answer = child(step, **arguments)
    if isinstance(answer, str):
        sys.exit(f"strategies_cells.py {step} failed: {answer}")
    return answer


class Lines:
    """A file of finished cells, one JSON object a line, each with the conditions it was made in."""

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        self.path, self.conditions = path, conditions
        self.found: dict[Cell, dict[str, Any]] = {}
        text = path.read_text() if path.exists() else ""
        self._begin = "\n" if text and not text.endswith("\n") else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a kill tore it; that cell is done again
            if entry["conditions"] == conditions:
                self.found[Cell(**entry["cell"])] = entry["result"]

    def add(self, cell: Cell, result: dict[str, Any]) -> None:
        self.found[cell] = result
        entry = {"cell": asdict(cell), "conditions": self.conditions, "result": result}
        with self.path.open("a") as out:
            out.write(self._begin + json.dumps(entry) + "\n")
        self._begin = ""


def run_cells(
    cells: list[Cell],
    lines: Lines,
    jobs: int,
    one: Callable[[Cell], dict[str, Any] | str],
    written: Callable[[], None],
) -> list[str]:
    """Every cell that has no line yet, ``jobs`` at a time; what went wrong with others.

    one: computes a cell. written: called after every line.
    """
    todo = [c for c in cells if c not in lines.found]
    if len(todo) < len(cells):
        say(f"{len(cells) - len(todo)} of {len(cells)} cells are done already.")
    started, left, wrong = time.monotonic(), sum(map(work, todo)), []
    total = left
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[dict[str, Any] | str], Cell] = {}
        try:
            running = {pool.submit(one, cell): cell for cell in todo}
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell, answer = running.pop(future), future.result()
                    left -= work(cell)
                    if isinstance(answer, str):
                        wrong.append(f"{cell.name}: {answer}")
                        say(f"{cell.name} went wrong:\n{answer}")
                        continue
                    lines.add(cell, answer)
                    written()
                    rest = (time.monotonic() - started) * left / max(total - left, 1)
                    say(
                        f"[{len(cells) - len(running)}/{len(cells)}] {cell.name}: {told(answer)}; "
                        f"about {rest / 60:.0f} min left"
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return wrong


def told(result: dict[str, Any]) -> str:
    """One line of a result."""
    if "failed" in result:
        return f"ended with an error: {result['failed']}"
    return (
        f"{result['force_rmse']:.1f} meV/Å, {result['energy_rmse']:.2f} meV/atom, on the "
        f"forgetting set {result['forgetting']:.0f} meV/Å; {result['cpu']:.0f} CPU s"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    lines = Lines(path, conditions)
    if options.list:
        for cell in chosen:
            print(f"{'done' if cell in lines.found else '    '} {cell.name}")
        return
    where: Any = {"folder": str(folder), "systems": options.systems}
    sizes = sorted({*options.sizes, *([50] if options.rounds else [])})
    how = {"sizes": sizes, "seeds": options.seeds, "held_out": options.held_out}
    needed("prepare", data=str(options.data), **where, **how)
    found = {
        "machine": measure.machine(PACKAGES),
        "steps": options.steps,
        "conditions": conditions,
        "best_e0": BEST_E0,
        "foundation": needed("foundation", **where, forgetting=options.forgetting),
        "cost": costs(options, folder),
    }

    def one(cell: Cell) -> dict[str, Any] | str:
        return child("cell", folder=str(folder), forgetting=options.forgetting, **asdict(cell))

    def write() -> None:
        wanted = set(everything)
        found["cells"] = [record(c, r) for c, r in lines.found.items() if c in wanted]
        text = json.dumps(found, indent=1) + "\n"
        (options.results / f"{name}.json").write_text(text)
        (options.results / f"{name}.md").write_text(f"# {name}\n\n{report(found)}")

    write()
    wrong = run_cells(chosen, lines, options.jobs, one, write)
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
    return f"{tables}\n## Published findings\n\n{verdicts}\n"


def costs(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The cost section, measured once: alone, before any cell runs beside it."""
    kept = folder / "cost.json"
    if not options.rounds:
        return {}
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    system, steps = options.systems[0], options.cost_steps
    arguments: Any = {"system": system, "strategies": COSTS, "steps": steps}
    answer = needed("cost", folder=str(folder), rounds=options.rounds, **arguments)
    answer.pop("seconds")
    found = {"system": system, "rounds": options.rounds, "strategies": answer}
    kept.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
