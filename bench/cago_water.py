"""Structures of water and their labels by GFN1-xTB, which is the truth in `cago.py`: eight
molecules in a periodic box, and the six in its middle as a cluster."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from tblite.ase import TBLite

from tunesmith.core import Frame, Label
from tunesmith.data.formats import read_frames, write_frames

START = Path(__file__).resolve().parent.parent / "examples" / "data" / "water-8.xyz"
BOX, CLUSTER = "box", "cluster"
SYSTEMS = (CLUSTER, BOX)
#: fs; steps before the first frame
STEP, BEFORE = 0.5, 200


def start(system: str) -> Atoms:
    """The shipped box, or the six molecules nearest to its middle without a cell."""
    box: Atoms = read(START)
    if system == BOX:
        return box
    oxygens = box.positions[::3]
    inner = np.argsort(np.linalg.norm(oxygens - oxygens.mean(0), axis=1))[:6]
    chosen = [3 * i + k for i in inner for k in range(3)]
    return Atoms(box.numbers[chosen], box.positions[chosen])


def label(atoms: Atoms) -> Label:
    """Energy, forces and, of the box, stress by GFN1-xTB, computed afresh."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.calc = TBLite(method="GFN1-xTB", verbosity=0)
    return _told(bare)


def _told(atoms: Atoms) -> Label:
    """What a structure's calculator says."""
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    return Label(float(atoms.get_potential_energy()), atoms.get_forces(), stress)


def label_or_none(atoms: Atoms) -> Label | None:
    """None where GFN1-xTB does not converge."""
    try:
        return label(atoms)
    except CalculationFailed:
        return None


def dynamics(system: str, frames: int, every: int, temperature: float, seed: int) -> list[Frame]:
    """Frames of Langevin dynamics by GFN1-xTB, with their labels."""
    rng = np.random.default_rng([seed, SYSTEMS.index(system)])
    atoms, found = start(system), []
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    moved: Any = Langevin(
        atoms,
        STEP * units.fs,
        temperature_K=temperature,
        friction=0.02 / units.fs,
        rng=rng,
        fixcm=False,
    )
    moved.run(BEFORE)
    for i in range(frames):
        moved.run(every)
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        found.append(
            Frame(bare, _told(atoms), f"{system} {temperature:g} K, seed {seed}, frame {i}")
        )
    return found


def kept(path: Path, *parts: list[Any]) -> list[Frame]:
    """Frames of all ``parts`` (arguments of `dynamics`), made once and kept in a file."""
    if not path.exists():
        frames = [frame for part in parts for frame in dynamics(*part)]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.part.xyz")
        write_frames(partial, frames)
        partial.rename(path)
    return read_frames(path)[0]
