"""The start of recipes/water.yaml: eight molecules of water in a periodic box of liquid density.

    python recipes/water/make.py examples/data/water-8.xyz

On a cubic grid, turned by chance, then relaxed with GFN1-xTB until no force is over 1 eV/Å: a
structure that is neither a crystal nor in equilibrium, as one has at the beginning.
"""

import sys

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import FIRE
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

from tunesmith.core import Frame
from tunesmith.data.formats import write_frames

#: Å; 0.997 g/cm³
EDGE, SEED = 6.21, 1


def box(edge: float, seed: int) -> Atoms:
    """Eight molecules on a grid of two by two by two, each turned by chance."""
    rng = np.random.default_rng(seed)
    found = Atoms(cell=[edge] * 3, pbc=True)
    for corner in np.ndindex(2, 2, 2):
        water = molecule("H2O")
        water.positions -= water.get_center_of_mass()
        turn = Rotation.random(rng=rng).as_matrix()
        water.positions = water.positions @ turn.T + (np.array(corner) + 0.25) * edge / 2
        found += water
    return found


def main(path: str) -> None:
    """Write the box to a file."""
    atoms = box(EDGE, SEED)
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    FIRE(atoms, logfile=None).run(fmax=1.0, steps=200)
    bare = Atoms(atoms.numbers, atoms.positions.round(4), cell=atoms.cell, pbc=True)
    write_frames(path, [Frame(bare, None, "water-8")])
    print(f"{path}: largest force {np.linalg.norm(atoms.get_forces(), axis=1).max():.2f} eV/Å")


if __name__ == "__main__":
    main(*sys.argv[1:])
