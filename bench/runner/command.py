"""``python -m bench SUBJECT``: the options all benches share, and the way from cells to tables."""

import argparse
import importlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.runner.cells import listed, run_cells, say, selected
from bench.runner.child import call, needed
from bench.runner.lines import Lines
from bench.runner.parts import Bench, Found, Options, Part, joined
from bench.runner.tables import described, into_docs, machine, table

#: subject → the module that holds its ``BENCH``
SUBJECTS = {
    "acquire": "bench.acquire.acquire_bench",
    "attack": "bench.attack.attack_bench",
    "cago": "bench.cago.cago_bench",
    "doctor": "bench.doctor.doctor_bench",
    "ethanol": "bench.onthefly.ethanol_bench",
    "faults": "bench.faults.faults_bench",
    "onthefly": "bench.onthefly.costs_bench",
    "onthefly-choices": "bench.onthefly.choices_bench",
    "posterior": "bench.posterior.posterior_bench",
    "public-models": "bench.models.public_bench",
    "select": "bench.select.select_bench",
    "strategies": "bench.strategies.strategies_bench",
    "stress": "bench.tune.stress_bench",
    "tune": "bench.tune.tune_bench",
}
RESULTS = Path(__file__).resolve().parents[1] / "results"


def opened(name: str) -> Bench:
    return importlib.import_module(SUBJECTS[name]).BENCH  # type: ignore[no-any-return]


def parsed(bench: Bench, arguments: list[str]) -> Options:
    """The options of a bench, all paths absolute."""
    module = sys.modules[SUBJECTS[bench.name]]
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {bench.name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, help="folder of labelled sets: acac/, 3bpa/, ethanol/, silicon/")
    add("--quick", action="store_true", help="a little of it, minutes")
    add("--list", "--dry-run", action="store_true", help="only say which cells are left, and cost")
    add("--table", action="store_true", help="only write the tables of what is done by now")
    add("--only", nargs="+", default=[], metavar="FIELD=VALUE,…", help="cells that meet all of it")
    add("--jobs", type=int, default=1, help="cells at a time, one thread each")
    add("--out", type=Path, help="file of finished cells (default: below bench/results/runs)")
    add("--work", type=Path, help="where files of cells are kept (default: beside --out)")
    add("--results", type=Path, help="folder for the table (default: bench/results; quick: runs)")
    add("--docs", type=Path, help="also put the tables between this page's marks")
    add("--json", type=Path, help="also write everything measured to this file")
    if len(bench.parts) > 1:
        add("--parts", nargs="+", choices=list(bench.parts), default=list(bench.parts))
    if bench.seeds:
        add("--seeds", type=int, nargs="+", default=list(bench.seeds))
    if bench.options is not None:
        bench.options(add)
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(bench.quick)
    stem = bench.name + ("-quick" if options.quick else "")
    options.out = options.out or RESULTS / "runs" / f"{stem}.jsonl"
    options.work = options.work or options.out.with_suffix("")
    options.results = options.results or (RESULTS / "runs" if options.quick else RESULTS)
    options.parts = getattr(options, "parts", list(bench.parts))
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, value.resolve())
    return options


def lines_of(name: str, part: Part, options: Options) -> Lines[Any]:
    return Lines(options.out, part.conditions(options), part.cell, name)


def planned(part: Part, options: Options, others: Iterable[Part] = ()) -> list[Any]:
    """The cells that are wanted: in the order they are worth having, or shortest first."""
    cells = selected(part.plan(options), options.only, part.cell, [p.cell for p in others])
    return cells if part.ordered else sorted(cells, key=lambda cell: part.cost(cell, options))


def one(subject: str, part: str, cell: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """A cell, in this process. Its CPU seconds are those of the process, if it says no others."""
    from bench.shared.clocks import cpu_seconds

    bench, began = opened(subject), cpu_seconds()
    of = bench.parts[part]
    result = of.run(of.cell(**cell), parsed(bench, arguments))
    return {"cpu": cpu_seconds() - began, **result}


def prepare(subject: str, part: str, cells: list[dict[str, Any]], arguments: list[str]) -> None:
    """What the cells of a part share, in this process."""
    bench = opened(subject)
    of = bench.parts[part]
    assert of.prepare is not None
    of.prepare([of.cell(**cell) for cell in cells], parsed(bench, arguments))


def main(subject: str, arguments: list[str]) -> None:
    """Run what is left of a bench, and write its tables after every cell."""
    bench = opened(subject)
    options = parsed(bench, arguments)
    parts = {name: bench.parts[name] for name in options.parts}
    kept = {n: lines_of(n, part, options) for n, part in parts.items()}
    cells = {name: planned(part, options, parts.values()) for name, part in parts.items()}
    for name, part in parts.items():
        done = kept[name].found
        for cell in cells[name] if part.again is not None else ():
            if cell in done and part.again(done[cell], options):
                del done[cell]
    costs = {n: {c: part.cost(c, options) for c in cells[n]} for n, part in parts.items()}
    if options.list:
        for name, of in costs.items():
            left = sum(cost for cell, cost in of.items() if cell not in kept[name].found)
            print(listed(of, kept[name].found))
            print(f"{name}: about {sum(of.values()) / 60:.0f} CPU min, {left / 60:.0f} left")
        return
    todo = {n: [c for c in cells[n] if c not in kept[n].found] for n in parts if not options.table}
    if bench.data and options.data is None and any(todo.values()):
        say(f"error: {subject} needs --data FOLDER with labelled sets (bench/README.md).")
        sys.exit(2)
    for folder in (options.out.parent, options.work, options.results):
        folder.mkdir(parents=True, exist_ok=True)
    found: Found = {"machine": machine(bench.packages)}
    wrong: list[str] = []

    def write() -> str:
        text = written(bench, options, found)
        title = f"{bench.name}-{found['machine']['date']}" + ("-quick" if options.quick else "")
        (options.results / f"{title}.md").write_text(f"# {title}\n\n{text}")
        return text

    common: dict[str, Any] = {"subject": subject, "arguments": arguments}
    for name, part in parts.items() if not options.table else ():
        if todo[name] and part.prepare is not None:
            left = [asdict(c) for c in todo[name]]
            needed("bench.runner.command:prepare", part=name, cells=left, **common)

        def computed(cell: Any, part: str = name) -> dict[str, Any] | str:
            place = "bench.runner.command:one"
            return call(place, quiet=True, part=part, cell=asdict(cell), **common)

        how: dict[str, Any] = {"work": costs[name].__getitem__, "told": part.told}
        wrong += run_cells(cells[name], kept[name], options.jobs, computed, write, **how)
    text = write()
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.docs:
        into_docs(options.docs, text, bench.name)
    if bench.pictures is not None:
        bench.pictures(found, options.docs.parent if options.docs else options.work)
    print(text)
    if wrong:
        say("\n".join(wrong))
        sys.exit(f"{len(wrong)} cells went wrong; the same command tries them again.")


def written(bench: Bench, options: Options, found: Found) -> str:
    """The page of what is finished of all parts; ``found`` gets all it is written from."""
    for name, part in bench.parts.items():
        lines = lines_of(name, part, options)
        place = {cell: i for i, cell in enumerate(part.plan(options))}
        done = sorted(lines.found, key=lambda c: place.get(c, len(place)))
        found[name] = [joined(c, lines.found[c]) for c in done]
        found.setdefault("conditions", lines.conditions)
    found |= bench.about(options, found) if bench.about is not None else {}
    if not any(found[name] for name in bench.parts):
        return f"{described(found)}.\n\nNothing is finished yet.\n"
    if bench.page is not None:
        return bench.page(found)
    texts = []
    for name, part in bench.parts.items():
        if found[name] and part.columns is not None:
            texts.append(f"## {part.title}\n\n{table(found[name], part.columns)}")
        if found[name] and part.table is not None:
            texts.append(part.table(found[name], found))
    return "\n\n".join([f"{described(found)}; one thread.", *texts]) + "\n"
