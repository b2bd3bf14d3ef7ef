"""Radial distribution functions of periodic structures, and coordination numbers from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from scipy.spatial import cKDTree

from tunesmith.check.averages import Estimate, of_blocks
from tunesmith.check.trajectory import Trajectory
from tunesmith.errors import ConfigError, DataError
from tunesmith.explore.explosion import with_images

#: Å: width of the Gaussian that g(r) is smoothed with before its extrema are looked for
_SMOOTHING = 0.05
#: Å: nearer than this an atom is itself
_ITSELF = 1e-6
#: how far a maximum must stand out of g(r) to be a shell
_PROMINENCE = 0.1


@dataclass(frozen=True)
class RDF:
    """g(r) of one pair of species in bins, with B blocks for its error.

    edges: (bins + 1,) Å. blocks: (B, bins), g of each block. neighbours: (B, bins), how many atoms
    of the second species lie within each bin of one of the first, on average.
    """

    pair: tuple[str, str]
    edges: np.ndarray
    blocks: np.ndarray
    neighbours: np.ndarray

    @property
    def r(self) -> np.ndarray:
        """Middles of the bins, Å."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def g(self) -> np.ndarray:
        return np.asarray(self.blocks.mean(0))

    @property
    def error(self) -> np.ndarray:
        """Standard error of g over the blocks."""
        return of_blocks(self.blocks)[1]

    def first_shell(self) -> "Shell | None":
        """The first maximum, the minimum behind it, and the atoms up to there; None where g has no
        second maximum, which leaves no place for the minimum."""
        width = self.edges[1] - self.edges[0]
        smooth = gaussian_filter1d(self.g, _SMOOTHING / width, mode="nearest")
        peaks, _ = find_peaks(smooth, prominence=_PROMINENCE)
        if len(peaks) < 2:
            return None
        between = smooth[peaks[0] : peaks[1] + 1]
        # between the shells of a solid g is 0 over a while: the middle of it
        lowest = np.flatnonzero(between <= between.min() + 1e-9)
        minimum = int(peaks[0] + round(float(lowest.mean())))
        within = self.neighbours[:, : minimum + 1].sum(1)
        mean, error = of_blocks(within)
        number = Estimate(float(mean), float(error))
        return Shell(float(self.r[peaks[0]]), float(self.edges[minimum + 1]), number)


@dataclass(frozen=True)
class Shell:
    """maximum, minimum: Å, of g(r). number: atoms of the second species up to the minimum."""

    maximum: float
    minimum: float
    number: Estimate


def largest_radius(trajectories: Sequence[Trajectory]) -> float:
    """Å: half the shortest height of any cell; within it no atom is seen twice."""
    inverse = np.linalg.inv(np.concatenate([t.cells for t in trajectories]))
    return float(0.5 / np.linalg.norm(inverse, axis=1).max())


def rdf(
    trajectories: Sequence[Trajectory],
    pair: tuple[str, str],
    *,
    r_max: float | None = None,
    bin_width: float = 0.02,
    blocks: int = 5,
) -> RDF:
    """g(r) of two species, from independent runs of one system; periodic images are counted.

    g = <V × pairs in the bin> / (N_a (N_b - δ_ab) × volume of the bin), so that an ideal gas of as
    many atoms gives 1, not 1 - 1/N. r_max: Å; None: `largest_radius`. Beyond that an atom has
    several images of another as neighbours, which is right for crystals.

    Raises `DataError` for species that are not there or single, and structures that are not
    periodic in three directions; `ConfigError` for settings without sense.
    """
    if not trajectories:
        raise DataError("there is no trajectory; simulate first.")
    if not all(t.periodic for t in trajectories):
        raise DataError("g(r) needs three periodic directions: without them there is no density.")
    reach = largest_radius(trajectories) if r_max is None else r_max
    if not 0 < bin_width <= reach:
        raise ConfigError(f"bin_width: {bin_width:g} Å must be over 0 and under r_max.")
    n_bins = int(reach / bin_width * (1 + 1e-12))
    edges = bin_width * np.arange(n_bins + 1)
    first, second = _indices(pair, trajectories[0].numbers)
    like = pair[0] == pair[1]
    norm = len(first) * (len(second) - like) * 4 / 3 * np.pi * np.diff(edges**3)
    counted, weighted = [], []
    for part in (p for t in trajectories for p in t.blocks(blocks)):
        counts = np.array([_counts(part, k, first, second, edges) for k in range(len(part))])
        counted.append(counts.mean(0) / len(first))
        weighted.append((counts * part.volumes[:, None]).mean(0) / norm)
    return RDF(pair, edges, np.array(weighted), np.array(counted))


def _indices(pair: tuple[str, str], numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for symbol in pair:
        chosen = np.flatnonzero(numbers == atomic_numbers.get(symbol, -1))
        if not len(chosen):
            raise DataError(f"g(r) of {'-'.join(pair)}: the structure has no {symbol!r}.")
        found.append(chosen)
    if pair[0] == pair[1] and len(found[0]) < 2:
        raise DataError(f"g(r) of {'-'.join(pair)}: there is only one {pair[0]}; take more cells.")
    return found[0], found[1]


def _counts(
    trajectory: Trajectory, k: int, first: np.ndarray, second: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """How many pairs of sample k lie in each bin; an atom is no neighbour of itself."""

    def species(chosen: np.ndarray) -> Atoms:
        return Atoms(
            trajectory.numbers[chosen],
            trajectory.positions[k, chosen],
            cell=trajectory.cells[k],
            pbc=True,
        )

    centres, _ = with_images(species(first), 0.0)
    around, _ = with_images(species(second), edges[-1])
    near = cKDTree(centres).sparse_distance_matrix(
        cKDTree(around), edges[-1], output_type="ndarray"
    )["v"]
    return np.histogram(near[near > _ITSELF], edges)[0]
