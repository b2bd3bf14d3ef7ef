"""Self-diffusion by Einstein's relation: the slope of the mean squared displacement."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.neighborlist import build_neighbor_list, natural_cutoffs
from scipy.sparse.csgraph import connected_components

from tunesmith.check.averages import of_blocks
from tunesmith.check.trajectory import Trajectory
from tunesmith.errors import ConfigError, DataError

#: Å²/fs in 10⁻⁹ m²/s
NANO = 1e4
#: fewest lags through which a line is laid
_FEWEST = 3
#: blocks over all trajectories, where no number is given
_BLOCKS = 6


@dataclass(frozen=True)
class Diffusion:
    """D and its standard error, Å²/fs (times `NANO`: 10⁻⁹ m²/s), for the periodic cell as it is.

    exponent: of MSD ~ lag^exponent over the fitted lags: 1 where particles diffuse, near 0 in a
    solid, 2 while they still fly. fit: fs, the lags of the line. n_particles, n_blocks: what was
    averaged over.
    """

    value: float
    error: float
    exponent: float
    fit: tuple[float, float]
    n_particles: int
    n_blocks: int


def molecules(atoms: Atoms) -> list[np.ndarray]:
    """Indices of the atoms of every molecule: what bonds of covalent radii join."""
    neighbours = build_neighbor_list(atoms, natural_cutoffs(atoms), self_interaction=False)
    _, labels = connected_components(neighbours.get_connectivity_matrix(), directed=False)
    return [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]


def paths(trajectory: Trajectory, groups: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Where particles have gone, (T, m, 3) Å, less the drift of the whole.

    groups: indices of each particle's atoms, whose centre of mass is followed (`molecules`); None:
    every atom is one. In a cell that changes, paths are those in scaled coordinates times the mean
    cell, so that its breathing is no displacement.
    """
    moved, masses = trajectory.positions, trajectory.masses
    if trajectory.periodic:
        scaled = moved @ np.linalg.inv(trajectory.cells)
        moved = scaled @ trajectory.cells.mean(0)
    moved = moved - np.einsum("tnc,n->tc", moved, masses / masses.sum())[:, None]
    if groups is None:
        return moved
    centres = [np.einsum("tnc,n->tc", moved[:, g], masses[g] / masses[g].sum()) for g in groups]
    return np.stack(centres, axis=1)


def mean_squared_displacement(positions: np.ndarray) -> np.ndarray:
    """MSD(lag) = <|r(t + lag) - r(t)|²> over all t and particles: (T, m, 3) Å → (T,) Å².

    By fast Fourier transforms, O(T log T) (Calandrini et al., Collection SFN 12, 201, 2011).
    """
    n = len(positions)
    r = positions - positions.mean(0)  # large coordinates would cost digits
    squares = (r**2).sum(2)
    spectrum = np.fft.rfft(r, n=2 * n, axis=0)
    products = np.fft.irfft((spectrum * spectrum.conj()).sum(2).real, n=2 * n, axis=0)[:n]
    before = np.concatenate([np.zeros((1, r.shape[1])), squares.cumsum(0)])
    lag = np.arange(n)
    # Σ_t |r(t)|² over t < n - lag, and over t ≥ lag
    sums = before[n - lag] + before[n] - before[lag]
    count = (n - lag)[:, None]
    result: np.ndarray = ((sums - 2 * products) / count).mean(1)
    result[0] = 0.0
    return result


def self_diffusion(
    trajectories: Sequence[Trajectory],
    *,
    species: str | None = None,
    groups: Sequence[np.ndarray] | None = None,
    fit: tuple[float, float] = (0.1, 0.5),
    blocks: int | None = None,
) -> Diffusion:
    """D = slope of MSD over lag / 6, fitted with an intercept; independent runs of one system.

    species: of the atoms that are followed; groups: particles of several atoms instead. fit: the
    lags of the line, as fractions of a block's duration; they should begin where flight and cage
    have been left behind. blocks: parts of each trajectory; None: as many as make six in all. The
    error is that over the parts, each fitted by itself, because the points of one MSD are far from
    independent.

    D of a periodic cell is too small by 2.837 kT/(6 π η L) (Yeh and Hummer, J. Phys. Chem. B 108,
    15873, 2004); that is not corrected, for it needs the viscosity η.

    Raises `ConfigError` for settings without sense, `DataError` where there is too little data.
    """
    low, high = fit
    if not 0 < low < high <= 1:
        raise ConfigError(f"fit: {fit} must be two fractions of a block, as (0.1, 0.5).")
    if not trajectories:
        raise DataError("there is no trajectory; simulate first.")
    if species is not None:
        if groups is not None:
            raise ConfigError("species: give species or groups, not both.")
        groups = _atoms_of(species, trajectories[0])
    each = blocks or ceil(_BLOCKS / len(trajectories))
    parts = [part for t in trajectories for part in t.blocks(each)]
    interval, length = parts[0].interval, min(len(p) for p in parts)
    if any(p.interval != interval for p in parts):
        raise DataError("the trajectories have different intervals; give runs sampled alike.")
    first, last = max(1, round(low * (length - 1))), round(high * (length - 1))
    if last - first + 1 < _FEWEST:
        raise DataError(
            f"blocks of {length} samples are too short for a line through {_FEWEST} lags; simulate "
            "longer, sample more often or take fewer blocks."
        )
    lags = np.arange(first, last + 1)
    moved = [paths(p, groups)[:length] for p in parts]
    curves = np.array([mean_squared_displacement(m)[lags] for m in moved])
    slopes = np.polyfit(lags * interval, curves.T, 1)[0] / 6
    value, error = of_blocks(slopes)
    mean = curves.mean(0)
    exponent = float("nan")
    if (mean > 0).all():
        exponent = float(np.polyfit(np.log(lags), np.log(mean), 1)[0])
    lines = (float(first * interval), float(last * interval))
    return Diffusion(float(value), float(error), exponent, lines, moved[0].shape[1], len(parts))


def _atoms_of(species: str, trajectory: Trajectory) -> list[np.ndarray]:
    number = atomic_numbers.get(species)
    chosen = np.flatnonzero(trajectory.numbers == number)
    if number is None or not len(chosen):
        there = sorted({_symbol(z) for z in trajectory.numbers})
        raise DataError(f"species: there is no {species!r}; the structure has {', '.join(there)}.")
    return [np.array([i]) for i in chosen]


def _symbol(number: int) -> str:
    return str(Atoms([number]).get_chemical_symbols()[0])
