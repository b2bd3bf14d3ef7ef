"""A check: whether pairs of atoms push each other apart when they come too close."""

from itertools import combinations_with_replacement
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from pydantic import Field

from tunesmith.contracts import Check, Examined, Health


class DimerWall(Check):
    """Every two elements of the structure as a pair in vacuum, at ever shorter distances.

    Well: the mean force pushes all of them apart at every distance.
    """

    kind: ClassVar[str] = "dimer-wall"
    needs: ClassVar[frozenset[str]] = frozenset({"start"})
    widest: float = Field(0.7, gt=0, description="first distance, of the sum of covalent radii")
    closest: float = Field(0.4, gt=0, description="last distance, of the sum of covalent radii")
    points: int = Field(4, ge=2, description="distances")

    def run(self, examined: Examined) -> Health:
        pushes: dict[str, list[float]] = {}
        for pair in combinations_with_replacement(sorted(set(examined.start.symbols)), 2):
            numbers = [atomic_numbers[symbol] for symbol in pair]
            apart = np.linspace(self.widest, self.closest, self.points)
            lengths = apart * covalent_radii[numbers].sum()
            dimers = [Atoms(numbers, [[0, 0, 0], [r, 0, 0]]) for r in lengths]
            forces = examined.posterior.predict(dimers).mean.forces.reshape(-1, 2, 3)
            pushes["-".join(pair)] = forces[:, 1, 0].tolist()
        soft = [pair for pair, along in pushes.items() if min(along) <= 0]
        verdict = f"{len(pushes) - len(soft)} of {len(pushes)} pairs push apart at every distance"
        verdict += f"; not {', '.join(soft)}." if soft else "."
        return Health(verdict, not soft, {"push_eV_per_A": pushes})
