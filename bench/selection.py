"""Selection from large pools: against bmdal_reg, with the pool's size, and from a memory map.

    python bench/selection.py [--quick] [--json FILE] [--parts speed growth map] [--work FOLDER]

speed: LCMD and posterior variance (max-determinant) of both packages on random features, where
no bound helps, and on real ones (activations and tangent kernels): `selection_pool.py`'s frames,
repeated with noise as long as the median distance to the nearest neighbour. Each run in a process
of its own; what it needs beside the features is its peak less what it had when they were there.
growth: time and memory from 10⁴ candidates on. map: 10⁷ candidates in a float16 file.
"""

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import measure
from selection_runs import LABELLED, PICKS, REAL, WIDTH, pool_file

HERE = Path(__file__).resolve().parent
PACKAGES = ("numpy", "torch", "bmdal_reg", "tunesmith")
RULES = ("lcmd", "posterior-variance")
FEATURES = ["random", *REAL]
ALL_RULES = (*RULES, "kcenter")


def run(file: Path, rule: str, package: str, wide: bool = False, mapped: bool = False) -> Any:
    return measure.worker(
        HERE / "selection_runs.py",
        "chosen",
        file=str(file),
        rule=rule,
        package=package,
        wide=wide,
        mapped=mapped,
    )


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Both packages in turns; where float32 makes bmdal_reg pick others, its picks of float64."""
    found: dict[str, Any] = {}
    for kind in options.features:
        file = pool_file(options.work, kind, options.n, options.frames)
        for rule in RULES:
            runs: dict[str, list[Any]] = {"tunesmith": [], "bmdal_reg": []}
            for _ in range(options.repeats):
                for package, done in runs.items():
                    done.append(run(file, rule, package))
            case = {
                p: {k: median(r[k] for r in rs) for k in ("wall_s", "cpu_s", "beside_mb")}
                for p, rs in runs.items()
            }
            mine, other = runs["tunesmith"][0], runs["bmdal_reg"][0]
            same = [first_difference(mine["picks"], other["picks"])]
            if same[0] < PICKS:
                wide = run(file, rule, "bmdal_reg", wide=True)
                same.append(first_difference(mine["picks"], wide["picks"]))
            found[f"{kind} {rule}"] = case | {
                "ratio_wall": case["bmdal_reg"]["wall_s"] / case["tunesmith"]["wall_s"],
                "ratio_cpu": case["bmdal_reg"]["cpu_s"] / case["tunesmith"]["cpu_s"],
                "same_picks": same,
                "work": mine["work"],
            }
            print(f"{kind} {rule}: {found[f'{kind} {rule}']}", file=sys.stderr, flush=True)
    return found


def first_difference(a: list[int], b: list[int]) -> int:
    """How many picks from the first on are the same."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


def speed_table(found: dict[str, Any], options: argparse.Namespace) -> str:
    lines = [
        f"## {options.n} candidates, {PICKS} picks, {LABELLED} labelled, medians of "
        f"{options.repeats}\n",
        f"Random: {WIDTH} float32 features; activation (64) and ntk (128) of organic-xs: "
        f"{options.frames} distinct frames. Same picks: "
        "from the first on, against bmdal_reg in float32 and, where they differ, in float64.\n",
        "| features, rule | tunesmith s (CPU) | bmdal_reg s (CPU) | ratio (CPU) | "
        "beside the features MB | bmdal_reg MB | same picks |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, case in found.items():
        mine, other = case["tunesmith"], case["bmdal_reg"]
        same = ", ".join(f"{s} of {PICKS}" for s in case["same_picks"])
        lines.append(
            f"| {name} | {mine['wall_s']:.2f} ({mine['cpu_s']:.2f}) | {other['wall_s']:.1f} "
            f"({other['cpu_s']:.1f}) | {case['ratio_wall']:.1f} ({case['ratio_cpu']:.1f}) | "
            f"{mine['beside_mb']:.0f} | {other['beside_mb']:.0f} | {same} |"
        )
    lines += ["\n### What each bound saves\n"]
    for name, case in found.items():
        work = case["work"]
        share = {k: f"{100 * v / work['pairs']:.3g} %" for k, v in work.items() if k != "pairs"}
        if name.endswith("lcmd"):
            lines.append(
                f"- {name}: of {work['pairs']:.3g} distances to new centres the triangle "
                f"inequality leaves {share['triangle']}, leading coordinates "
                f"{share['coordinates'] if work['coordinates'] else '(not of use)'}; compared "
                f"{share['compared']}, of a new cluster {share['moved']}; computed in float64 too "
                f"{work['unsure']}; {work['passes']} passes over all features for {PICKS - 1} new "
                "centres."
            )
        else:
            lines.append(f"- {name}: {share['computed']} of the values computed again.")
    return "\n".join(lines)


def growth(options: argparse.Namespace) -> dict[str, Any]:
    """Every rule on pools ten times as large each."""
    found: dict[str, Any] = {}
    for kind in options.features:
        for rule in ALL_RULES:
            n = options.n // 100
            while n <= options.n:
                file = pool_file(options.work, kind, n, options.frames)
                done = [run(file, rule, "tunesmith") for _ in range(options.repeats)]
                keys = ("wall_s", "cpu_s", "beside_mb")
                middle = {k: median(d[k] for d in done) for k in keys}
                found.setdefault(f"{kind} {rule}", {})[n] = middle
                n *= 10
    return found


def growth_table(found: dict[str, Any], options: argparse.Namespace) -> str:
    sizes = list(next(iter(found.values())))
    lines = [
        "## Growth\n",
        "Seconds (CPU) of tunesmith, and times for ten times as many candidates (CPU).\n",
        "| features, rule | " + " | ".join(f"{int(n):.0e}" for n in sizes) + " | growth |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for name, case in found.items():
        cpu = [case[n]["cpu_s"] for n in sizes]
        cells = [f"{case[n]['wall_s']:.3g} ({case[n]['cpu_s']:.3g})" for n in sizes]
        times = ", ".join(f"{b / a:.1f}" for a, b in pairwise(cpu))
        lines.append(f"| {name} | {' | '.join(cells)} | {times} |")
    return "\n".join(lines)


def mapped(options: argparse.Namespace) -> dict[str, Any]:
    """A pool that stays in its file."""
    file = pool_file(options.work, "half", 10 * options.n, 0)
    gb = file.stat().st_size / 1e9
    return {r: run(file, r, "tunesmith", mapped=True) | {"file_gb": gb} for r in ALL_RULES}


def mapped_table(found: dict[str, Any], options: argparse.Namespace) -> str:
    first = next(iter(found.values()))
    lines = [
        f"## {10 * options.n} candidates × {WIDTH} float16, memory-mapped: {first['file_gb']:.2f} "
        "GB\n",
        "| rule | s (CPU) | memory MB, pages of the file left out |",
        "|---|---|---|",
    ]
    for rule, r in found.items():
        lines.append(f"| {rule} | {r['wall_s']:.1f} ({r['cpu_s']:.1f}) | {r['beside_mb']:.0f} |")
    return "\n".join(lines)


PARTS = {
    "speed": (speed, speed_table),
    "growth": (growth, growth_table),
    "map": (mapped, mapped_table),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="about a minute: 20 000 candidates, once")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, default=HERE / "results", help="folder for the tables")
    add("--name", default="select", help="of the tables' file, before the date")
    add("--work", type=Path, default=HERE / "results" / "runs" / "select")
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--features", nargs="+", choices=FEATURES, default=FEATURES)
    add("--n", type=int, default=1_000_000, help="candidates; the memory map has ten times as many")
    add("--frames", type=int, default=100_000, help="distinct ones of the real features")
    add("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.n, options.frames, options.repeats = 20_000, 2_000, 1
    found: dict[str, Any] = {"machine": measure.machine(PACKAGES)}
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    texts = [f"# Selection from large pools, {found['machine']['date']}\n\n{about}; one thread."]
    for part in options.parts:
        work, table = PARTS[part]
        found[part] = work(options)
        texts.append(table(found[part], options))
        print(texts[-1], flush=True)
    if not options.quick:
        file = options.out / f"{options.name}-{found['machine']['date']}.md"
        file.write_text("\n\n".join(texts) + "\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
