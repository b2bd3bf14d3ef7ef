"""The hydroxyl group of ethanol: which way it points, and when a run asked for labels.

A transition is a H–O–C–C dihedral near its barrier: ±120° between anti and gauche, 0° between the
two gauche.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import get_dihedrals
from ase.neighborlist import natural_cutoffs, neighbor_list

from tunesmith.config import RunConfig
from tunesmith.core import Label
from tunesmith.data.images import read_images
from tunesmith.data.label_row import canonical
from tunesmith.data.store import LabelStore

#: degrees to either side of a barrier that count as crossing it
WINDOW = 30.0
#: H–O–C–C from anti (180°) to gauche (±60°) crosses ±120°; between the two gauche it crosses 0°
TRANSITIONS = ("gauche–anti", "gauche–gauche")


def hydroxyl(atoms: Atoms) -> tuple[int, int, int, int]:
    """Indices of H–O–C–C of a structure with one such chain, by connectivity.

    Raises `ValueError` where there is none or more than one.
    """
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    symbols = atoms.get_chemical_symbols()

    def bonded(i: int, symbol: str) -> list[int]:
        return [int(j) for j in second[first == i] if symbols[j] == symbol]

    chains = [
        (h, o, c, next_c)
        for o in (i for i, s in enumerate(symbols) if s == "O")
        for h in bonded(o, "H")
        for c in bonded(o, "C")
        for next_c in bonded(c, "C")
    ]
    if len(chains) != 1:
        raise ValueError(f"{atoms.get_chemical_formula()} has {len(chains)} chains H-O-C-C, not 1")
    return chains[0]


def dihedrals(positions: np.ndarray, chain: tuple[int, int, int, int]) -> np.ndarray:
    """Degrees in (−180, 180] of frames (f, n, 3)."""
    a, b, c, d = (positions[:, i] for i in chain)
    return -((-get_dihedrals(b - a, c - b, d - c) + 180) % 360 - 180)


def conformation(dihedral: float) -> str:
    """anti, gauche, or which transition: within `WINDOW` of its barrier. degrees, any period."""
    angle = abs((dihedral + 180) % 360 - 180)
    if angle <= WINDOW:
        return "gauche–gauche"
    if abs(angle - 120) <= WINDOW:
        return "gauche–anti"
    return "gauche" if angle < 120 else "anti"


def share(count: int, of: int) -> tuple[float, float]:
    """A share and its binomial standard error sqrt(p (1 − p) / n); NaN of nothing."""
    if of == 0:
        return math.nan, math.nan
    p = count / of
    return p, math.sqrt(p * (1 - p) / of)


def counted(angles: Iterable[float]) -> dict[str, int]:
    """Conformation → how many."""
    found = [conformation(angle) for angle in angles]
    return {name: found.count(name) for name in ("anti", "gauche", *TRANSITIONS)}


def asked(folder: Path, config: RunConfig) -> dict[str, dict[str, int]]:
    """Conformation → how many frames of the run's trajectory, which are equally far apart in
    time, and how many of the labels that it asked for on the way."""
    start = read_images(Path(config.explore.start[0]))[0]
    chain = hydroxyl(start)
    images = ase.io.read(folder / "trajectory.extxyz", ":")
    identity = canonical(config.reference.identity())
    labels = [
        entry.frame.atoms
        for entry in LabelStore(folder / "labels.db").entries()
        if isinstance(entry.outcome, Label)
        and "why" in (entry.extra or {})
        and canonical(entry.identity) == identity
    ]
    return {
        "time": counted(_angles(images, chain)),
        "labels": counted(_angles(labels, chain)),
    }


def _angles(images: list[Atoms], chain: tuple[int, int, int, int]) -> list[float]:
    if not images:
        return []
    return dihedrals(np.array([atoms.positions for atoms in images]), chain).tolist()


def transitions(runs: list[dict[str, dict[str, int]]]) -> dict[str, Any]:
    """Of each transition the share of time and, with its binomial standard error, of labels."""
    total = {
        what: {name: sum(r[what][name] for r in runs) for name in runs[0][what]}
        for what in ("time", "labels")
    }
    n = {what: sum(of.values()) for what, of in total.items()}
    return {
        "labels": n["labels"],
        **{
            name: {
                "time": share(total["time"][name], n["time"])[0],
                "labels": share(total["labels"][name], n["labels"]),
            }
            for name in TRANSITIONS
        },
    }
