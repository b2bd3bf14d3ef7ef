"""What a run is worth: second trajectories, labelled; errors and coverage there."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from bench.onthefly.conformations import share
from bench.shared.structures import bare, random_frames
from tunesmith.core import Calibration, Label, Posterior, derived_seed
from tunesmith.data.images import read_images
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.state import Answer
from tunesmith.posterior.ensemble import Ensemble


def second(
    explorer: Any,
    answer: Callable[[int, Atoms], Answer],
    frames: int,
    seed: int,
    draw: list[int],
) -> tuple[list[Atoms], float]:
    """Random frames of a trajectory from the explorer's own start, and the time it reached, fs.

    seed: of its momenta and noise. draw: of the choice of frames. One that explodes has frames up
    to there.
    """
    starts = [atoms for name in explorer.start for atoms in read_images(Path(name))]
    state = explorer.init(starts[:1], derived_seed(seed, "second trajectory"))
    chosen, kept = random_frames(explorer, frames, draw), list[Atoms]()
    try:
        for step in range(1, explorer.total_steps + 1):
            state = explorer.step(state, answer)
            if step in chosen:
                kept.append(bare(state.walkers[0].atoms()))
    except ExplosionError:
        pass
    return kept, explorer.time_of(state.walkers[0])


def errors_of(
    posterior: Posterior,
    untuned: Ensemble,
    law: Calibration,
    target: Any,
    labelled: list[tuple[Atoms, Label]],
) -> dict[str, Any]:
    """Per frame, in eV and eV/Å: energy errors of both models, raw and calibrated std, P(a larger
    error), K; mean squared force errors."""
    names = ("tuned", "untuned", "raw_std", "std", "tail", "limit", "tuned_f2", "untuned_f2")
    found: dict[str, list[float]] = {name: [] for name in names}
    for atoms, truth in labelled:
        tuned, before = posterior.predict([atoms]), untuned.predict([atoms])
        spread = tuned.std()
        assert spread is not None
        error, raw = float(tuned.mean.energy[0]) - truth.energy, float(spread.energy[0])
        found["tuned"].append(error)
        found["untuned"].append(float(before.mean.energy[0]) - truth.energy)
        found["raw_std"].append(raw)
        found["std"].append(float(law.std(raw)))
        found["tail"].append(float(law.exceedance(raw, abs(error))))
        found["limit"].append(float(target.energy_of(atoms) or math.nan))
        found["tuned_f2"].append(float(np.mean((tuned.mean.forces - truth.forces) ** 2)))
        found["untuned_f2"].append(float(np.mean((before.mean.forces - truth.forces) ** 2)))
    return found


def scores(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the errors of one run say, or of several together: each run's mean error removed.

    Energies in meV, forces in meV/Å. Shares with their binomial standard errors.
    """
    e = {k: np.concatenate([np.array(r[k], float) for r in runs]) for k in runs[0]}
    centred = {
        k: np.concatenate([np.array(r[k]) - np.mean(r[k]) for r in runs])
        for k in ("tuned", "untuned")
    }
    n, judged = len(e["tuned"]), np.isfinite(e["limit"])
    over = np.abs(e["tuned"]) > e["limit"]
    untuned_over = np.abs(e["untuned"]) > e["limit"]
    rmse = {k: 1e3 * float(np.sqrt(np.mean(v**2))) for k, v in centred.items()}
    return {
        "frames": n,
        "over_threshold": share(int(over.sum()), int(judged.sum())),
        "untuned_over_threshold": share(int(untuned_over.sum()), int(judged.sum())),
        "coverage_95": share(int(np.sum(e["tail"] >= 0.05)), n),
        "rmse_tuned_meV": rmse["tuned"],
        "rmse_untuned_meV": rmse["untuned"],
        "rmse_ratio": rmse["tuned"] / rmse["untuned"],
        "mean_error_tuned_meV": 1e3 * float(np.mean(e["tuned"])),
        "force_rmse_tuned_meV_per_A": 1e3 * float(np.sqrt(np.mean(e["tuned_f2"]))),
        "force_rmse_untuned_meV_per_A": 1e3 * float(np.sqrt(np.mean(e["untuned_f2"]))),
    }
