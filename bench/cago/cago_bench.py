"""Adversarial structures with a chosen error: does the error come out as chosen, and what do they
teach? Water by GFN1-xTB, learnt from organic-xs; the published benchmarks in small.
"""

from collections.abc import Callable
from typing import Any

from bench.cago import cago_pictures, cago_tables, cago_water
from bench.cago.cago_attacks import Attacks, Committee, attacks, cells, committee, members, prepare
from bench.cago.cago_learning import LEARNERS, METHODS, TIMES, Course, learn
from bench.runner.parts import Bench, Options, Part, Record


def options(add: Callable[..., Any]) -> None:
    add("--systems", nargs="+", choices=cago_water.SYSTEMS, default=list(cago_water.SYSTEMS))
    add("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help="of learning")


def courses(o: Options) -> list[Course]:
    return [
        Course(method, learner, system, seed, o.quick)
        for system in o.systems
        for learner in o.learners
        for seed in o.seeds
        for method in o.methods
    ]


def cost(course: Course, options: Options) -> float:
    """CPU seconds: 6 minutes of the cluster from the foundation."""
    slower = (2 if course.learner == "scratch" else 1) * (2 if course.system == "box" else 1)
    return slower * (40 if options.quick else 360)


def _attacked(result: Record) -> str:
    errors = [row["error"] for row in result["structures"] if row["error"] is not None]
    error, _ = cago_tables.rms(errors)
    return f"real error {1e3 * error:.0f} meV/Å, rms of {len(errors)}"


def _learnt(result: Record) -> str:
    last = result["rounds"][-1]
    return f"{last['labels']} labels, {last['test']['force_rmse_meV_per_A']:.1f} meV/Å"


BENCH = Bench(
    name="cago",
    packages=("torch", "mace-torch", "scipy", "tblite", "tunesmith"),
    parts={
        "committee": Part(
            cell=Committee,
            plan=lambda o: [Committee(members(o.quick))],
            run=committee,
            cost=lambda *_: 600.0,
            told=lambda r: f"a member errs by {1e3 * r['error']:.0f} meV/Å",
        ),
        "attacks": Part(
            cell=Attacks,
            plan=lambda o: cells(o.quick),
            run=attacks,
            cost=lambda cell, o: (20.0 if not o.quick else 2.0) * (cell.attackers + 3),
            told=_attacked,
            conditions=lambda _: {"part": "attacks", "stop": "shape"},
            prepare=prepare,
            ordered=True,
        ),
        "learning": Part(
            cell=Course,
            plan=courses,
            run=learn,
            cost=cost,
            told=_learnt,
            conditions=lambda _: {"part": "learning", "aim": TIMES},
            ordered=True,
        ),
    },
    options=options,
    seeds=range(5),
    page=cago_tables.page,
    pictures=cago_pictures.pictures,
)
