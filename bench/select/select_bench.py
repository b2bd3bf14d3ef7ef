"""Selection from large pools: against bmdal_reg, with the pool's size, from a memory map; and what
the vectors cost that it is made by.

speed: LCMD and posterior variance (max-determinant) of both packages on random features, where no
bound helps, and on real ones (`pools.py`), repeated with noise as long as the median distance to
the nearest neighbour. growth: time and memory from a hundredth of the candidates on. map: ten times
as many candidates in a float16 file. kernels: tangent kernels of a batch in one backward pass,
against one per structure and against the energies alone. stream: a pool file of many frames, time
and peak memory.

Each run is a process of its own; what it needs beside the features is its peak less what it had
when they were there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.runner.child import needed
from bench.runner.parts import Bench, Found, Named, Options, Part, Record
from bench.runner.tables import grouped, markdown, table
from bench.select.features_cost import (
    Kernels,
    Streamed,
    kernel_table,
    kernels,
    stream_table,
    streamed,
)
from bench.select.one_selection import LABELLED, PICKS, REAL, WIDTH, pool_file
from bench.shared.clocks import medians

RULES = ("lcmd", "posterior-variance")
FEATURES = ["random", *REAL]
ALL_RULES = (*RULES, "kcenter")
PACKAGES = ("tunesmith", "bmdal_reg")
SPENT = ("wall_s", "cpu_s", "beside_mb")


@dataclass(frozen=True)
class Choice(Named):
    """Choosing from n candidates. frames: distinct ones of real features."""

    features: str
    rule: str
    n: int
    frames: int
    repeats: int


@dataclass(frozen=True)
class Mapped(Named):
    """A pool that stays in its file."""

    rule: str
    n: int


def run(
    it: Any, options: Options, package: str, wide: bool = False, mapped: bool = False
) -> Record:
    """One selection in a process of its own."""
    features, frames = getattr(it, "features", "half"), getattr(it, "frames", 0)
    file = str(pool_file(options.work, features, it.n, frames))
    how = {"file": file, "rule": it.rule, "package": package, "wide": wide, "mapped": mapped}
    return needed("bench.select.one_selection:chosen", **how)


def versus(it: Choice, options: Options) -> Record:
    """Both packages in turns; where float32 makes bmdal_reg pick others, also by float64."""
    turns = [{p: run(it, options, p) for p in PACKAGES} for _ in range(it.repeats)]
    case: Record = {p: medians({k: t[p][k] for k in SPENT} for t in turns) for p in PACKAGES}
    mine, other = (turns[0][p] for p in PACKAGES)
    same = [first_difference(mine["picks"], other["picks"])]
    if same[0] < PICKS:
        wide = run(it, options, "bmdal_reg", wide=True)
        same.append(first_difference(mine["picks"], wide["picks"]))
    for what in ("wall", "cpu"):
        ours, theirs = (case[p][f"{what}_s"] for p in PACKAGES)
        case[f"ratio_{what}"] = theirs / ours
    return case | {"same_picks": same, "work": mine["work"]}


def first_difference(a: list[int], b: list[int]) -> int:
    """How many picks from the first on are the same."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


def grown(it: Choice, options: Options) -> Record:
    """This package alone."""
    runs = [run(it, options, "tunesmith") for _ in range(it.repeats)]
    return medians({k: r[k] for k in SPENT} for r in runs)


def mapped(it: Mapped, options: Options) -> Record:
    size = pool_file(options.work, "half", it.n, 0).stat().st_size
    return run(it, options, "tunesmith", mapped=True) | {"file_gb": size / 1e9}


# -------------------------------------------------------------------------------- tables


def versus_table(records: list[Record], _: Found) -> str:
    one = records[0]
    columns: dict[str, Any] = {
        "features, rule": "{features} {rule}",
        "tunesmith s (CPU)": "{tunesmith[wall_s]:.2f} ({tunesmith[cpu_s]:.2f})",
        "bmdal_reg s (CPU)": "{bmdal_reg[wall_s]:.1f} ({bmdal_reg[cpu_s]:.1f})",
        "ratio (CPU)": "{ratio_wall:.1f} ({ratio_cpu:.1f})",
        "beside the features MB": "{tunesmith[beside_mb]:.0f}",
        "bmdal_reg MB": "{bmdal_reg[beside_mb]:.0f}",
        "same picks": lambda r: ", ".join(f"{s} of {PICKS}" for s in r["same_picks"]),
    }
    bounds = "\n".join(f"- {r['features']} {r['rule']}: {_saved(r)}" for r in records)
    return (
        f"## {one['n']} candidates, {PICKS} picks, {LABELLED} labelled, medians of "
        f"{one['repeats']}\n\nRandom: {WIDTH} float32 features; activation (64) and ntk (128) of "
        f"organic-xs: {one['frames']} distinct frames. Same picks: from the first on, against "
        f"bmdal_reg in float32 and, where they differ, in float64.\n\n{table(records, columns)}\n\n"
        f"### What each bound saves\n\n{bounds}"
    )


def _saved(record: Record) -> str:
    work = record["work"]
    share = {k: f"{100 * v / work['pairs']:.3g} %" for k, v in work.items() if k != "pairs"}
    if record["rule"] != "lcmd":
        return f"{share['computed']} of the values computed again."
    return (
        f"of {work['pairs']:.3g} distances to new centres the triangle inequality leaves "
        f"{share['triangle']}, leading coordinates "
        f"{share['coordinates'] if work['coordinates'] else '(not of use)'}; compared "
        f"{share['compared']}, of a new cluster {share['moved']}; computed in float64 too "
        f"{work['unsure']}; {work['passes']} passes over all features for {PICKS - 1} new centres."
    )


def grown_table(records: list[Record], _: Found) -> str:
    sizes = sorted({r["n"] for r in records})
    rows = []
    for (features, rule), own in grouped(records, lambda r: (r["features"], r["rule"])).items():
        of = {r["n"]: r for r in own}
        known = [of[n] for n in sizes if n in of]
        cells = [f"{of[n]['wall_s']:.3g} ({of[n]['cpu_s']:.3g})" if n in of else "–" for n in sizes]
        times = ", ".join(f"{b['cpu_s'] / a['cpu_s']:.1f}" for a, b in pairwise(known))
        rows.append([f"{features} {rule}", *cells, times])
    text = "Seconds (CPU) of tunesmith, and times for ten times as many candidates (CPU)."
    headings = ["features, rule", *(f"{n:.0e}" for n in sizes), "growth"]
    return f"## Growth\n\n{text}\n\n{markdown(headings, rows)}"


def options(add: Callable[..., Any]) -> None:
    add("--features", nargs="+", choices=FEATURES, default=FEATURES)
    add("--n", type=int, default=1_000_000, help="candidates; the memory map has ten times as many")
    add("--frames", type=int, default=100_000, help="distinct ones of real features; of the stream")
    add("--repeats", type=int, default=3)
    add("--model", default="organic-xs", help="of the vectors")
    add("--batch", type=int, nargs="+", default=[32, 64], help="of the kernels")
    add("--rounds", type=int, default=7, help="of the kernels")
    add("--representations", nargs="+", default=["ntk", "activation"], help="of the stream")


def growing(o: Options) -> list[Choice]:
    sizes = [o.n // 100, o.n // 10, o.n]
    every = [(kind, rule, n) for kind in o.features for rule in ALL_RULES for n in sizes]
    return [Choice(*which, o.frames, o.repeats) for which in every]


def versuses(o: Options) -> list[Choice]:
    how = (o.n, o.frames, o.repeats)
    return [Choice(kind, rule, *how) for kind in o.features for rule in RULES]


BENCH = Bench(
    name="select",
    packages=("numpy", "torch", "mace-torch", "ase", "bmdal_reg", "tunesmith"),
    parts={
        "speed": Part(
            cell=Choice,
            plan=versuses,
            run=versus,
            cost=lambda it, _: 20 + 3e-4 * it.n,
            table=versus_table,
        ),
        "growth": Part(
            cell=Choice,
            plan=growing,
            run=grown,
            cost=lambda it, _: 10 + 2e-5 * it.n * it.repeats,
            table=grown_table,
        ),
        "map": Part(
            cell=Mapped,
            plan=lambda o: [Mapped(rule, 10 * o.n) for rule in ALL_RULES],
            run=mapped,
            cost=lambda it, _: 10 + 2e-5 * it.n,
            title="A memory-mapped pool",
            columns={
                "rule": "{rule}",
                "candidates": "{n}",
                f"× {WIDTH} float16, GB": "{file_gb:.2f}",
                "s (CPU)": "{wall_s:.1f} ({cpu_s:.1f})",
                "memory MB, pages of the file left out": "{beside_mb:.0f}",
            },
        ),
        "kernels": Part(
            cell=Kernels,
            plan=lambda o: [Kernels(o.model, batch, o.rounds) for batch in o.batch],
            run=kernels,
            cost=lambda it, _: 10 + 5.0 * it.rounds,
            table=kernel_table,
        ),
        "stream": Part(
            cell=Streamed,
            plan=lambda o: [Streamed(kind, o.model, o.frames) for kind in o.representations],
            run=streamed,
            cost=lambda it, _: 30 + 2.5e-3 * it.frames,
            table=stream_table,
        ),
    },
    options=options,
    quick={"n": 20_000, "frames": 2_000, "repeats": 1, "rounds": 3},
)
