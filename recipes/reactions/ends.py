"""Both ends of small organic reactions, before they are relaxed, and the pools made of them."""

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list

#: reaction → elements, positions (Å) of both ends
DRAWN: dict[str, tuple[str, list[list[float]], list[list[float]]]] = {
    "HCN": (
        "HCN",
        [[-1.07, 0, 0], [0, 0, 0], [1.15, 0, 0]],
        [[2.15, 0, 0], [0, 0, 0], [1.17, 0, 0]],
    ),
    "formaldehyde": (
        "COHH",
        [[0, 0, 0], [1.21, 0, 0], [-0.59, 0.94, 0], [-0.59, -0.94, 0]],
        [[0, 0, 0], [1.31, 0, 0], [-0.36, 1.05, 0], [1.65, -0.92, 0]],
    ),
    "formamide": (
        "CONHHH",
        [[0, 0, 0], [1.22, 0, 0], [-0.69, 1.18, 0], [-0.6, -0.93, 0], [-0.2, 2.07, 0],
         [-1.7, 1.16, 0]],
        [[0, 0, 0], [1.34, 0, 0], [-0.69, 1.06, 0], [-0.55, -0.95, 0], [1.67, 0.9, 0],
         [-1.69, 0.85, 0]],
    ),
    "acetaldehyde": (
        "CCOHHHH",
        [[0, 0, 0], [1.5, 0, 0], [2.12, 1.04, 0], [2.0, -1.0, 0], [-0.37, 1.03, 0],
         [-0.35, -0.53, 0.88], [-0.35, -0.53, -0.88]],
        [[0, 0, 0], [1.34, 0, 0], [2.08, 1.15, 0], [1.85, -0.96, 0], [1.45, 1.9, 0],
         [-0.55, -0.3, 0.87], [-0.55, -0.3, -0.87]],
    ),
}  # fmt: skip
#: reaction → molecule of ASE's G2 set, the hydrogen that moves, the atom it moves to
HOPS: dict[str, tuple[str, int, int]] = {
    "acetonitrile": ("CH3CN", 3, 2),
    "ketene": ("H2CCO", 2, 4),
    "formic acid": ("HCOOH", 3, 2),
    "allene": ("C3H4_D2d", 3, 2),
    "nitromethane": ("CH3NO2", 4, 5),
    "acetamide": ("CH3CONH2", 8, 0),
    "propene": ("C3H6_Cs", 7, 0),
    "acetone": ("CH3COCH3", 6, 0),
}
#: pool → reaction → candidates. Beside the shipped one: two without a reaction in common, in which
#: one reaction has ten times the frames of another
POOLS: dict[str, dict[str, int]] = {
    "shipped": {"HCN": 30, "formaldehyde": 50, "formamide": 90, "acetaldehyde": 130},
    "small": {
        **{"formaldehyde": 80, "ketene": 170, "acetonitrile": 350},
        **{"formamide": 600, "acetaldehyde": 800},
    },
    "large": {
        **{"formic acid": 80, "allene": 120, "nitromethane": 200},
        **{"acetamide": 300, "propene": 500, "acetone": 800},
    },
}
#: Å of the new bond
_BOND = 1.0
#: of the direction in line with the old bonds, beside that towards where the hydrogen was
_AHEAD = 0.4


def ends(reaction: str) -> tuple[Atoms, Atoms]:
    """Both ends of a reaction, atoms in the same order."""
    if reaction in DRAWN:
        symbols, first, last = DRAWN[reaction]
        return Atoms(symbols, np.array(first)), Atoms(symbols, np.array(last))
    name, hydrogen, target = HOPS[reaction]
    atoms = molecule(name)
    start = Atoms(atoms.numbers, atoms.positions)
    return start, _hopped(start, hydrogen, target)


def _hopped(start: Atoms, hydrogen: int, target: int) -> Atoms:
    """The same with a hydrogen on another atom, on the side that it comes from."""
    here = start.positions[target]
    i, vectors = neighbor_list("iD", start, 1.65)
    ahead = -vectors[i == target].mean(0)
    ahead /= np.linalg.norm(ahead)
    side = start.positions[hydrogen] - here
    side -= (side @ ahead) * ahead
    way = _AHEAD * ahead + side / np.linalg.norm(side)
    found = start.copy()
    found.positions[hydrogen] = here + _BOND * way / np.linalg.norm(way)
    return found
