"""Structures of water and their labels by GFN1-xTB, which is the truth here: eight molecules in a
periodic box, and the six in its middle as a cluster."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.io import read
from tblite.ase import TBLite

from bench.shared.data_sets import put
from bench.shared.structures import EXAMPLES, bare, told
from bench.shared.structures import dynamics as moved
from tunesmith.core import Frame, Label
from tunesmith.data.formats import read_frames

BOX, CLUSTER = "box", "cluster"
SYSTEMS = (CLUSTER, BOX)
#: steps before the first frame
BEFORE = 200


def start(system: str) -> Atoms:
    """The shipped box, or the six molecules nearest to its middle without a cell."""
    box: Atoms = read(EXAMPLES / "water-8.xyz")
    if system == BOX:
        return box
    oxygens = box.positions[::3]
    inner = np.argsort(np.linalg.norm(oxygens - oxygens.mean(0), axis=1))[:6]
    chosen = [3 * i + k for i in inner for k in range(3)]
    return Atoms(box.numbers[chosen], box.positions[chosen])


def label(atoms: Atoms) -> Label:
    """Energy, forces and, of the box, stress by GFN1-xTB, computed afresh."""
    one = bare(atoms)
    one.calc = TBLite(method="GFN1-xTB", verbosity=0)
    return told(one, stress=True)


def label_or_none(atoms: Atoms) -> Label | None:
    """None where GFN1-xTB does not converge."""
    try:
        return label(atoms)
    except CalculationFailed:
        return None


def dynamics(system: str, frames: int, every: int, temperature: float, seed: int) -> list[Frame]:
    """Frames of Langevin dynamics by GFN1-xTB, with their labels."""
    rng = np.random.default_rng([seed, SYSTEMS.index(system)])
    truth: Any = TBLite(method="GFN1-xTB", verbosity=0)
    course = moved(start(system), truth, temperature, frames, rng, every=every, before=BEFORE)
    where = f"{system} {temperature:g} K, seed {seed}"
    return [
        Frame(bare(a), told(a, stress=True), f"{where}, frame {i}") for i, a in enumerate(course)
    ]


def kept(path: Path, *parts: list[Any]) -> list[Frame]:
    """Frames of all ``parts`` (arguments of `dynamics`), made once and kept in a file."""
    if not path.exists():
        put(path, [frame for part in parts for frame in dynamics(*part)])
    return read_frames(path)[0]
