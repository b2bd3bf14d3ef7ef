"""Molecular and carbon crystals whose cells are written down here."""

from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.lattice.hexagonal import Graphite
from ase.spacegroup import crystal

from bench.shared.structures import bare

#: a, b, c, α, β, γ; symbols; sites; space group; repeats
CELLS: dict[str, tuple[list[float], str, list[tuple[float, ...]], int, Any]] = {
    "dry ice": ([5.62] * 3 + [90] * 3, "CO", [(0, 0, 0), (0.119,) * 3], 205, 2),
    "nitrogen": ([5.65] * 3 + [90] * 3, "N", [(0.056,) * 3], 205, 2),
    "acetylene": ([6.14] * 3 + [90] * 3, "CH", [(0.0564,) * 3, (0.156,) * 3], 205, 2),
    "ammonia": (
        [5.13] * 3 + [90] * 3,
        "NH",
        [(0.2107,) * 3, (0.3689, 0.2671, 0.1159)],
        *(198, 2),
    ),
    "urea": (
        [5.565, 5.565, 4.684, 90, 90, 90],
        "CONHH",
        [
            *((0, 0.5, 0.326), (0, 0.5, 0.5953), (0.1459, 0.6459, 0.1766)),
            *((0.2575, 0.7575, 0.2827), (0.1441, 0.6441, -0.038)),
        ],
        *(113, (2, 2, 2)),
    ),
    # proton-ordered ice XI: 8 molecules, doubled along a
    "ice": (
        [4.465, 7.858, 7.292, 90, 90, 90],
        "OOHHH",
        [
            *((0, 0.6648, 0.0631), (0.5, 0.8255, -0.0631), (0, 0.6636, 0.1963)),
            *((0, 0.5363, 0.0183), (0.6766, 0.7748, -0.0183)),
        ],
        *(36, (2, 1, 1)),
    ),
    "lonsdaleite": ([2.52, 2.52, 4.12, 90, 90, 120], "C", [(1 / 3, 2 / 3, 0.0625)], 194, (4, 4, 2)),
}


def crystal_of(name: str) -> Atoms:
    """One of our crystals."""
    if name == "diamond":
        return bulk("C", "diamond", 3.567, cubic=True).repeat((3, 2, 2))
    if name == "graphite":
        layers = Graphite("C", latticeconstant={"a": 2.461, "c": 6.708}, size=(4, 4, 1))
        return bare(layers)
    cell, symbols, sites, group, times = CELLS[name]
    return crystal(symbols, sites, spacegroup=group, cellpar=cell).repeat(times)  # type: ignore


CRYSTALS = ("diamond", "graphite", *CELLS)
