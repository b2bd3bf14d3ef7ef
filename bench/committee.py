"""What a committee costs: eight members, over two processes and in one, against one member.

Every fit runs all its epochs on the same number of structures. Wall and CPU time are those of the
whole fit, the start of the worker processes included; the ways take turns, medians over repeats.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

import measure
from tunesmith.core import E0s
from tunesmith.data.checks import separate_isolated
from tunesmith.data.e0 import choose_e0s
from tunesmith.data.formats import read_frames
from tunesmith.engines.processes import executor
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.committee import Committee
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem
from tunesmith.tune.replay import predicted
from tunesmith.tune.subspace import All

SHIPPED = Path(__file__).resolve().parent.parent / "examples" / "data" / "ethanol-train.xyz"
ONE, TWO, ALONE = "one member", "committee, two processes", "committee, one process"


def aligned(potential: Potential, frames: list[Any]) -> E0s:
    """E0s of the labels, estimated from them."""
    energies = [label.energy for label in predicted(potential, frames)]
    return choose_e0s(
        "reestimate", frames=frames, foundation=potential.e0s, predicted=torch.tensor(energies)
    )


def problem(file: Path, n: int) -> Problem:
    """The first n structures to learn from, ten others to choose the best epoch."""
    frames, _ = separate_isolated(read_frames(file)[0])
    potential = zoo.load("organic-xs")
    train, valid = frames[:n], frames[n : n + 10]
    zero = aligned(potential, train)
    return Problem(potential, All(), NoAnchor(), Huber(), train, valid, zero, seed=0)


def ways(task: Problem, members: int, epochs: int) -> dict[str, Callable[[], object]]:
    """What is compared."""
    same = {"epochs": epochs, "patience": epochs}
    committee = Committee(members=members, **same)

    def over(processes: int) -> object:
        with executor(processes, 1) as pool:
            return committee.fit(task, executor=pool)

    return {
        ONE: lambda: AdamW(**same).fit(task),
        TWO: lambda: over(2),
        ALONE: lambda: over(1),
    }


def cpu() -> float:
    """Seconds used so far by this process and those that have ended."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds of one call."""
    began, used = time.perf_counter(), cpu()
    work()
    return {"wall_s": time.perf_counter() - began, "cpu_s": cpu() - used}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, help="folder that holds acac/train_300K.xyz; default: our ethanol")
    add("--quick", action="store_true", help="about a minute: 10 frames, 10 epochs, once")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--members", type=int, default=8)
    add("--frames", type=int, default=50)
    add("--epochs", type=int, default=60)
    add("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.frames, options.epochs, options.repeats = 10, 10, 1
    torch.set_num_threads(1)
    file = options.data / "acac" / "train_300K.xyz" if options.data else SHIPPED
    task = problem(file, options.frames)
    AdamW(epochs=1).fit(task)  # whatever is slow the first time
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for name, work in ways(task, options.members, options.epochs).items():
            runs.setdefault(name, []).append(timed(work))
    middle = {w: {k: median(r[k] for r in rs) for k in rs[0]} for w, rs in runs.items()}
    ratio = {w: {k: v / middle[ONE][k] for k, v in m.items()} for w, m in middle.items()}
    found = {
        "machine": measure.machine(("torch", "mace-torch", "e3nn", "tunesmith")),
        "data": file.name,
        **{name: getattr(options, name) for name in ("members", "frames", "epochs", "repeats")},
        "runs": runs,
        "ratio_to_one_member": ratio,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, middle))


def table(found: dict[str, Any], middle: dict[str, dict[str, float]]) -> str:
    """The medians as Markdown."""
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    lines = [
        f"{about}; {found['data']}: {found['frames']} frames, {found['epochs']} epochs, "
        f"{found['members']} members, medians of {found['repeats']}.\n",
        "| | wall s | CPU s | wall, times one member | CPU, times one member |",
        "|---|---|---|---|---|",
    ]
    for way, m in middle.items():
        r = found["ratio_to_one_member"][way]
        lines.append(
            f"| {way} | {m['wall_s']:.1f} | {m['cpu_s']:.1f} | {r['wall_s']:.2f} | "
            f"{r['cpu_s']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
