"""What an adversarial attack costs: the exact gradient of its objective against finite differences,
against the committee's forces alone, and in memory; and what a whole attack costs.

Boxes of water at 1 g/cm³ and three members: organic-xs with weights moved at random, as the cost
does not ask how good they are. Both gradients are of the same objective, positions and cell, and
must agree. CPU seconds throughout (on a busy machine wall time says little), medians over repeats.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import measure

MEMBERS, TARGET = 3, "100 meV/Å"
#: calls up to which finite differences are made in full, and how many are made of more
FULL, SAMPLE = 300, 60


def water(molecules: int, seed: int = 0) -> Any:
    """A cubic number of molecules on a grid, each turned so that it keeps clear of the others."""
    from ase import Atoms
    from ase.build import molecule

    rng, side = np.random.default_rng(seed), round(molecules ** (1 / 3))
    spacing = 3.104  # Å, of 1 g/cm³
    box = Atoms(cell=3 * [side * spacing], pbc=True)
    for site in np.ndindex(side, side, side):
        best, clear = None, -1.0
        for _ in range(20):
            one = molecule("H2O")
            one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
            one.positions += (np.array(site) + 0.5) * spacing - one.get_center_of_mass()
            off = one.positions[:, None] - box.positions
            off -= np.round(off / box.cell.lengths()) * box.cell.lengths()
            nearest = float(np.linalg.norm(off, axis=-1).min()) if len(box) else 9.0
            if nearest > clear:
                best, clear = one, nearest
        box += best
    box.positions += rng.normal(scale=0.03, size=box.positions.shape)
    return box


def committee(dtype: str) -> Any:
    """organic-xs and random changes of its weights by a fiftieth of their size."""
    import torch

    from tunesmith.core import E0s
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.potentials import zoo

    torch.set_num_threads(1)
    potential = zoo.load("organic-xs", dtype=dtype)
    generator, own, members = torch.Generator().manual_seed(1), potential.weights(), []
    for _ in range(MEMBERS):
        changed = dict(own)
        for name in potential.names.trainable():
            noise = torch.randn(own[name].shape, generator=generator, dtype=torch.float64)
            size = own[name].double().square().mean().sqrt()
            changed[name] = own[name] + (0.02 * size * noise).to(own[name])
        members.append(changed)
    return Ensemble(potential, members, E0s(potential.e0s))


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of a call."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return median(taken)


def costs(molecules: int, repeats: int, slow: int) -> dict[str, Any]:
    """Seconds of the committee's forces, of the exact gradient and of finite differences.

    slow: how often finite differences are made; 0: not at all.
    """
    from tunesmith.attack.adversary import Adversary
    from tunesmith.attack.search import Attack
    from tunesmith.core import Quantities

    posterior, box = committee("float64"), water(molecules)
    objective = Attack(target=TARGET).objective(None)
    adversary = Adversary(posterior, objective)
    batch = max(1, 200 // len(box))

    def models(frames: list[Any]) -> list[Quantities]:
        found = []
        for i in range(0, len(frames), batch):
            part = frames[i : i + batch]
            said = posterior.predict(part).members
            ends = np.cumsum([len(a) for a in part])[:-1]
            forces = np.split(np.array([m.forces for m in said]), ends, axis=1)
            energy = np.array([m.energy for m in said])
            found += [Quantities(energy[:, k], f) for k, f in enumerate(forces)]
        return found

    for _ in range(2):  # whatever is slow the first time
        posterior.predict([box])
        exact = adversary.evaluate({0: box})[0]
    found = {
        "atoms": len(box),
        "members": MEMBERS,
        "forces_s": seconds(lambda: posterior.predict([box]), repeats),
        "exact_s": seconds(lambda: adversary.evaluate({0: box}), repeats),
    }
    found["exact_in_forces"] = found["exact_s"] / found["forces_s"]
    if slow:
        found |= differences_of(box, models, objective, exact, slow)
        found["times_as_fast"] = found["differences_s"] / found["exact_s"]
    return found


def differences_of(
    box: Any, models: Callable[[list[Any]], list[Any]], objective: Any, exact: Any, repeats: int
) -> dict[str, Any]:
    """Seconds of the whole gradient by two-point differences, and how far it is from the exact.

    Of over `FULL` calls `SAMPLE` are made and timed, all alike, and the seconds scaled to all.
    """
    from tunesmith.attack.differences import Differences

    differences = Differences(models, objective)
    plan = [box, *differences.displaced(box)]
    chosen = np.arange(len(plan))
    if len(plan) > FULL:
        drawn = 1 + np.random.default_rng(0).permutation(len(plan) - 1)[: SAMPLE - 1]
        chosen = np.concatenate([[0], np.sort(drawn)])
    values: list[float] = []

    def make() -> None:
        values[:] = [objective.judge(q).value for q in models([plan[i] for i in chosen])]

    taken = seconds(make, repeats) * len(plan) / len(chosen)
    slopes = (np.array(values[1:]) - values[0]) / differences.step
    right, n = [exact.positions.ravel(), exact.strain.ravel()], 3 * len(box)
    off = np.abs(slopes - np.concatenate(right)[chosen[1:] - 1])
    scale = np.where(chosen[1:] - 1 < n, *[np.abs(part).max() for part in right])
    return {
        "differences_s": taken,
        "calls": len(plan),
        "timed_calls": len(chosen),
        "off": float((off / scale).max()),
    }


def attacks(molecules: int, structures: int, dtype: str) -> dict[str, Any]:
    """CPU seconds of whole attacks at twice the starting spread, in units of the force call."""
    from tunesmith.attack.adversary import Adversary
    from tunesmith.attack.search import Attack, attack

    posterior = committee(dtype)
    boxes = [water(molecules, seed) for seed in range(structures)]
    spread = posterior.predict(boxes).std()
    start = float(np.sqrt((spread.forces**2).sum(1).mean()))
    settings = Attack(target=f"{2 * start} eV/Å", batch=4)
    adversary = Adversary(posterior, settings.objective(None))
    forces = seconds(lambda: posterior.predict(boxes[:1]), 3)
    began = time.process_time()
    found = attack(boxes, settings, adversary.evaluate)
    each = (time.process_time() - began) / structures
    return {
        "atoms": len(boxes[0]),
        "dtype": dtype,
        "structures": structures,
        "forces_s": forces,
        "attack_s": each,
        "attack_in_forces": each / forces,
        "evaluations": [a.evaluations for a in found],
        "lists": adversary.rebuilt,
        "reasons": [a.reason for a in found],
        "displacement": max(a.displacement for a in found),
    }


def memory(molecules: int, dtype: str) -> dict[str, Any]:
    """Peak memory over that of what is loaded, MB: of the forces, and then of the gradient."""
    from tunesmith.attack.adversary import Adversary
    from tunesmith.attack.search import Attack

    posterior, small, box = committee(dtype), water(1), water(molecules)
    adversary = Adversary(posterior, Attack(target=TARGET).objective(None))
    adversary.evaluate({0: small})
    peaks = [_peak()]
    posterior.predict([box])
    peaks.append(_peak())
    adversary.evaluate({1: box})
    peaks.append(_peak())
    return {
        "atoms": len(box),
        "dtype": dtype,
        "loaded_mb": peaks[0],
        "forces_mb": peaks[1] - peaks[0],
        "gradient_mb": peaks[2] - peaks[0],
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STEPS = {"costs": costs, "attacks": attacks, "memory": memory}


def table(found: dict[str, Any]) -> str:
    """Everything as Markdown."""
    about = ", ".join(f"{k} {v}" for k, v in found["machine"].items())
    lines = [
        f"{about}; one thread, CPU seconds, {MEMBERS} members.\n",
        "| atoms | forces, s | exact gradient, s | in force calls | finite differences, s | calls "
        "| times as fast | off by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in found["costs"]:
        timed = r.get("timed_calls", r["calls"])
        lines.append(
            f"| {r['atoms']} | {r['forces_s']:.3f} | {r['exact_s']:.3f} | "
            f"{r['exact_in_forces']:.1f} | {r['differences_s']:.1f} | "
            f"{r['calls']}{'' if timed == r['calls'] else f' ({timed} timed)'} | "
            f"{r['times_as_fast']:.0f} | {r['off']:.0e} |"
        )
    lines += [
        "\n| atoms | precision | structures | whole attack, force calls | evaluations | "
        "neighbour lists | stopped |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found["attacks"]:
        done = ", ".join(f"{r['reasons'].count(x)} {x}" for x in sorted(set(r["reasons"])))
        counts = f"{min(r['evaluations'])} to {max(r['evaluations'])}"
        lines.append(
            f"| {r['atoms']} | {r['dtype']} | {r['structures']} | {r['attack_in_forces']:.0f} | "
            f"{counts} | {r['lists']} | {done} |"
        )
    lines += [
        "\n| atoms | precision | forces, MB | exact gradient, MB | per atom and member, MB |",
        "|---|---|---|---|---|",
    ]
    for r in found["memory"]:
        share = r["gradient_mb"] / r["atoms"] / MEMBERS
        lines.append(
            f"| {r['atoms']} | {r['dtype']} | {r['forces_mb']:.0f} | {r['gradient_mb']:.0f} | "
            f"{share:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in STEPS:  # one step, in a process of its own
        print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="24 atoms only")
    add("--json", type=Path, help="also write everything measured to this file")
    add("--out", type=Path, help="write the tables to this file")
    add("--repeats", type=int, default=5)
    options = parser.parse_args()
    sizes = [8] if options.quick else [8, 27, 64]
    packages = ("torch", "mace-torch", "scipy", "tunesmith")
    found: dict[str, Any] = {"machine": measure.machine(packages), **{s: [] for s in STEPS}}

    def step(name: str, **arguments: object) -> None:
        print(f"  {name} {arguments} …", file=sys.stderr, flush=True)
        found[name].append(measure.worker(Path(__file__), name, **arguments))
        if options.json:  # what is known so far, should it be stopped
            options.json.write_text(json.dumps(found, indent=1) + "\n")

    for n in sizes:
        step("costs", molecules=n, repeats=options.repeats, slow=1 if n > 8 else 3)
    for n in sizes:
        step("attacks", molecules=n, structures=2 if n > 27 else 4, dtype="float32")
    for n in sizes:
        for dtype in ("float64", "float32"):
            step("memory", molecules=n, dtype=dtype)
    text = table(found)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
