"""What on-the-fly fine-tuning costs, part by part, against the same work done with mace itself.

    python bench/onthefly.py [--quick] [--json FILE] [--parts md update …] [--device cpu]

| part | what is timed |
|---|---|
| md | one MD step of ethanol: members in one pass, one by one, one, and `MACECalculator` of all |
| update | one label update, part by part, and the same work written plainly on mace |
| loop | a run in which nothing is uncertain: what the loop costs on top of MD |
| memory | peak memory of MD and of an update |

All ways of a part take turns in one process, one thread; medians of the time on the clock and of
CPU time, which other work on the machine disturbs least. A table goes to ``--out``.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import measure

HERE = Path(__file__).parent
STEPS, UPDATE, COSTS = (HERE / f"onthefly_{name}.py" for name in ("steps", "update", "costs"))
#: the aims: of MACECalculator's time, times faster than plain mace, share of MD's time
AIM, FASTER, SHARE = 0.7, 1.5, 0.05
#: of the on-the-fly paper
PAPER = {"members": 8, "steps": 2000, "batch_size": 5}


def md(options: argparse.Namespace) -> dict[str, Any]:
    """One MD step in both precisions."""
    turns = 8 if options.quick else 60
    found: dict[str, Any] = {}
    for dtype in ("float32", "float64"):
        found[dtype] = measure.worker(
            STEPS, "md", dtype=dtype, device=options.device, members=options.members, turns=turns
        )
    return found


def md_table(found: dict[str, Any], members: int) -> str:
    """Times of every way, and the ratio to `MACECalculator`."""
    lines = [
        f"## One MD step of ethanol, organic-xs, {members} members\n",
        f"Aim: at most {AIM} of `MACECalculator` with the same {members} models. In brackets: the "
        "largest difference of the mean energy (meV) and forces (meV/Å) from its.\n",
        "| | ms | CPU ms | ratio | CPU ratio |\n|---|---|---|---|---|",
    ]
    for dtype, ways in found.items():
        native = ways["MACECalculator"]
        for way, w in ways.items():
            energy, forces = w["off_meV"], w["off_meV_per_A"]
            off = f" ({energy:.2g}, {forces:.2g})" if energy is not None else ""
            ratios = [w[k] / native[k] for k in ("ms", "cpu_ms")]
            lines.append(
                f"| {dtype}, {way}{off} | {w['ms']:.1f} | {w['cpu_ms']:.1f} | "
                f"{ratios[0]:.2f} | {ratios[1]:.2f} |"
            )
    return "\n".join(lines) + "\n"


def update(options: argparse.Namespace) -> dict[str, Any]:
    """One update by the paper's schedule and by the demo's, on a part of the steps."""
    device, labels = options.device, options.labels
    found: dict[str, Any] = {"same": {}, "schedules": {}}
    for dtype in ("float64", "float32"):
        found["same"][dtype] = measure.worker(
            UPDATE, "agree", dtype=dtype, device=device, labels=labels
        )
    schedules = {"paper": PAPER, "demo": measure.worker(COSTS, "sampler")}
    for name, sampler in schedules.items():
        found["schedules"][name] = measure.worker(
            UPDATE, "update", dtype="float32", device=device, labels=labels, sampler=sampler,
            part=10 if options.quick else 40, turns=1 if options.quick else 5,
        )  # fmt: skip
    return found


def update_table(found: dict[str, Any], members: int) -> str:
    """By part, the whole update, the ratio, and what torch spends its time on."""
    gradients = ", ".join(f"{v['gradient']:.1g} ({k})" for k, v in found["same"].items())
    lines = [
        "## One label update of organic-xs on ethanol, float32\n",
        f"Aim: plain mace takes at least {FASTER} times as long. The same work: one minibatch's "
        f"gradients differ by {gradients}, relative; the way of the weights in 20 float64 steps "
        f"by {found['same']['float64']['way']:.1g}.",
    ]
    for name, f in found["schedules"].items():
        lines.append(
            f"\n### {name}: {f['members']} chains × {f['steps']} steps × batch {f['batch_size']} "
            f"of {f['labels']} labels ({f['timed_steps']} steps timed, {f['turns']} turns)\n\n"
            "| CPU ms per step of a chain | tunesmith | plain mace | ratio |\n|---|---|---|---|"
        )
        ours, mace = f["tunesmith"], f["mace"]
        for part, ms in ours["parts_cpu_ms"].items():
            other = mace["parts_cpu_ms"][part]
            lines.append(f"| {part} | {ms:.2f} | {other:.2f} | {other / ms:.2f} |")
        a, b = ours["cpu_ms_per_step"], mace["cpu_ms_per_step"]
        lines.append(f"| **all** | **{a:.2f}** | **{b:.2f}** | **{f['ratio']['cpu']:.2f}** |")
        a, b = ours["ms_per_step"], mace["ms_per_step"]
        lines.append(f"| all, ms on the clock | {a:.2f} | {b:.2f} | {f['ratio']['clock']:.2f} |")
        a, b = ours["update_cpu_s"], mace["update_cpu_s"]
        lines.append(f"| one update, CPU s | {a:.0f} | {b:.0f} | |")
        a, b = ours["once_s"], mace["once_s"]
        lines.append(f"| before its first step, s | {a:.2f} | {b:.2f} | |")
    f = found["schedules"]["paper"]["profile"]
    lines.append("\nWhere the limit is, by torch's profiler (paper's schedule):\n")
    for way, p in f.items():
        largest = [f"{k.removeprefix('aten::')} {100 * v:.0f} %" for k, v in p["largest"].items()]
        lines.append(
            f"- {way}: {p['operations_per_step']:.0f} operations per step of a chain, "
            f"{100 * p['matrix_products']:.0f} % of the time in matrix products; largest: "
            f"{', '.join(largest[:7])}"
        )
    return "\n".join(lines) + "\n"


def loop(options: argparse.Namespace) -> dict[str, Any]:
    """Some hundred steps of the demo's MD through the whole loop, nothing ever uncertain."""
    time_, every = ("20 fs", "0.3 s") if options.quick else ("200 fs", "1 s")
    return measure.worker(COSTS, "loop", time=time_, every=every)


def loop_table(found: dict[str, Any], members: int) -> str:
    """Per step, and as a share of MD's time."""
    clock, cpu = found["clock"], found["cpu"]
    rows = {
        "model_ms": "ms per step, the model", "integrator_ms": "ms per step, integrator",
        "loop_ms": "ms per step, loop and criterion", "store_ms": "ms per step, trajectory",
        "checkpoint_ms": "ms per checkpoint",
        "checkpoint_with_members_ms": "ms per checkpoint after a label, with the members",
        "store_label_ms": "ms to commit a label",
    }  # fmt: skip
    lines = [
        f"## The loop around MD: the demo's, {found['members']} members, {found['steps']} steps\n",
        f"Aim: loop, trajectory and checkpoints take at most {100 * SHARE:.0f} % of MD's time; "
        f"{found['checkpoints']} checkpoints were timed, the share is for one in "
        f"{found['checkpoint_every_s']:g} s.\n\n| | clock | CPU |\n|---|---|---|",
    ]
    lines += [f"| {text} | {clock[k]:.2f} | {cpu[k]:.2f} |" for k, text in rows.items()]
    shares = [f"**{100 * unit['share_of_md']:.1f} %**" for unit in (clock, cpu)]
    lines.append(f"| **share of MD's time** | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Every case in a process of its own."""
    settings = {"dtype": "float32", "device": options.device, "steps": 20}
    cases = {
        "MD, one member": ("md", 1), f"MD, {options.members} members": ("md", options.members),
        "an update, tunesmith": ("tunesmith", options.members),
        "an update, plain mace": ("mace", options.members),
    }  # fmt: skip
    return {
        name: measure.worker(COSTS, "memory", what=what, members=members, **settings)
        for name, (what, members) in cases.items()
    }


def memory_table(found: dict[str, Any], members: int) -> str:
    """MB."""
    lines = [
        f"## Peak memory, MB; updates of {members} chains\n",
        "| | with everything loaded | at its peak | peak on the GPU |\n|---|---|---|---|",
    ]
    for name, f in found.items():
        gpu = f"{f['gpu_peak_mb']:.0f}" if "gpu_peak_mb" in f else ""
        lines.append(f"| {name} | {f['loaded_mb']:.0f} | {f['peak_mb']:.0f} | {gpu} |")
    return "\n".join(lines) + "\n"


#: part → what measures it, and what shows it
PARTS = {
    "md": (md, md_table),
    "update": (update, update_table),
    "loop": (loop, loop_table),
    "memory": (memory, memory_table),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="a few minutes: few turns and steps")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, default=HERE / "results", help="folder for table and JSON")
    add("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    add("--members", type=int, default=8)
    add("--labels", type=int, default=20, help="that an update learns from")
    add("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


def main() -> None:
    options = _options()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    options.out.mkdir(parents=True, exist_ok=True)
    packages = ("torch", "mace-torch", "e3nn", "numpy", "tunesmith")
    found: dict[str, Any] = {
        "machine": measure.machine(packages) | {"device": options.device},
        "members": options.members,
    }
    texts = [", ".join(f"{k} {v}" for k, v in found["machine"].items()) + "; one thread.\n"]
    for part in options.parts:
        run, show = PARTS[part]
        print(f"{part} …", file=sys.stderr, flush=True)
        found[part] = run(options)
        texts.append(show(found[part], options.members))
    name = f"onthefly-{time.strftime('%Y-%m-%d')}-{options.device}"
    name += "-quick" if options.quick else ""
    text, data = f"# {name}\n\n" + "\n".join(texts), json.dumps(found, indent=1) + "\n"
    (options.out / f"{name}.md").write_text(text)
    (options.out / f"{name}.json").write_text(data)
    if options.json:
        options.json.write_text(data)
    print(text)


if __name__ == "__main__":
    main()
