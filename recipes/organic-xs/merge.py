"""Merge the files of the jobs into the data sets, with a summary."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from labels import isolated_atoms

VALID_FRACTION = 0.03
REPLAY_FRAMES = 400


def draw_replay(frames: list[Atoms], count: int, rng: np.random.Generator) -> set[int]:
    """Indices of frames spread evenly over config types, and over molecules within each type."""
    by_type: dict[str, list[int]] = defaultdict(list)
    for index in rng.permutation(len(frames)):
        by_type[frames[index].info["config_type"]].append(int(index))
    used: Counter = Counter()
    drawn: set[int] = set()
    while len(drawn) < min(count, len(frames)):
        for config_type in sorted(by_type):
            pool = by_type[config_type]
            if pool and len(drawn) < count:
                index = min(pool, key=lambda i: used[frames[i].info["molecule"]])
                pool.remove(index)
                used[frames[index].info["molecule"]] += 1
                drawn.add(index)
    return drawn


def write(path: Path, frames: list[Atoms]) -> None:
    """Write extxyz; the name appears only once the file is complete."""
    temporary = path.with_suffix(".partial")
    ase.io.write(temporary, frames, format="extxyz")
    temporary.replace(path)


def statistics(frames: list[Atoms]) -> dict:
    """Counts, sizes and forces (eV/Å, per atom vector) of one split."""
    if not frames:
        return {"frames": 0}
    norms = np.concatenate([np.linalg.norm(a.arrays["REF_forces"], axis=1) for a in frames])
    sizes = [len(atoms) for atoms in frames]
    return {
        "frames": len(frames),
        "mean_atoms": round(float(np.mean(sizes)), 2),
        "max_atoms": max(sizes),
        "force_norm_rms": round(float(np.sqrt(np.mean(norms**2))), 3),
        "force_norm_max": round(float(norms.max()), 3),
        "config_type": dict(sorted(Counter(a.info["config_type"] for a in frames).items())),
        "molecule": dict(sorted(Counter(a.info["molecule"] for a in frames).items())),
    }


def merge(out: Path, stems: list[str], seed: int, seconds: float) -> None:
    """Write the data sets and summary.json from the finished jobs, given in a fixed order."""
    frames: dict[str, list[Atoms]] = defaultdict(list)
    rejected: Counter = Counter()
    proposed, job_seconds = 0, 0.0
    for stem in stems:
        report = json.loads((out / "jobs" / f"{stem}.json").read_text())
        rejected.update(report["rejected"])
        proposed += report["proposed"]
        job_seconds += report["seconds"]
        if report["kept"]:
            frames[report["split"]] += ase.io.read(out / "jobs" / f"{stem}.xyz", index=":")
    rng = np.random.default_rng([seed, 1])
    everything = frames["train"]
    is_valid = rng.random(len(everything)) < VALID_FRACTION
    rest = [atoms for atoms, valid in zip(everything, is_valid, strict=True) if not valid]
    # A short test run must not end up with all of its frames here.
    replay = draw_replay(rest, min(REPLAY_FRAMES, len(rest) // 10), rng)
    splits = {
        "train": [atoms for index, atoms in enumerate(rest) if index not in replay],
        "valid": [atoms for atoms, valid in zip(everything, is_valid, strict=True) if valid],
        "replay": [rest[index] for index in sorted(replay)],
        "test": frames["test"],
        "forgetting": frames["forgetting"],
        "isolated_atoms": isolated_atoms(),
    }
    for name, members in splits.items():
        write(out / f"{name}.xyz", members)
    summary = {
        "seed": seed,
        "jobs": len(stems),
        "proposed_frames": proposed,
        "rejected": dict(sorted(rejected.items())),
        "wall_seconds_of_last_run": round(seconds),
        "seconds_of_jobs": round(job_seconds),
        "versions": {name: version(name) for name in ("ase", "tblite", "rdkit", "numpy", "scipy")},
        "splits": {name: statistics(members) for name, members in splits.items()},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
