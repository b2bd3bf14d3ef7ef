"""Run as a program: label frames with EMT into a store, saying which is committed, until killed."""

import sys
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from tunesmith.core import Failure, Label
from tunesmith.data.store import LabelStore


class EMTReference:
    """ASE's own EMT as a reference; counts its calls, and fails while told to."""

    kind = "emt"

    def __init__(self, version: str = "1", fails: bool = False) -> None:
        self.version, self.fails, self.calls = version, fails, 0

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "version": self.version}

    def label(self, atoms: Atoms) -> Label | Failure:
        self.calls += 1
        if self.fails:
            return Failure("not-converged", "told to", "/scratch/1")
        work = atoms.copy()
        work.calc = EMT()
        forces = work.get_forces(apply_constraint=False)
        stress = work.get_stress(voigt=False) if work.pbc.all() else None
        return Label(
            work.get_potential_energy(force_consistent=True),
            forces,
            stress,
            work.get_potential_energy() + 0.125,
        )


def copper(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(atoms.cell.array * np.linspace(0.98, 1.02, 3)[:, None], scale_atoms=True)
    return atoms


if __name__ == "__main__":
    path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with LabelStore(path) as store:
        print("open", flush=True)
        for number in range(first, last):
            label = store.label(copper(number), EMTReference(), origin=str(number))
            print(number, repr(label.energy), flush=True)
