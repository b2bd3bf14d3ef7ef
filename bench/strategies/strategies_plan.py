"""Which cells the bench has, and in which order."""

from dataclasses import dataclass

from bench.runner.parts import Named

STRATEGIES = (
    *("naive", "lora", "scratch", "pseudolabel", "multihead", "pseudolabel-lora"),
    *("freeze-first", "freeze-readout"),
)
#: larger: one training set size only
LARGER = ("committee", "bayesian")
E0S = ("isolated", "reestimate", "foundation", "average")
CROSSED = ("naive", "lora")
#: by system, as far as 10 and 50 labels of one seed told before the bench was run. acac's isolated
#: C and O are no ground states, 0.41 and 0.74 eV above the triplets of spin-polarised PBE/def2-SVP;
#: those of 3BPA are within 2 meV of wB97X/6-31G(d)'s, but leave 1.6 eV per atom to learn
BEST_E0 = {"acac": "reestimate", "3bpa": "reestimate"}
#: random weights know no binding energy: averages take it away, as the shift of a model that is
#: trained from scratch does
SCRATCH_E0 = "average"
#: would more steps change it? (strategy, frames), with `LONGER` times the steps
CONTROLS = (
    ("scratch", 10),
    ("naive", 10),
    ("naive", 50),
    ("pseudolabel", 50),
    ("pseudolabel", 200),
)
LONGER = 4
#: whose cost is measured in turns → with how many processes, where more than one
COSTS = {
    **dict.fromkeys(("naive", "lora", "multihead", "pseudolabel", "committee"), 1),
    "committee, two processes": 2,
}
#: rough work of a step beside naive's, which takes 43 CPU ms of acac and twice that of 3BPA
WORK = {
    **dict.fromkeys(("multihead", "pseudolabel", "pseudolabel-lora"), 1.7),
    **{"committee": 7, "bayesian": 8},
}


@dataclass(frozen=True)
class Cell(Named):
    """One fine-tuning. frames: labels in all, held-back ones included. steps: of the optimiser,
    rounded up to whole epochs; samplers without epochs have a budget of their own."""

    system: str
    frames: int
    strategy: str
    e0: str
    seed: int
    steps: int


def best_e0(system: str, strategy: str) -> str:
    """The choice of E0s that a strategy is shown with."""
    return SCRATCH_E0 if strategy == "scratch" else BEST_E0[system]


def grid(
    systems: list[str], sizes: list[int], seeds: int, steps: int, quick: bool = False
) -> list[Cell]:
    """Every cell once, in the order they are worth having: seed by seed, strategies before the
    choices of E0s, then what is larger and (of one seed) the controls. E0s at the largest size
    come last of all."""
    found: dict[Cell, None] = {}

    def add(system: str, frames: int, strategy: str, e0: str, seed: int, times: int = 1) -> None:
        if frames in sizes:
            found[Cell(system, frames, strategy, e0, seed, times * steps)] = None

    def crossed(seed: int, sizes: list[int]) -> None:
        for e0 in ("reestimate", "average") if quick else E0S:
            for frames in sizes:
                for strategy in CROSSED:
                    for system in systems:
                        add(system, frames, strategy, e0, seed)

    for seed in range(seeds):
        for strategy in CROSSED if quick else STRATEGIES:
            for frames in sizes:
                for system in systems:
                    add(system, frames, strategy, best_e0(system, strategy), seed)
        crossed(seed, sizes[:2])
        for system in [] if quick else systems:
            for strategy in LARGER:
                add(system, 50, strategy, best_e0(system, strategy), seed)
            for strategy, frames in CONTROLS if seed == 0 else ():
                add(system, frames, strategy, best_e0(system, strategy), seed, LONGER)
    for seed in range(seeds):
        crossed(seed, sizes[2:])
    return list(found)


def work(cell: Cell) -> float:
    """CPU seconds of a cell, those of its evaluation included."""
    size = 2 if cell.system == "3bpa" else 1
    return size * (25 + 0.043 * cell.steps * WORK.get(cell.strategy, 1))
