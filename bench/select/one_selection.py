"""One selection, in a process of its own, and the pools it reads.

Imported before anything large is: what a process needs beside the features is counted.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

LABELLED, PICKS, NOISE = 50, 100, 1e-3
WIDTH = 256  # of random features
REAL = ("activation", "ntk")  # features of a model
_MB = 1024  # kB


def pool_file(work: Path, kind: str, n: int, frames: int) -> Path:
    """A file of n + 50 rows, the labelled ones last; made once. kind: of `REAL`, random or half
    (random in float16)."""
    file = work / (f"{kind}-{n}-{frames}.npy" if kind in REAL else f"{kind}-{n}.npy")
    if not file.exists():
        import numpy as np

        work.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(1)
        total, half = n + LABELLED, file.with_suffix(".part.npy")
        distinct = real(work, kind, frames) if kind in REAL else np.empty((0, WIDTH))
        shape, dtype = (total, distinct.shape[1]), np.float16 if kind == "half" else np.float32
        rows = np.lib.format.open_memmap(half, "w+", dtype, shape)
        order, sigma = rng.permutation(total), neighbour_distance(distinct) / shape[1] ** 0.5
        for i in range(0, total, 2**14):
            noise = rng.standard_normal((min(2**14, total - i), shape[1]), dtype=np.float32)
            if kind in REAL:
                which = order[i : i + 2**14]
                # each frame once as it is, the others are copies with noise
                noise = distinct[which % frames] + sigma * (which >= frames)[:, None] * noise
            rows[i : i + 2**14] = noise
        rows.flush()
        half.rename(file)
    return file


def real(work: Path, kind: str, frames: int) -> Any:
    from bench.select.pools import real_features

    return real_features(work, kind, frames)


def neighbour_distance(rows: Any) -> float:
    """Median distance to the nearest other row, of up to 256 rows."""
    import numpy as np

    nearest = []
    for row in rows[:256].astype(float):
        squared = np.sort(((rows - row) ** 2).sum(1))
        nearest.append(float(squared[1]) ** 0.5)
    return median(nearest) if nearest else 0.0


def memory_kb(name: str) -> int:
    """A line of this process's own status: VmRSS, VmHWM (peak), RssAnon."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def chosen(file: str, rule: str, package: str, wide: bool, mapped: bool) -> dict[str, Any]:
    """Picks, seconds and memory of one selection; wide: features in float64 first."""
    import numpy as np

    rows = np.load(file, mmap_mode="r" if mapped else None)
    if wide:
        rows = rows.astype(np.float64)
    pool, labelled = rows[:-LABELLED], np.array(rows[-LABELLED:])
    select = ours(rule) if package == "tunesmith" else theirs(rule)
    select(np.array(pool[:300]), labelled, 3)  # whatever is slow the first time
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, anonymous = memory_kb("VmRSS"), memory_kb("RssAnon")
    wall, cpu = time.perf_counter(), time.process_time()
    picks, work = select(pool, labelled, PICKS)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # pages of a mapped file are counted as memory too, but are the system's to take back
    mapped_mb = (memory_kb("VmHWM") - memory_kb("VmRSS") + memory_kb("RssAnon") - anonymous) / _MB
    peak = mapped_mb if mapped else (memory_kb("VmHWM") - before) / _MB
    return {"picks": picks, "wall_s": wall, "cpu_s": cpu, "beside_mb": peak, "work": work}


def ours(rule: str) -> Callable[..., Any]:
    from tunesmith.acquire.greedy import by_cluster, by_distance, by_variance
    from tunesmith.acquire.points import Points

    def select(pool: Any, labelled: Any, n: int) -> tuple[list[int], dict[str, int]]:
        points, known = Points(pool, "linear"), Points(labelled, "linear")
        if rule == "lcmd":
            picks, _, work = by_cluster(points, known, n)
            return picks.tolist(), vars(work)
        if rule == "kcenter":
            picks, _, computed = by_distance(points, known, n)
        else:
            picks, _, computed = by_variance(points, known, n, NOISE)
        return picks.tolist(), {"pairs": (n - 1) * len(points), "computed": computed}

    return select


def theirs(rule: str) -> Callable[..., Any]:
    import numpy as np
    import torch

    setattr(np, "Inf", np.inf)  # noqa: B010  bmdal_reg uses a name that NumPy 2 removed
    torch.set_num_threads(1)
    from bmdal_reg.bmdal import selection
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
    from bmdal_reg.bmdal.features import Features

    def select(pool: Any, labelled: Any, n: int) -> tuple[list[int], None]:
        a, b = (
            Features(IdentityFeatureMap(x.shape[1]), TensorFeatureData(torch.from_numpy(x)))
            for x in (pool, labelled)
        )
        a, b = a.precompute(), b.precompute()
        options: dict[str, Any] = {"sel_with_train": True, "verbosity": 0}
        if rule == "lcmd":
            method = selection.LargestClusterMaxDistSelectionMethod(a, b, **options)
        else:
            method = selection.MaxDetSelectionMethod(a, b, noise_sigma=NOISE**0.5, **options)
        return method.select(n).tolist(), None

    return select
