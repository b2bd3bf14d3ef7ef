"""What a finished run of ethanol is worth: the parts of `ethanol.py` that compute.

A second trajectory by the tuned ensemble's mean, from another seed; random frames of it labelled
by the run's own reference; errors and coverage there; and when the run itself asked for labels.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import get_dihedrals
from ase.neighborlist import natural_cutoffs, neighbor_list

from tunesmith.config import RunConfig, load
from tunesmith.contracts import Law, Posterior
from tunesmith.core import Failure, Label, derived_seed
from tunesmith.data.images import read_images
from tunesmith.data.label_row import canonical
from tunesmith.data.store import LabelStore
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.state import Answer
from tunesmith.posterior.ensemble import Ensemble, open_model

#: degrees to either side of a barrier that count as crossing it
WINDOW = 30.0
#: H–O–C–C from anti (180°) to gauche (±60°) crosses ±120°; between the two gauche it crosses 0°
TRANSITIONS = ("gauche–anti", "gauche–gauche")


# ------------------------------------------------------------------------ conformations


def hydroxyl(atoms: Atoms) -> tuple[int, int, int, int]:
    """Indices of H–O–C–C of a structure with one such chain, by connectivity.

    Raises `ValueError` where there is none or more than one.
    """
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    symbols = atoms.get_chemical_symbols()

    def bonded(i: int, symbol: str) -> list[int]:
        return [int(j) for j in second[first == i] if symbols[j] == symbol]

    chains = [
        (h, o, c, next_c)
        for o in (i for i, s in enumerate(symbols) if s == "O")
        for h in bonded(o, "H")
        for c in bonded(o, "C")
        for next_c in bonded(c, "C")
    ]
    if len(chains) != 1:
        raise ValueError(f"{atoms.get_chemical_formula()} has {len(chains)} chains H-O-C-C, not 1")
    return chains[0]


def dihedrals(positions: np.ndarray, chain: tuple[int, int, int, int]) -> np.ndarray:
    """Degrees in (−180, 180] of frames (f, n, 3)."""
    a, b, c, d = (positions[:, i] for i in chain)
    return -((-get_dihedrals(b - a, c - b, d - c) + 180) % 360 - 180)


def conformation(dihedral: float) -> str:
    """anti, gauche, or which transition: within `WINDOW` of its barrier. degrees, any period."""
    angle = abs((dihedral + 180) % 360 - 180)
    if angle <= WINDOW:
        return "gauche–gauche"
    if abs(angle - 120) <= WINDOW:
        return "gauche–anti"
    return "gauche" if angle < 120 else "anti"


def share(count: int, of: int) -> tuple[float, float]:
    """A share and its binomial standard error sqrt(p (1 − p) / n); NaN of nothing."""
    if of == 0:
        return math.nan, math.nan
    p = count / of
    return p, math.sqrt(p * (1 - p) / of)


def counted(angles: Iterable[float]) -> dict[str, int]:
    """Conformation → how many."""
    found = [conformation(angle) for angle in angles]
    return {name: found.count(name) for name in ("anti", "gauche", *TRANSITIONS)}


# ------------------------------------------------------------------- the second trajectory


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, configuration, and its tuned and untuned model."""

    folder: Path
    config: RunConfig
    tuned: Ensemble
    untuned: Ensemble

    @property
    def digest(self) -> str:
        """Of the members: a run that was extended is another."""
        members = self.folder / "members" / "members.safetensors"
        return hashlib.sha256(members.read_bytes()).hexdigest()[:8]


def opened(folder: Path) -> Run:
    """A run folder as it is now."""
    config = load(RunConfig, folder / "config.yaml")
    tuned = open_model(folder, dtype=config.model.dtype, device=config.model.device)
    untuned = Ensemble(tuned.potential, [tuned.potential.weights()], tuned.e0s)
    return Run(folder, config, tuned, untuned)


def second(run: Run, out: Path, frames: int, time: str, seed: int) -> tuple[list[Atoms], float]:
    """Random frames of a trajectory with the run's own MD settings, and the time it reached, fs.

    time: of the trajectory. seed: of its momenta, noise and of the choice of frames. Computed
    once: it stands in ``out`` afterwards.
    """
    path, stamp = out / f"frames-{seed}.extxyz", out / f"frames-{seed}.json"
    wanted = {"frames": frames, "time": time, "seed": seed}
    if stamp.exists() and json.loads(stamp.read_text())["wanted"] == wanted:
        return ase.io.read(path, ":"), json.loads(stamp.read_text())["reached_fs"]
    explorer = load(RunConfig, run.folder / "config.yaml", [f"explore.time={time}"]).explore
    starts = [atoms for name in explorer.start for atoms in read_images(Path(name))]
    state = explorer.init(starts[:1], derived_seed(seed, "second trajectory"))
    rng = np.random.default_rng([seed, 1])
    total = explorer.total_steps
    chosen = set((1 + rng.choice(total, min(frames, total), replace=False)).tolist())

    def answer(_: int, atoms: Atoms) -> Answer:
        stress = explorer.needs_stress
        mean = run.tuned.predict([atoms], stress=stress, spread="energy").mean
        return Answer(
            float(mean.energy[0]), mean.forces, None if mean.stress is None else mean.stress[0]
        )

    kept: list[Atoms] = []
    try:
        for step in range(1, total + 1):
            state = explorer.step(state, answer)
            if step in chosen:
                atoms = state.walkers[0].atoms()
                kept.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
    except ExplosionError:
        pass  # frames up to there; the time reached says it
    reached = explorer.time_of(state.walkers[0])
    ase.io.write(path, kept, format="extxyz")
    stamp.write_text(json.dumps({"wanted": wanted, "reached_fs": reached}) + "\n")
    return ase.io.read(path, ":"), reached


def label(run: Run, frames: list[Atoms], out: Path, say: Any) -> list[tuple[Atoms, Label]]:
    """Frames with their labels by the run's reference, each kept in ``out`` once it is made."""
    store, reference, labelled = LabelStore(out / "labels.db"), run.config.reference, []
    for i, atoms in enumerate(frames):
        outcome = store.label(atoms, reference, origin=f"second trajectory, frame {i}")
        if isinstance(outcome, Failure):
            say(f"frame {i} cannot be labelled ({outcome.kind}: {outcome.reason})")
        else:
            labelled.append((atoms, outcome))
    return labelled


# --------------------------------------------------------------------------- the numbers


def errors(run: Run, labelled: list[tuple[Atoms, Label]]) -> dict[str, Any]:
    """`errors_of` a finished run, by its members' spread."""
    law = run.tuned.calibration["energy"]
    return errors_of(run.tuned, run.untuned, law, run.config.target, labelled)


def errors_of(
    posterior: Posterior,
    untuned: Ensemble,
    law: Law,
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


def asked(run: Run) -> dict[str, dict[str, int]]:
    """Conformation → how many frames of the run's trajectory, which are equally far apart in
    time, and how many of the labels that it asked for on the way."""
    start = read_images(Path(run.config.explore.start[0]))[0]
    chain = hydroxyl(start)
    images = ase.io.read(run.folder / "trajectory.extxyz", ":")
    identity = canonical(run.config.reference.identity())
    labels = [
        entry.frame.atoms
        for entry in LabelStore(run.folder / "labels.db").entries()
        if isinstance(entry.outcome, Label)
        and "why" in (entry.extra or {})
        and canonical(entry.identity) == identity
    ]
    return {
        "time": counted(_angles(images, chain)),
        "labels": counted(_angles(labels, chain)),
    }


def _angles(images: list[Atoms], chain: tuple[int, int, int, int]) -> list[float]:
    if not images:
        return []
    return dihedrals(np.array([atoms.positions for atoms in images]), chain).tolist()


def transitions(runs: list[dict[str, dict[str, int]]]) -> dict[str, Any]:
    """Of each transition the share of time and, with its binomial standard error, of labels."""
    total = {
        what: {name: sum(r[what][name] for r in runs) for name in runs[0][what]}
        for what in ("time", "labels")
    }
    n = {what: sum(of.values()) for what, of in total.items()}
    return {
        "labels": n["labels"],
        **{
            name: {
                "time": share(total["time"][name], n["time"])[0],
                "labels": share(total["labels"][name], n["labels"]),
            }
            for name in TRANSITIONS
        },
    }
