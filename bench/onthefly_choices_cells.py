"""Heavy steps of `onthefly_choices.py`, each in a process of its own: ``python
onthefly_choices_cells.py STEP JSON``. A cell is one on-the-fly run and what it is worth."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import ethanol_evidence as evidence
from onthefly_choices_plan import FIXED, QUICK, SCHEDULE, Cell
from onthefly_costs import recipe
from split import Split

#: λ of the tangent kernel's process
NOISES = (1e-3, 1e-5, 1e-7)
#: of the trajectories that errors are measured on
SECOND_SEED = 1000


def configured(it: Cell, quick: bool) -> Any:
    """The demo with the bench's changes and the cell's."""
    acquire = f"acquire={{kind: threshold, spread: {it.spread}"
    acquire += f", keep: {it.keep}" if it.keep else ""
    return recipe(
        *FIXED,
        *(QUICK if quick else SCHEDULE),
        acquire + "}",
        f"tune.sampler.members={it.members}",
        f"tune.sampler.temperature={it.temperature}",
        f"seed={it.seed}",
    )


def prepare(folder: str, seeds: int, frames: int, quick: bool) -> dict[str, Any]:
    """Write FOLDER/second-SEED.extxyz: random frames of dynamics driven by the reference itself
    from the runs' own start, with their labels; the same for all cells."""
    from tunesmith.core import Frame, Label, derived_seed
    from tunesmith.data.formats import write_frames
    from tunesmith.data.images import read_images
    from tunesmith.explore.state import Answer

    Path(folder).mkdir(parents=True, exist_ok=True)
    config = configured(Cell("members", 2, 0, "", 0), quick)
    explorer = config.explore
    starts = read_images(Path(explorer.start[0]))[:1]
    for seed in range(seeds):
        path = Path(folder) / f"second-{seed}.extxyz"
        if path.exists():
            continue
        rng = np.random.default_rng([SECOND_SEED, seed])
        total = explorer.total_steps
        wanted = set((1 + rng.choice(total, min(frames, total), replace=False)).tolist())
        kept: list[Frame] = []

        def answer(_: int, atoms: Any) -> Answer:
            label = config.reference.label(atoms)
            if not isinstance(label, Label):
                sys.exit(f"the reference failed: {label}")
            return Answer(label.energy, label.forces, None)

        state = explorer.init(starts, derived_seed(SECOND_SEED + seed, "second trajectory"))
        for step in range(1, total + 1):
            state = explorer.step(state, answer)
            if step in wanted:
                atoms = state.walkers[0].atoms()
                label = config.reference.label(atoms)
                kept.append(Frame(bare(atoms), label, f"second {seed}, step {step}"))
        write_frames(path, kept)
    return {}


def bare(atoms: Any) -> Any:
    """Without momenta."""
    from tunesmith.loop.labels import bare

    return bare(atoms)


def cell(folder: str, seeds: int, quick: bool, **fields: Any) -> dict[str, Any]:
    """Run one cell from its beginning and measure it; times in CPU seconds of this process."""
    from tunesmith.loop import run

    it = Cell(**fields)
    out = Path(folder) / "runs" / it.name
    shutil.rmtree(out, ignore_errors=True)
    config = configured(it, quick)
    with Split() as split, chosen_by(it):
        watch(split)
        summary = run.run(config, out)
        spent = {part: cpu for part, (_, cpu) in split.read().items()}
        counts = dict(split.counts)
    return {
        "spent": spent,
        "counts": counts,
        **{key: summary[key] for key in KEYS},
        **judged(config, out, [Path(folder) / f"second-{s}.extxyz" for s in range(seeds)]),
    }


KEYS = (
    *("md_time_ps", "steps", "labels", "interventions", "interventions_over_threshold"),
    *("coverage_95", "rmse_tuned_meV", "force_rmse_tuned_meV_per_A", "as_asked", "ended"),
    *("threshold_eV", "updates", "explosions", "reference"),
)


def watch(split: Split) -> None:
    """Book the parts of a run that the choices differ in; the rest is ``other``."""
    from tunesmith.loop.onthefly import learning, onthefly_outputs
    from tunesmith.loop.onthefly.onthefly_course import OnTheFlyCourse
    from tunesmith.loop.onthefly.onthefly_recipe import OnTheFly
    from tunesmith.references.tblite import TBLite
    from tunesmith.tune.chains import SGHMC

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
    from tunesmith.loop.onthefly import learning

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


def judged(config: Any, out: Path, files: list[Path]) -> dict[str, Any]:
    """Errors of a finished run on the second trajectories, and its own error bars there: those
    it would have gone on with."""
    from rich.console import Console

    from tunesmith.data.formats import read_frames
    from tunesmith.loop.interrupts import Interrupts
    from tunesmith.loop.onthefly.onthefly_recipe import OnTheFly
    from tunesmith.loop.screen import Screen
    from tunesmith.loop.stopwatch import Stopwatch
    from tunesmith.loop.tools import Tools

    recipe = OnTheFly()
    ready = recipe.prepare(config, lambda _: None)
    screen = Screen(Console(stderr=True, quiet=True))
    with Interrupts() as interrupts:
        loop = recipe.open(ready, out, Tools(Stopwatch(), interrupts, screen))
    loop.trajectory.close()
    labelled = [(f.atoms, f.label) for file in files for f in read_frames(file)[0]]
    law = loop.at.calibration["energy"]
    errors = evidence.errors_of(loop.posterior, loop.foundation, law, config.target, labelled)
    return {"errors": errors, "longer": loop.at.longer, "bars": bars(loop, labelled)}


def bars(loop: Any, labelled: list[tuple[Any, Any]]) -> dict[str, list[float]]:
    """Raw error bars of the same model for the same frames, eV: of several members with their
    noise, and of the tangent kernel without, at its λ and at smaller ones."""
    from tunesmith.features.compute_features import REPRESENTATIONS, compute
    from tunesmith.posterior.ensemble import Ensemble
    from tunesmith.posterior.residual_gp import ResidualGP
    from tunesmith.posterior.tangent import residuals

    posterior = Ensemble.of(loop.problem.potential, loop.at.members)
    frames, ntk = [atoms for atoms, _ in labelled], REPRESENTATIONS.get("ntk")()
    found: dict[str, list[float]] = {}
    if len(posterior) > 1:
        each = [posterior.predict([atoms], spread="energy").std() for atoms in frames]
        found["members"] = [float(std.energy[0]) for std in each if std is not None]
    known, asked = (compute(ntk, some, posterior) for some in (loop.frames, frames))
    wrong = residuals(loop.foundation, loop.frames)
    for noise in NOISES:
        process = ResidualGP.fit(known, wrong, noise=noise, kernel=ntk.kernel)
        found[f"ntk {noise:g}"] = process.predict(asked)[1].tolist()
    return found


if __name__ == "__main__":
    found = {"prepare": prepare, "cell": cell}[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(found))
