"""Which candidates of a pool to label: rules on feature vectors.

| rule | takes, one after the other |
|---|---|
| `posterior_variance` | the largest variance of a Gaussian process that knows all taken so far |
| `lcmd` | in the cluster of largest summed squared distance the farthest from its centre |
| `kcenter` | the farthest from all taken and labelled: farthest-first traversal |
| `top` | the highest score |
| `random` | any |

Exact: the candidates are those of float64 over all pairs, up to ties within rounding, whatever
their order in the pool. No matrix of pairs is ever formed, and beside the features there are at
most two hundred bytes for each candidate; the pool may be memory-mapped. Largest-cluster
maximum-distance (LCMD): Holzmüller et al., JMLR 24 (2023) 164.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunesmith.acquire.lazy import lazy_greedy
from tunesmith.acquire.lcmd.clusters import Clusters, Work
from tunesmith.acquire.points import Points, closest, squared_distances
from tunesmith.acquire.variance import PosteriorVariance
from tunesmith.core import KERNEL_NOISE
from tunesmith.errors import ConfigError, DataError
from tunesmith.kernels import Kernel
from tunesmith.registry import nearest

Chosen = tuple[np.ndarray, np.ndarray]  # indices in order (n,), scores (n,)


@dataclass(frozen=True)
class Picks:
    """Chosen candidates in the order they were taken.

    indices: into the pool, (n,). scores: what the rule made largest, when the candidate was taken,
    (n,): posterior variance, distance to the nearest centre, the given score; NaN where there was
    nothing to compare with. nearest: index of the nearest labelled row by the kernel's distance,
    (n,); −1 without any.
    """

    indices: np.ndarray
    scores: np.ndarray
    nearest: np.ndarray


def posterior_variance(
    pool: np.ndarray,
    labelled: np.ndarray | None,
    n: int,
    *,
    noise: float = KERNEL_NOISE,
    kernel: Kernel = "linear",
) -> np.ndarray:
    """Greedily largest σ²(x) = k(x, x) − k_T(x)ᵀ (K_TT + λI)⁻¹ k_T(x); each pick joins T.

    pool: (p, d); labelled: (m, d) or None; noise: λ. Returns indices (n,). Without labelled rows
    and where all variances are the same (cosine, tanimoto) the first is nearest to the pool's mean
    feature. Raises `ConfigError` and `DataError` as `choose`.
    """
    return by_variance(*_sets(pool, labelled, n, kernel), n, noise)[0]


def lcmd(
    pool: np.ndarray, labelled: np.ndarray | None, n: int, *, kernel: Kernel = "linear"
) -> np.ndarray:
    """Largest-cluster maximum-distance: every candidate belongs to its nearest centre, labelled or
    taken, by d² = k(x, x) + k(z, z) − 2 k(x, z); of the cluster of largest summed d² the farthest.

    Shapes and errors as of `posterior_variance`. Without labelled rows the first is nearest to the
    pool's mean feature.
    """
    return by_cluster(*_sets(pool, labelled, n, kernel), n)[0]


def kcenter(
    pool: np.ndarray, labelled: np.ndarray | None, n: int, *, kernel: Kernel = "linear"
) -> np.ndarray:
    """Farthest-first: the largest distance to the nearest centre, labelled or taken.

    Shapes, errors and the first pick as of `lcmd`.
    """
    return by_distance(*_sets(pool, labelled, n, kernel), n)[0]


def top(scores: np.ndarray, n: int) -> np.ndarray:
    """The n highest of scores (p,), highest first; of equals the first. Raises `DataError`."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise DataError(f"scores have shape {scores.shape}; give one number per candidate.")
    _enough(len(scores), n)
    wrong = np.flatnonzero(np.isnan(scores))
    if len(wrong):
        raise DataError(
            f"{len(wrong)} scores are not numbers (candidate {wrong[0]}, from 0); leave these "
            "structures out."
        )
    return np.argsort(-scores, kind="stable")[:n]


def random(pool: np.ndarray | int, n: int, rng: np.random.Generator) -> np.ndarray:
    """n different candidates of a pool, or of so many, in random order."""
    size = pool if isinstance(pool, int) else len(pool)
    _enough(size, n)
    return rng.choice(size, n, replace=False)


def by_variance(
    points: Points, known: Points | None, n: int, noise: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """`posterior_variance` of a checked pool: indices, variances, how many were computed later."""
    if not 0 < noise < np.inf:
        raise ConfigError(f"noise is {noise}, but must be over 0; 0.001 is usual.")
    process = PosteriorVariance(points.kernel, noise, points.width)
    first: list[int] = []
    scores: list[float] = []
    if known is not None:
        every = np.arange(len(known))
        process.add_all(known.vectors(every), known.diagonal(every))
    elif points.kernel != "linear":
        first, scores = [_nearest_to_mean(points)], [1.0]
        process.add(points.vectors(np.array(first))[0], 1.0)

    def variance(rows: np.ndarray) -> np.ndarray:
        found = np.empty(len(rows))
        for where, some in points.pieces(rows):
            found[where] = process.of(points.vectors(some), points.diagonal(some))
        return found

    values = np.empty(len(points))
    for part in points.parts():
        values[part] = process.of(points.vectors(part), points.diagonal(part))

    def take(row: int) -> None:
        one = np.array([row])
        process.add(points.vectors(one)[0], float(points.diagonal(one)[0]))

    values[first] = -np.inf
    picks, found, computed = lazy_greedy(values, variance, take, n - len(first))
    return np.append(first, picks).astype(int), np.append(scores, found), computed


def by_distance(points: Points, known: Points | None, n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """`kcenter` of a checked pool: indices, distances, how many were computed later."""
    first, centres = _centres(points, known)
    values = np.empty(len(points))
    for part in points.parts():
        values[part] = closest(points.vectors(part), centres, points.kernel)[1]
    taken = np.empty((0, points.width))

    def distance(rows: np.ndarray) -> np.ndarray:
        found = values[rows]
        for where, some in points.pieces(rows):
            now = closest(points.vectors(some), taken, points.kernel)[1]
            found[where] = np.minimum(found[where], now)
        return found

    def take(row: int) -> None:
        nonlocal taken
        taken = np.vstack([taken, points.vectors(np.array([row]))])

    values[first] = -np.inf
    picks, found, computed = lazy_greedy(values, distance, take, n - len(first))
    scores = np.append(np.full(len(first), np.nan), np.sqrt(found))
    return np.append(first, picks).astype(int), scores, computed


def by_cluster(points: Points, known: Points | None, n: int) -> tuple[np.ndarray, np.ndarray, Work]:
    """`lcmd` of a checked pool: indices, distances, what was compared."""
    first, centres = _centres(points, known)
    clusters = Clusters(points, centres, n)
    for row in first:
        clusters.drop(row)
    picks, scores = list(first), [np.nan] * len(first)
    while len(picks) < n:
        row, squared = clusters.largest()
        picks.append(row)
        scores.append(np.sqrt(squared))
        if len(picks) < n:
            clusters.add(row)
    return np.array(picks), np.array(scores), clusters.work


@dataclass(frozen=True)
class Rule:
    """What a rule looks at ("features", "scores" or "chance"), and its choice."""

    looks_at: Literal["features", "scores", "chance"]
    select: Callable[..., Chosen]


RULES = {
    "posterior-variance": Rule(
        "features", lambda points, known, n, noise: by_variance(points, known, n, noise)[:2]
    ),
    "lcmd": Rule("features", lambda points, known, n, noise: by_cluster(points, known, n)[:2]),
    "kcenter": Rule("features", lambda points, known, n, noise: by_distance(points, known, n)[:2]),
    "top": Rule("scores", lambda scores, n: (found := top(scores, n), np.asarray(scores)[found])),
    "random": Rule("chance", lambda size, n, rng: (random(size, n, rng), np.full(n, np.nan))),
}


def choose(
    rule: str,
    pool: np.ndarray,
    labelled: np.ndarray | None,
    n: int,
    *,
    kernel: Kernel = "linear",
    noise: float = KERNEL_NOISE,
    scores: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> Picks:
    """n candidates of a pool (p, d) by a rule's name, given labelled rows (m, d) or None.

    noise: λ of ``posterior-variance``. scores: (p,), for ``top`` only. rng: for ``random``. Raises
    `ConfigError` for a rule, a kernel, a number or a noise that there is not, and `DataError` for
    features that are not finite, of other widths or fewer than asked, and for rows without length
    under ``cosine`` and ``tanimoto``.
    """
    if rule not in RULES:
        raise ConfigError(f"rule: there is no {rule!r}; {nearest(rule, list(RULES))}")
    used = RULES[rule]
    points, known = _sets(pool, labelled, n, kernel)
    if (scores is not None) != (used.looks_at == "scores"):
        raise ConfigError(
            f"rule {rule}: needs scores, one per candidate."
            if scores is None
            else f"rule {rule}: looks at {used.looks_at}, but scores are given; use rule top."
        )
    if scores is not None:
        if len(scores) != len(points):
            raise DataError(f"there are {len(scores)} scores of {len(points)} candidates.")
        indices, found = used.select(scores, n)
    elif used.looks_at == "chance":
        if rng is None:
            raise ConfigError(f"rule {rule}: needs a random generator (rng).")
        indices, found = used.select(len(points), n, rng)
    else:
        indices, found = used.select(points, known, n, noise)
    return Picks(indices, found, _nearest_known(points, known, indices))


def _sets(
    pool: np.ndarray, labelled: np.ndarray | None, n: int, kernel: Kernel
) -> tuple[Points, Points | None]:
    """Pool and labelled rows, checked; None for no labelled rows."""
    points = Points(pool, kernel)
    _enough(len(points), n)
    if labelled is None or len(labelled) == 0:
        return points, None
    known = Points(labelled, kernel, "labelled")
    if known.width != points.width:
        raise DataError(
            f"the pool has {points.width} features for each structure, the labelled set "
            f"{known.width}; compute both with the same model and representation."
        )
    return points, known


def _enough(size: int, n: int) -> None:
    if n < 1:
        raise ConfigError(f"n is {n}: at least one candidate must be asked for.")
    if n > size:
        raise DataError(f"{n} candidates are asked for, but the pool has {size}; ask for fewer.")


def _centres(points: Points, known: Points | None) -> tuple[list[int], np.ndarray]:
    """Candidates taken because nothing is labelled, and the vectors to start from."""
    if known is not None:
        return [], known.vectors(np.arange(len(known)))
    first = [_nearest_to_mean(points)]
    return first, points.vectors(np.array(first))


def _nearest_to_mean(points: Points) -> int:
    """The candidate nearest the mean of all `vectors`, by the kernel's distance to it."""
    mean = np.zeros(points.width)
    for part in points.parts():
        mean += points.vectors(part).sum(0) / len(points)
    distances = [
        squared_distances(points.vectors(part), mean[None], points.kernel)[:, 0]
        for part in points.parts()
    ]
    return int(np.concatenate(distances).argmin())


def _nearest_known(points: Points, known: Points | None, rows: np.ndarray) -> np.ndarray:
    if known is None:
        return np.full(len(rows), -1)
    return closest(points.vectors(rows), known.vectors(np.arange(len(known))), points.kernel)[0]
