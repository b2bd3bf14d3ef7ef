"""What observables are computed from: positions that were never folded back, with their cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from tunesmith.errors import DataError


@dataclass(frozen=True)
class Trajectory:
    """T samples of the same n atoms at equal intervals.

    numbers, masses (u): (n,). pbc: (3,). positions: (T, n, 3) Å, unwrapped: an atom that leaves the
    cell goes on outside. cells: (T, 3, 3) Å. interval: fs between samples.
    """

    numbers: np.ndarray
    masses: np.ndarray
    pbc: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    interval: float

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def volumes(self) -> np.ndarray:
        """(T,) Å³."""
        return np.abs(np.linalg.det(self.cells))

    @property
    def periodic(self) -> bool:
        """In all three directions: without that there is no density."""
        return bool(self.pbc.all())

    def after(self, time: float) -> "Trajectory":
        """Without the samples of the first ``time`` fs. Raises `DataError` where none are left."""
        skip = int(np.ceil(time / self.interval * (1 - 1e-12)))
        if skip >= len(self):
            raise DataError(
                f"the first {time:g} fs are left out as equilibration, but the trajectory lasts "
                f"{self.interval * (len(self) - 1):g} fs; simulate longer."
            )
        return replace(self, positions=self.positions[skip:], cells=self.cells[skip:])

    def every(self, n: int) -> "Trajectory":
        """Every n-th sample."""
        return replace(
            self,
            positions=self.positions[::n],
            cells=self.cells[::n],
            interval=n * self.interval,
        )

    def blocks(self, n: int) -> list["Trajectory"]:
        """n parts of equal length, one after another; samples that are left over at the end go."""
        length = len(self) // n
        if length < 1:
            raise DataError(f"{len(self)} samples make no {n} blocks; sample more often or longer.")
        parts = (slice(k * length, (k + 1) * length) for k in range(n))
        return [replace(self, positions=self.positions[p], cells=self.cells[p]) for p in parts]


def from_frames(frames: Sequence[Atoms], interval: float) -> Trajectory:
    """A trajectory of any program, ``interval`` fs between frames; wrapped positions are unwrapped.

    Between two frames no atom may move by half the cell. Raises `DataError` for frames of different
    atoms, or none.
    """
    if not frames:
        raise DataError("there is no frame; a trajectory needs some.")
    first = frames[0]
    for i, atoms in enumerate(frames):
        same = np.array_equal(atoms.numbers, first.numbers) and (atoms.pbc == first.pbc).all()
        if not same:
            raise DataError(
                f"frame {i} has other atoms than the first, or other periodic directions; give the "
                "frames of one trajectory, atoms in one order."
            )
    positions = np.array([atoms.positions for atoms in frames])
    cells = np.array([atoms.cell.array for atoms in frames])
    if first.pbc.any():
        full = np.array([atoms.cell.complete().array for atoms in frames])
        scaled = positions @ np.linalg.inv(full)
        turns = -np.round(np.diff(scaled, axis=0)).cumsum(0) * first.pbc
        scaled[1:] += turns
        positions = scaled @ full
    return Trajectory(
        first.numbers.copy(), first.get_masses(), first.pbc.copy(), positions, cells, interval
    )
