"""What on-the-fly fine-tuning costs, part by part, against the same work done with mace itself.

| part | what is timed |
|---|---|
| md | one MD step of ethanol: members in one pass, one by one, one, and `MACECalculator` of all |
| same | whether an update and the same work written plainly on mace are the same |
| update | one label update, part by part, by either |
| loop | a run in which nothing is uncertain: what the loop costs on top of MD |
| memory | peak memory of MD and of an update |

All ways of a part take turns in one process, one thread; medians of the time on the clock and of
CPU time, which other work on the machine disturbs least.
"""

from collections.abc import Callable
from typing import Any

from bench.onthefly import step_cost
from bench.onthefly.loop_cost import Loop, Peak, loop, memory, recipe
from bench.onthefly.step_cost import AIM, Step
from bench.onthefly.update_cost import PARTS, TRACK, Same, Schedule, agree, update
from bench.runner.parts import Bench, Found, Options, Part, Record
from bench.runner.tables import markdown, table

#: the aims: times faster than plain mace, share of MD's time
FASTER, SHARE = 1.5, 0.05
#: of the on-the-fly paper: members, steps, batch
PAPER = (8, 2000, 5)
DTYPES = ("float64", "float32")


def md_table(records: list[Record], _: Found) -> str:
    columns = {
        "": "{way}",
        **{"ms": "{ms:.1f}", "CPU ms": "{cpu_ms:.1f}"},
        **{"ratio": "{wal:.2f}", "CPU ratio": "{cpu:.2f}"},
    }
    n = records[0]["members"]
    return (
        f"## One MD step of ethanol, organic-xs, {n} members\n\n"
        f"Aim: at most {AIM} of `MACECalculator` with the same {n} models. In brackets: the "
        "largest difference of the mean energy (meV) and forces (meV/Å) from its.\n\n"
        f"{table(step_cost.rows(records), columns)}"
    )


def same_table(records: list[Record], _: Found) -> str:
    gradients = ", ".join(f"{r['gradient']:.1g} ({r['dtype']})" for r in records)
    way = ", ".join(f"{r['way']:.1g}" for r in records if "way" in r) or "–"
    return (
        "## One label update of organic-xs on ethanol, float32\n\n"
        f"The same work: one minibatch's gradients differ by {gradients}, relative; the way of the "
        f"weights in {TRACK} float64 steps by {way}."
    )


def update_table(records: list[Record], _: Found) -> str:
    """By part, the whole update, the ratio, and what torch spends its time on."""
    return "\n\n".join(text for r in records for text in (_schedule(r), _limit(r)))


def _schedule(r: Record) -> str:
    ours, mace = r["tunesmith"], r["mace"]
    rows = [(p, ours["parts_cpu_ms"][p], mace["parts_cpu_ms"][p], ".2f") for p in PARTS]
    rows += [
        ("**all**", ours["cpu_ms_per_step"], mace["cpu_ms_per_step"], ".2f"),
        ("all, ms on the clock", ours["ms_per_step"], mace["ms_per_step"], ".2f"),
        ("one update, CPU s", ours["update_cpu_s"], mace["update_cpu_s"], ".0f"),
        ("before its first step, s", ours["once_s"], mace["once_s"], ".2f"),
    ]
    ratio = f"{r['ratio']['cpu']:.2f} in CPU time, {r['ratio']['clock']:.2f} on the clock"
    headings = ["CPU ms per step of a chain", "tunesmith", "plain mace", "ratio"]
    return (
        f"### {r['schedule']}: {r['members']} chains × {r['steps']} steps × batch "
        f"{r['batch_size']} of {r['labels']} labels ({r['part']} steps timed, {r['turns']} turns)"
        f"\n\nAim: plain mace takes at least {FASTER} times as long; by turns: **{ratio}**.\n\n"
        + markdown(headings, [[n, f"{a:{f}}", f"{b:{f}}", f"{b / a:.2f}"] for n, a, b, f in rows])
    )


def _limit(r: Record) -> str:
    lines = ["Where the limit is, by torch's profiler:\n"]
    for way, p in r["profile"].items():
        largest = [f"{k.removeprefix('aten::')} {100 * v:.0f} %" for k, v in p["largest"].items()]
        lines.append(
            f"- {way}: {p['operations_per_step']:.0f} operations per step of a chain, "
            f"{100 * p['matrix_products']:.0f} % of the time in matrix products; largest: "
            f"{', '.join(largest[:7])}"
        )
    return "\n".join(lines)


ROWS = {
    "ms per step, the model": "model",
    "ms per step, integrator": "integrator",
    "ms per step, loop and criterion": "loop",
    "ms per step, trajectory": "store",
    "ms per checkpoint": "checkpoint",
    "ms per checkpoint after a label, with the members": "first checkpoint",
    "ms to commit a label": "label store",
}


def loop_table(records: list[Record], _: Found) -> str:
    """Per step, and as a share of MD's time."""
    (r,) = records
    rows = [[t, *(f"{r[u][k]:.2f}" for u in ("clock_ms", "cpu_ms"))] for t, k in ROWS.items()]
    shares = [f"**{100 * r[unit]:.1f} %**" for unit in ("clock_share", "cpu_share")]
    return (
        f"## The loop around MD: the demo's, {r['members']} members, {r['steps']} steps\n\n"
        f"Aim: loop, trajectory and checkpoints take at most {100 * SHARE:.0f} % of MD's time; "
        f"{r['checkpoints']} checkpoints were timed, the share is for one in "
        f"{r['checkpoint_every_s']:g} s.\n\n"
        + markdown(["", "clock", "CPU"], [*rows, ["**share of MD's time**", *shares]])
    )


def schedules(o: Options) -> list[Schedule]:
    """The paper's and the demo's, on a part of the steps."""
    demo: Any = recipe().tune.sampler
    of = {"paper": PAPER, "demo": (demo.members, demo.steps, demo.batch_size)}
    return [Schedule(name, o.device, o.labels, o.part, o.turns, *how) for name, how in of.items()]


def peaks(o: Options) -> list[Peak]:
    cases = (("md", 1), *((what, o.members) for what in ("md", "tunesmith", "mace")))
    return [Peak(what, members, o.device) for what, members in cases]


def options(add: Callable[..., Any]) -> None:
    add("--members", type=int, default=8)
    add("--labels", type=int, default=20, help="that an update learns from")
    add("--device", default="cpu", help="cpu or cuda")
    add("--md-turns", type=int, default=60, help="of the ways of an MD step")
    add("--part", type=int, default=40, help="steps of an update that are timed")
    add("--turns", type=int, default=5, help="of the ways of an update")
    add("--time", default="200 fs", help="of the run in which nothing is uncertain")


BENCH = Bench(
    name="onthefly",
    packages=("torch", "mace-torch", "e3nn", "numpy", "tunesmith"),
    parts={
        "md": Part(
            cell=Step,
            plan=lambda o: [Step(d, o.device, o.members, o.md_turns) for d in DTYPES],
            run=step_cost.measured,
            cost=lambda it, _: 15 + 0.3 * it.turns,
            table=md_table,
        ),
        "same": Part(
            cell=Same,
            plan=lambda o: [Same(d, o.device, o.labels) for d in DTYPES],
            run=agree,
            cost=lambda *_: 40.0,
            table=same_table,
        ),
        "update": Part(
            cell=Schedule,
            plan=schedules,
            run=update,
            cost=lambda it, _: 60 + 0.05 * it.part * it.turns * it.members,
            table=update_table,
        ),
        "loop": Part(
            cell=Loop,
            plan=lambda o: [Loop(o.time, "1 s")],
            run=loop,
            cost=lambda *_: 60.0,
            table=loop_table,
        ),
        "memory": Part(
            cell=Peak,
            plan=peaks,
            run=memory,
            cost=lambda *_: 30.0,
            title="Peak memory, MB",
            columns={
                "": "{what}, {members} members",
                "with everything loaded": "{loaded_mb:.0f}",
                "at its peak": "{peak_mb:.0f}",
                "peak on the GPU": lambda r: f"{r['gpu_peak_mb']:.0f}" if r["gpu_peak_mb"] else "–",
            },
        ),
    },
    options=options,
    quick={"md_turns": 8, "part": 10, "turns": 1, "time": "20 fs"},
)
