"""Which cells the bench has, in which order, and what they cost."""

from dataclasses import dataclass
from typing import Any

from bench.runner.parts import Named


@dataclass(frozen=True)
class Pool:
    """A pool and the course of rounds in it. frames: candidates; start: labels of round 0; batch:
    labels of every other; reactions: 0 of plain dynamics."""

    frames: int
    start: int
    batch: int
    rounds: int
    reactions: int = 0


#: the reactive ones are those of recipes/reactions/ends.py. The others are plain dynamics at 300 K
POOLS = {
    "small": Pool(2000, start=10, batch=10, rounds=8, reactions=5),
    "large": Pool(2000, start=10, batch=10, rounds=8, reactions=6),
    "acac": Pool(300, start=5, batch=5, rounds=5),
    "3bpa": Pool(300, start=5, batch=5, rounds=5),
}
QUICK = {"small": Pool(40, start=4, batch=3, rounds=2, reactions=5)}
#: frames of every pool's validation and test set; of reactions in equal parts
VALID, TEST = 24, 120

RULES = {"lcmd": "lcmd", "pv": "posterior-variance", "kcenter": "kcenter"}
REPRESENTATIONS: dict[str, Any] = {
    "ntk": "ntk",
    "activation": "activation",
    "soap": "soap",
    # frames between minima have no Lewis structure
    "morgan": {"kind": "morgan", "bonds": "connectivity"},
}
COMMITTEES = ("committee-force", "committee-energy")
BASELINE = "random"
#: not a course of rounds: residual processes, see residual_processes.py
GP = "gp"
#: compared over all seeds; the next over `FEWER`
MAIN = ("ntk-lcmd", "activation-lcmd")
SECOND = ("ntk-pv", "activation-pv")
#: that a picture of learning curves has room for
DRAWN = (BASELINE, *MAIN, *SECOND, "soap-kcenter", COMMITTEES[0])
OTHERS = ("ntk-kcenter", "activation-kcenter", "soap-lcmd", "soap-pv", "soap-kcenter", "morgan-pv")
#: where all molecules are one, bonds tell nothing and committees cost what they cost
CONFORMATIONAL = {"acac": (*MAIN, *SECOND, "soap-kcenter"), "3bpa": ("ntk-lcmd", "activation-lcmd")}
FEWER = 2
MEMBERS = 3
#: candidates that measure every round too until they are asked for
REST = 300


@dataclass(frozen=True)
class Cell(Named):
    """A course of rounds, or the residual processes of a pool."""

    pool: str
    method: str
    seed: int


def acquire(method: str, batch: int) -> dict[str, Any]:
    """The configuration's section of a method."""
    if method == BASELINE:
        return {"kind": "random", "batch": batch}
    if method in COMMITTEES:
        return {"kind": "committee", "score": method, "batch": batch}
    representation, _, rule = method.partition("-")
    chosen = {"representation": REPRESENTATIONS[representation], "rule": RULES[rule]}
    return {"kind": "greedy", **chosen, "batch": batch}


def grid(pools: list[str], seeds: int, full: bool = False, quick: bool = False) -> list[Cell]:
    """Every cell once, in the order they are worth having: the residual processes, which are
    cheap; the main methods on reactive pools, seed by seed; posterior variance; the others and
    committees of one seed; the conformational pools. full: all methods with all seeds.
    """
    if quick:
        methods = (GP, BASELINE, "ntk-lcmd", "morgan-pv", "committee-force")
        return [Cell(p, m, 0) for p in pools for m in methods]
    reactive = [p for p in pools if POOLS[p].reactions]
    plain = [p for p in pools if not POOLS[p].reactions]
    few = min(FEWER, seeds)
    order = [
        (pools, 1, (GP,)),
        (reactive, 1, (BASELINE, *MAIN, *SECOND)),
        (reactive, seeds, (BASELINE, *MAIN)),
        (reactive, few, SECOND),
        (reactive, 1, (*OTHERS, *COMMITTEES)),
        *(([pool], few, (BASELINE, *CONFORMATIONAL[pool])) for pool in plain),
        (pools, seeds, (GP,)),
    ]
    if full:
        order.append((reactive, seeds, (*SECOND, *OTHERS, *COMMITTEES)))
        order += [([pool], seeds, (BASELINE, *CONFORMATIONAL[pool])) for pool in plain]
    every = (
        Cell(pool, method, seed)
        for where, many, methods in order
        for seed in range(many)
        for pool in where
        for method in methods
    )
    return list(dict.fromkeys(every))


#: CPU seconds of a course, as measured; of residual processes
COURSE, PROCESSES = {"small": 130.0, "large": 150.0, "acac": 150.0, "3bpa": 260.0}, 13.0


def work(cell: Cell, pools: dict[str, Pool] = POOLS) -> float:
    """CPU seconds of a cell; rounds and members cost alike."""
    if cell.method == GP:
        return PROCESSES
    members = MEMBERS if cell.method in COMMITTEES else 1
    rounds = (1 + pools[cell.pool].rounds) / (1 + POOLS[cell.pool].rounds)
    return COURSE[cell.pool] * rounds * members
