"""When a trajectory has left the world of structures: too close, too hot, flown apart."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from tunesmith.errors import TunesmithError


class ExplosionError(TunesmithError):
    """A walker's next structure makes no sense. walker: its index; reason: one clause for people;
    atoms: that structure (the loop may want to label it)."""

    def __init__(self, walker: int, reason: str, atoms: Atoms) -> None:
        super().__init__(f"walker {walker}: {reason}.")
        self.walker, self.reason, self.atoms = walker, reason, atoms


@dataclass(frozen=True)
class Limits:
    """min_distance: fraction of the sum of two covalent radii; max_separation: Å, between the
    parts of a structure periodic in no direction; max_volume_change: factor either way."""

    min_distance: float
    max_separation: float
    max_volume_change: float


def what_is_wrong(atoms: Atoms, limits: Limits, start_volume: float) -> str | None:
    """Why this structure makes no sense, as a clause; None where it does.

    start_volume: Å³, of the cell it started with; 0 without one.
    """
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "a position or the cell is not a finite number"
    if start_volume > 0:
        change = atoms.cell.volume / start_volume
        if not 1 / limits.max_volume_change <= change <= limits.max_volume_change:
            return f"the cell's volume is {change:.3g} times that of the start"
    radii = covalent_radii[atoms.numbers]
    if (close := too_close(atoms, limits.min_distance, radii)) is not None:
        return close
    if not atoms.pbc.any() and (lost := _apart(atoms.positions, limits.max_separation)):
        return f"{lost} of {len(atoms)} atoms are over {limits.max_separation:g} Å from the others"
    return None


def too_close(atoms: Atoms, fraction: float, radii: np.ndarray) -> str | None:
    """The pair nearest to each other in units of its radii (n,), as a clause; None where that is
    not under ``fraction``. Periodic images are included."""
    from scipy.spatial import cKDTree  # takes a fifth of a second to import, as csgraph below

    reach = 2 * fraction * radii.max()
    points, owner = with_images(atoms, reach)
    # a tree costs microseconds where a neighbour list of every step would cost milliseconds
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    if not len(pairs):
        return None
    first, second = owner[pairs].T
    distance = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    relative = distance / (radii[first] + radii[second])
    worst = int(np.argmin(relative))
    if relative[worst] >= fraction:
        return None
    i, j = sorted((int(first[worst]), int(second[worst])))
    symbols = atoms.get_chemical_symbols()
    return f"atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) are {distance[worst]:.3g} Å apart"


def with_images(atoms: Atoms, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the cell with the periodic images within ``reach`` of it, and whose they are."""
    owner = np.arange(len(atoms))
    if not atoms.pbc.any():
        return atoms.positions, owner
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    scaled = atoms.positions @ inverse
    scaled[:, atoms.pbc] %= 1.0
    margins = reach * np.linalg.norm(inverse, axis=0)  # reach over the cell's heights
    for axis in np.flatnonzero(atoms.pbc):
        kept, owners = [scaled], [owner]
        for shift in range(1, int(np.ceil(margins[axis])) + 1):
            for signed in (shift, -shift):
                moved = scaled[:, axis] + signed
                near = (moved > -margins[axis]) & (moved < 1 + margins[axis])
                image = scaled[near]
                image[:, axis] += signed
                kept.append(image)
                owners.append(owner[near])
        scaled, owner = np.concatenate(kept), np.concatenate(owners)
    return scaled @ cell, owner


def _apart(positions: np.ndarray, reach: float) -> int:
    """How many atoms are not in the largest part, parts being further than ``reach`` apart."""
    if np.linalg.norm(np.ptp(positions, axis=0)) <= reach:
        return 0
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray")
    n = len(positions)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, part = connected_components(graph, directed=False)
    return int(n - np.bincount(part).max())
