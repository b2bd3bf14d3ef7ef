"""What an adversarial attack costs: the exact gradient of its objective against finite differences,
against the committee's forces alone, and in memory; and what a whole attack costs.

Boxes of water and three members: organic-xs with weights moved at random, as the cost
does not ask how good they are. Both gradients are of the same objective, positions and cell, and
must agree. CPU seconds throughout (on a busy machine wall time says little), medians over repeats.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read

from bench.runner.parts import Bench, Named, Options, Part, Record
from bench.shared.clocks import peak_mb, timed
from bench.shared.structures import EXAMPLES, bent, rattled
from tunesmith.attack.adversary import Adversary
from tunesmith.attack.differences import Differences
from tunesmith.attack.search import Attack, attack
from tunesmith.core import Quantities
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo

MEMBERS, TARGET = 3, "100 meV/Å"


@dataclass(frozen=True)
class Box(Named):
    """Molecules, precision, and how often something is timed, or how many boxes are attacked."""

    molecules: int
    dtype: str
    times: int = 1


def water(molecules: int, seed: int = 0) -> Atoms:
    """The shipped box, repeated so that it holds 8, 16, 32 or 64 molecules, and rattled."""
    times = [2 if molecules >= 8 * n else 1 for n in (2, 4, 8)]
    return rattled(read(EXAMPLES / "water-8.xyz").repeat(times), np.random.default_rng(seed), 0.03)


def committee(dtype: str) -> Ensemble:
    torch.set_num_threads(1)
    return bent(zoo.load("organic-xs", dtype=dtype), MEMBERS)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of a call."""
    return median(timed(work)["cpu_s"] for _ in range(repeats))


def gradients(cell: Box, _: Options) -> Record:
    """Seconds of the committee's forces, of the exact gradient and of finite differences."""
    posterior, box = committee(cell.dtype), water(cell.molecules)
    objective = Attack(target=TARGET).objective(None)
    adversary = Adversary(posterior, objective)

    def models(frames: list[Atoms]) -> list[Quantities]:
        """One by one: as fast as together where a structure is large."""
        said = [posterior.predict([atoms]).members or () for atoms in frames]
        return [
            Quantities(np.array([m.energy[0] for m in of]), np.array([m.forces for m in of]))
            for of in said
        ]

    differences, points = Differences(models, objective), list[Any]()
    for _ in range(2):  # whatever is slow the first time
        posterior.predict([box])
        exact = adversary.evaluate({0: box})[0]
    found = {
        "atoms": len(box),
        "forces_s": seconds(lambda: posterior.predict([box]), cell.times),
        "exact_s": seconds(lambda: adversary.evaluate({0: box}), cell.times),
    }
    slow = 1 if cell.molecules > 8 else 3
    found["differences_s"] = seconds(lambda: points.append(differences.evaluate({0: box})), slow)
    found["calls"] = 1 + len(differences.displaced(box))
    found["off"] = max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in (
            (points[0][0].positions, exact.positions),
            (points[0][0].strain, exact.strain),
        )
    )
    found["exact_in_forces"] = found["exact_s"] / found["forces_s"]
    found["times_as_fast"] = found["differences_s"] / found["exact_s"]
    return found


def whole(cell: Box, _: Options) -> Record:
    """CPU seconds of whole attacks at twice the starting spread, in units of the force call."""
    posterior = committee(cell.dtype)
    boxes = [water(cell.molecules, seed) for seed in range(cell.times)]
    spread: Any = posterior.predict(boxes).std()
    start = float(np.sqrt((spread.forces**2).sum(1).mean()))
    settings = Attack(target=f"{2 * start} eV/Å", batch=4)
    adversary = Adversary(posterior, settings.objective(None))
    forces = seconds(lambda: posterior.predict(boxes[:1]), 3)
    found: list[Any] = []
    each = seconds(lambda: found.extend(attack(boxes, settings, adversary.evaluate)), 1)
    return {
        "atoms": len(boxes[0]),
        "forces_s": forces,
        "attack_s": each / cell.times,
        "attack_in_forces": each / cell.times / forces,
        "evaluations": [a.evaluations for a in found],
        "lists": adversary.rebuilt,
        "reasons": [a.reason for a in found],
        "displacement": max(a.displacement for a in found),
    }


def memory(cell: Box, _: Options) -> Record:
    """Peak memory over that of what is loaded, MB: of the forces, and then of the gradient."""
    posterior, small, box = committee(cell.dtype), molecule("H2O"), water(cell.molecules)
    adversary = Adversary(posterior, Attack(target=TARGET).objective(None))
    adversary.evaluate({0: small})
    loaded = peak_mb()
    posterior.predict([box])
    forces = peak_mb() - loaded
    adversary.evaluate({1: box})
    found = {"loaded_mb": loaded, "forces_mb": forces, "gradient_mb": peak_mb() - loaded}
    return found | {"atoms": len(box)}


# -------------------------------------------------------------------------------- tables


def _stopped(r: Record) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(Counter(r["reasons"]).items()))


GRADIENTS: dict[str, Any] = {
    "atoms": "{atoms}",
    "forces, s": "{forces_s:.3f}",
    "exact gradient, s": "{exact_s:.3f}",
    "in force calls": "{exact_in_forces:.1f}",
    "finite differences, s": "{differences_s:.1f}",
    "calls": "{calls}",
    "times as fast": "{times_as_fast:.0f}",
    "off by": "{off:.0e}",
}
WHOLE: dict[str, Any] = {
    "atoms": "{atoms}",
    "precision": "{dtype}",
    "structures": "{times}",
    "whole attack, force calls": "{attack_in_forces:.0f}",
    "evaluations": lambda r: f"{min(r['evaluations'])} to {max(r['evaluations'])}",
    "neighbour lists": "{lists}",
    "stopped": _stopped,
}
MEMORY: dict[str, Any] = {
    "atoms": "{atoms}",
    "precision": "{dtype}",
    "forces, MB": "{forces_mb:.0f}",
    "exact gradient, MB": "{gradient_mb:.0f}",
    "per atom and member, MB": lambda r: f"{r['gradient_mb'] / r['atoms'] / MEMBERS:.2f}",
}


def options(add: Callable[..., Any]) -> None:
    add("--sizes", type=int, nargs="+", default=[8, 32, 64], help="molecules")
    add("--repeats", type=int, default=5)


BENCH = Bench(
    name="attack",
    packages=("torch", "mace-torch", "scipy", "tunesmith"),
    parts={
        "gradients": Part(
            cell=Box,
            plan=lambda o: [Box(n, "float64", o.repeats) for n in o.sizes],
            run=gradients,
            cost=lambda cell, _: 12 + 0.08 * cell.molecules**2,
            title=f"One gradient, {MEMBERS} members, CPU seconds",
            columns=GRADIENTS,
        ),
        "whole": Part(
            cell=Box,
            plan=lambda o: [Box(n, "float32", 2 if n > 27 else 4) for n in o.sizes],
            run=whole,
            cost=lambda cell, _: 10 + 1.5 * cell.molecules * cell.times,
            title="Whole attacks",
            columns=WHOLE,
        ),
        "memory": Part(
            cell=Box,
            plan=lambda o: [Box(n, d) for n in o.sizes for d in ("float64", "float32")],
            run=memory,
            cost=lambda *_: 10.0,
            title="Memory over that of what is loaded",
            columns=MEMORY,
        ),
    },
    options=options,
    quick={"sizes": [8]},
)
