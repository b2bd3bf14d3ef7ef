"""Generate the training data of organic-xs: GFN2-xTB energies and forces of H/C/N/O molecules.

Each molecule, cluster and path is a job with its own random numbers, so that the result depends
on the seed alone and not on the number of workers; a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import ase.io
import numpy as np
from rdkit import RDLogger

import molecules
from build import conformers
from labels import label
from merge import merge
from sample import cluster, contact, md, path, rattle, stretch, tagged

PARTNERS = ("O", "N", "C", "C=O", "C#N", "CO", "C=C", "[H][H]", "O=C=O", "N#N", "OC=O", "CN")
TEMPERATURES = (300, 500, 800, 1200, 1500)  # K
# MD frames per temperature and frames per other sampler, for a molecule of ten atoms.
TRAINING_COUNTS = {"md": (13, 13, 13, 13, 10), "rattled": 10, "stretch": 13, "contact": 13}
# The accuracy is quoted at 300 - 800 K, so that the test set is mostly that.
TEST_COUNTS = {"md": (26, 26, 26, 7, 5), "rattled": 8, "stretch": 0, "contact": 0}
FORGETTING_COUNTS = {"md": (7, 7, 7, 6, 4), "rattled": 6, "stretch": 7, "contact": 6}


@dataclass(frozen=True)
class Job:
    """One unit of work; `smiles` are the molecule, the members, or the two ends."""

    kind: str
    name: str
    split: str
    smiles: tuple[str, ...]
    seed: int
    scale: float

    @property
    def stem(self) -> str:
        """File name without its suffix."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return f"{self.kind}-{re.sub('[^A-Za-z0-9]+', '_', self.name).strip('_')}-{digest}"

    def generator(self) -> np.random.Generator:
        """Random numbers of this job alone."""
        digest = hashlib.sha256(f"{self.seed}/{self.kind}/{self.name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def all_jobs(seed: int, scale: float) -> list[Job]:
    """Every job: the unseen molecules first, then the others shuffled.

    What is finished early is a fair sample that way, and can be merged and used.
    """
    jobs = [
        Job("molecule", smiles, split, (smiles,), seed, scale)
        for split, listed in (
            ("train", molecules.TINY + molecules.TRAIN),
            ("test", molecules.TEST),
            ("forgetting", molecules.FORGETTING),
        )
        for smiles in listed
    ]
    jobs += [Job("cluster", k, "train", v, seed, scale) for k, v in molecules.CLUSTERS.items()]
    jobs += [Job("path", k, "train", v, seed, scale) for k, v in molecules.PATHS.items()]
    order = np.random.default_rng(seed).permutation(len(jobs))
    return sorted((jobs[index] for index in order), key=lambda job: job.split == "train")


def molecule_frames(
    job: Job, rng: np.random.Generator, rejected: Counter
) -> tuple[list[ase.Atoms], float]:
    """Frames of one molecule and the energy (eV) of its best conformer."""
    counts = {"train": TRAINING_COUNTS, "test": TEST_COUNTS, "forgetting": FORGETTING_COUNTS}[
        job.split
    ]
    starts = conformers(job.smiles[0], 4, int(rng.integers(2**31 - 1)), rejected)
    if not starts:
        return [], np.nan
    # Large molecules have more to say, except in the test set, where all count the same.
    size = 1.0 if job.split == "test" else float(np.clip(len(starts[0]) / 10.0, 0.5, 1.6))

    def scaled(count: float) -> int:
        return int(np.ceil(count * size * job.scale))

    frames = [tagged(atoms, "relaxed") for atoms in starts]
    for temperature, count in zip(TEMPERATURES, counts["md"], strict=True):
        # One run each, from different conformers where there are any; two where accuracy is quoted.
        runs = 2 if job.split == "test" else 1
        for run in range(runs):
            start = starts[rng.integers(len(starts))]
            number = (scaled(count) + run) // runs
            frames += md(start, temperature, number, f"md{temperature}", rng, rejected)
    frames += rattle(starts, scaled(counts["rattled"]), rng)
    frames += stretch(starts, scaled(counts["stretch"]), rng)
    if counts["contact"]:
        partners = [conformers(s, 1, 1, Counter())[0] for s in PARTNERS]
        frames += contact(starts, partners, scaled(counts["contact"]), rng)
    return frames, starts[0].info["energy_relaxed"]


def cluster_frames(
    job: Job, rng: np.random.Generator, rejected: Counter
) -> tuple[list[ase.Atoms], float]:
    """Frames of one cluster and the energy (eV) of its molecules apart."""
    members = [conformers(smiles, 2, 1, rejected) for smiles in job.smiles]
    floor = sum(options[0].info["energy_relaxed"] for options in members)
    return cluster(members, job.scale, rng, rejected), floor


def path_frames(
    job: Job, rng: np.random.Generator, rejected: Counter
) -> tuple[list[ase.Atoms], float]:
    """Frames of one path and the energy (eV) of its lower end, molecules apart and relaxed."""
    frames = path((job.smiles[0], job.smiles[1]), job.scale, rng, rejected)
    ends = [[conformers(s, 1, 1, Counter())[0] for s in e.split(".")] for e in job.smiles]
    return frames, min(sum(piece.info["energy_relaxed"] for piece in end) for end in ends)


def run_job(job: Job, folder: Path) -> str:
    """Do one job and write its frames and counts; returns a line for the log."""
    began = time.monotonic()
    RDLogger.DisableLog("rdApp.*")
    rng, rejected = job.generator(), Counter()
    makers = {"molecule": molecule_frames, "cluster": cluster_frames, "path": path_frames}
    frames, floor = makers[job.kind](job, rng, rejected)
    proposed = len(frames)
    kept = label(frames, floor, rejected)
    for atoms in kept:
        atoms.info["molecule"] = job.name
    target, report = folder / f"{job.stem}.xyz", folder / f"{job.stem}.json"
    temporary = target.with_suffix(".partial")
    ase.io.write(temporary, kept, format="extxyz")
    temporary.replace(target)
    record = asdict(job) | {"proposed": proposed, "kept": len(kept), "rejected": dict(rejected)}
    record["seconds"] = round(time.monotonic() - began, 1)
    # The report comes last: a job counts as done when it is there.
    temporary.write_text(json.dumps(record))
    temporary.replace(report)
    return f"{job.stem}: {len(kept)} of {proposed} frames, {record['seconds']} s {dict(rejected)}"


def finished(job: Job, folder: Path) -> bool:
    """Whether an earlier run with the same settings did this job."""
    report = folder / f"{job.stem}.json"
    if not report.exists():
        return False
    record = json.loads(report.read_text())
    return all(record[key] == getattr(job, key) for key in ("seed", "scale", "split"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/organic-xs"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20240501)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the frame counts")
    parser.add_argument("--only", default="", help="regular expression for job names, for tests")
    parser.add_argument("--merge-only", action="store_true", help="merge the jobs done so far")
    options = parser.parse_args()
    molecules.check()
    folder = options.out / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    # Workers inherit this; one thread each keeps results and speed independent of their number.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    began = time.monotonic()
    jobs = [j for j in all_jobs(options.seed, options.scale) if re.search(options.only, j.stem)]
    todo = [] if options.merge_only else [job for job in jobs if not finished(job, folder)]
    with ProcessPoolExecutor(
        options.workers, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        futures = {pool.submit(run_job, job, folder): job for job in todo}
        for number, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            line = f"{futures[future].stem}: FAILED {error!r}" if error else future.result()
            print(f"[{number}/{len(todo)}] {line}", flush=True)
    stems = sorted(job.stem for job in jobs if finished(job, folder))
    merge(options.out, stems, options.seed, time.monotonic() - began)


if __name__ == "__main__":
    main()
