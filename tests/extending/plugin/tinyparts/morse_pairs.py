"""A reference: every pair of atoms bound by a Morse potential."""

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from pydantic import Field

from tunesmith.references.engine import Engine, require_package
from tunesmith.references.sanity import ElectronicState
from tunesmith.units import parse


class MorsePairs(Engine):
    """depth·(1 − exp(−stiffness·(r − r₀)))² − depth for every pair, r₀ the sum of covalent radii;
    faded out towards the cutoff."""

    kind: ClassVar[str] = "morse-pairs"
    install: ClassVar[str] = "pip install tinyparts"

    depth: str = Field("1 eV", description="of every pair")
    stiffness: float = Field(1.5, gt=0, description="1/Å")
    cutoff: str = Field("5 Å", description="pairs further apart do not count")

    def version(self) -> str:
        return require_package("tinyparts", self.kind, self.install)

    def compute(self, atoms: Atoms, state: ElectronicState, safer: bool) -> dict[str, Any]:
        depth = parse(self.depth, "energy", field="reference.depth").value
        reach = parse(self.cutoff, "length", field="reference.cutoff").value
        first, second, r, lines = neighbor_list("ijdD", atoms, reach)
        radii = covalent_radii[atoms.numbers]
        near = np.exp(-self.stiffness * (r - radii[first] - radii[second]))
        fade, x = (1 - (r / reach) ** 2) ** 2, depth * ((1 - near) ** 2 - 1)
        slope = 2 * depth * self.stiffness * (1 - near) * near * fade
        slope -= 4 * x * (1 - (r / reach) ** 2) * r / reach**2
        # every pair is met from both sides, so that half of it belongs to each
        pulls = (slope / r)[:, None] * lines
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, pulls)
        result = {"energy": 0.5 * float((x * fade).sum()), "forces": forces}
        if atoms.pbc.all():
            result["stress"] = 0.5 * (lines.T @ pulls) / atoms.get_volume()
        return result
