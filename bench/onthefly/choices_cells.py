"""Cells of the bench: one on-the-fly run and what it is worth."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from rich.console import Console

from bench.onthefly.evidence import errors_of, second
from bench.onthefly.loop_cost import GFN1, recipe
from bench.runner.parts import Named, Options, Record
from bench.shared.clocks import Split
from bench.shared.data_sets import put
from tunesmith import read_frames
from tunesmith.config import RunConfig
from tunesmith.core import Frame, Label
from tunesmith.explore.state import Answer
from tunesmith.features.compute_features import REPRESENTATIONS, compute
from tunesmith.loop import run
from tunesmith.loop.interrupts import Interrupts
from tunesmith.loop.onthefly import learning, onthefly_outputs
from tunesmith.loop.onthefly.onthefly_course import OnTheFlyCourse
from tunesmith.loop.onthefly.onthefly_recipe import OnTheFly
from tunesmith.loop.screen import Screen
from tunesmith.loop.stopwatch import Stopwatch
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.posterior.residual_gp import ResidualGP
from tunesmith.posterior.tangent import residuals
from tunesmith.references.tblite import TBLite
from tunesmith.tune.chains import SGHMC

#: half the demo's time, updates two fifths as long
SCHEDULE = ("explore.time=0.5 ps", "tune.sampler.first_steps=240", "tune.sampler.steps=100")
QUICK = ("explore.time=25 fs", "tune.sampler.first_steps=40", "tune.sampler.steps=20")
#: (spread, members, temperature): what asks. One chain needs no noise, which makes the spread of
#: several and the error of one
ASKING = (("ntk", 1, 0.0), ("members", 2, 1.0))
#: the same, but dear
LATE = (("members", 4, 1.0), ("ntk", 1, 1.0), ("ntk", 4, 1.0))
#: (keep, by): what two members learn from that ask by their spread; 0: all
THINNING = ((5, "lcmd"), (5, "chance"))
LATE_THINNING = ((10, "lcmd"), (10, "chance"))
THINNED = ("members", 2, 1.0)
#: λ of the tangent kernel's process
NOISES = (1e-3, 1e-5, 1e-7)
#: of the trajectories that errors are measured on
SECOND_SEED = 1000
#: of a run's summary
KEYS = (
    *("md_time_ps", "steps", "labels", "interventions", "interventions_over_threshold"),
    *("coverage_95", "rmse_tuned_meV", "force_rmse_tuned_meV_per_A", "as_asked", "ended"),
    *("threshold_eV", "updates", "explosions", "reference"),
)


@dataclass(frozen=True)
class Cell(Named):
    """One run. spread: what asks for labels. members: chains. keep: labels learnt from at most
    (0: all), by: "lcmd", "chance" or, where all are, "". temperature: of the chains."""

    spread: str
    members: int
    keep: int
    by: str
    seed: int
    temperature: float = 1.0


def grid(seeds: list[int]) -> list[Cell]:
    """Every cell once, in the order they are worth having."""
    found = []
    for asking, thinning in ((ASKING, THINNING), (LATE, LATE_THINNING)):
        for seed in seeds:
            runs = [(*who, 0, "") for who in asking] + [(*THINNED, *kept) for kept in thinning]
            found += [Cell(spread, n, *kept, seed, t) for spread, n, t, *kept in runs]
    return found


def configured(it: Cell, quick: bool) -> RunConfig:
    """The demo with the bench's changes and the cell's."""
    keep = (f"tune.keep={it.keep}",) if it.keep else ()
    return recipe(
        *(GFN1, "execute.processes=1", *(QUICK if quick else SCHEDULE)),
        f"tune.spread={it.spread}",
        *keep,
        f"tune.sampler.members={it.members}",
        f"tune.sampler.temperature={it.temperature}",
        f"seed={it.seed}",
    )


def seconds(options: Options) -> list[Path]:
    return [options.work / f"second-{seed}.extxyz" for seed in options.seeds]


def prepare(cells: list[Cell], options: Options) -> None:
    """Random frames of dynamics driven by the reference itself from the runs' own start, with their
    labels; the same for all cells."""
    config = configured(cells[0], options.quick)

    def label(atoms: Atoms) -> Label:
        found = config.reference.label(atoms)
        if not isinstance(found, Label):
            sys.exit(f"the reference failed: {found}")
        return found

    def answer(_: int, atoms: Atoms) -> Answer:
        found = label(atoms)
        return Answer(found.energy, found.forces, None)

    for seed, path in zip(options.seeds, seconds(options), strict=True):
        if not path.exists():
            draw = [SECOND_SEED, seed]
            kept, _ = second(config.explore, answer, options.frames, SECOND_SEED + seed, draw)
            put(path, [Frame(a, label(a), f"second {seed}, frame {i}") for i, a in enumerate(kept)])


def computed(it: Cell, options: Options) -> Record:
    """Run one cell from its beginning and measure it; times in CPU seconds of this process."""
    out = options.work / "runs" / it.name
    shutil.rmtree(out, ignore_errors=True)
    config = configured(it, options.quick)
    with Split() as split, chosen_by(it):
        watch(split)
        summary = run.run(config, out)
        spent = {part: cpu for part, (_, cpu) in split.read().items()}
        counts = dict(split.counts)
    told = {"spent": spent, "counts": counts, **{key: summary[key] for key in KEYS}}
    return told | judged(config, out, seconds(options))


def watch(split: Split) -> None:
    """Book the parts of a run that the choices differ in; the rest is ``other``."""
    split.watch(OnTheFly, "open", "start")
    split.watch(onthefly_outputs, "write", "results")
    split.watch(OnTheFlyCourse, "advance", "md")
    split.watch(OnTheFlyCourse, "_posterior", "kernel")
    split.watch(learning, "thinned", "thinning")
    split.watch(TBLite, "label", "reference")
    split.watch(SGHMC, "update", lambda *_, number, **__: "update" if number else "first update")


@contextmanager
def chosen_by(it: Cell) -> Iterator[None]:
    """Labels to learn from drawn by chance where the cell says so: the newest and others, another
    draw after every label."""
    original = learning.thinned

    def drawn(frames: Any, most: int, posterior: Any) -> list[Any]:
        if len(frames) <= most:
            return list(frames)
        rng = np.random.default_rng([it.seed, len(frames)])
        others = rng.choice(len(frames) - 1, most - 1, replace=False)
        return [*(frames[i] for i in sorted(others)), frames[-1]]

    if it.by == "chance":
        learning.thinned = drawn
    try:
        yield
    finally:
        learning.thinned = original


def judged(config: RunConfig, out: Path, files: list[Path]) -> Record:
    """Errors of a finished run on the second trajectories, and its own error bars there: those
    it would have gone on with."""
    course = OnTheFly()
    ready = course.prepare(config, lambda _: None)
    screen = Screen(Console(stderr=True, quiet=True))
    with Interrupts() as interrupts:
        loop = course.open(ready, out, Tools(Stopwatch(), interrupts, screen))
    loop.trajectory.close()
    labelled: Any = [(f.atoms, f.label) for file in files for f in read_frames(file)[0]]
    law = loop.at.calibration["energy"]
    errors = errors_of(loop.posterior, loop.foundation, law, config.target, labelled)
    return {"errors": errors, "longer": loop.at.longer, "bars": bars(loop, labelled)}


def bars(loop: Any, labelled: list[tuple[Any, Any]]) -> dict[str, list[float]]:
    """Raw error bars of the same model for the same frames, eV: of several members with their
    noise, and of the tangent kernel without, at its λ and at smaller ones."""
    posterior = Ensemble.of(loop.problem.potential, loop.at.members)
    frames, ntk = [atoms for atoms, _ in labelled], REPRESENTATIONS.get("ntk")()
    found: dict[str, list[float]] = {}
    if len(posterior) > 1:
        each = [posterior.predict([atoms], spread="energy").std() for atoms in frames]
        found["members"] = [float(std.energy[0]) for std in each if std is not None]
    known, asked = (compute(ntk, some, posterior) for some in (loop.frames, frames))
    wrong = residuals(loop.foundation, loop.frames)
    for noise in NOISES if len(loop.frames) > 1 else ():  # of a single label there is no process
        process = ResidualGP.fit(known, wrong, noise=noise, kernel=ntk.kernel)
        found[f"ntk {noise:g}"] = process.predict(asked)[1].tolist()
    return found
