"""Crystals that a public model labels itself: relaxed prototypes, strained and rattled."""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

import tunesmith
from bench.shared.data_sets import put
from bench.shared.structures import bare, rattled, told
from tunesmith.core import Frame


def crystal_file(place: Path, model: str, which: str) -> Path:
    """Crystals labelled by a model itself: "replay" or "forgetting"."""
    return place / "crystals" / f"{model.replace(':', '_')}-{which}.xyz"


def made(place: Path, model: str, copies: int, every: int) -> None:
    """Relax prototypes with the untouched model, rattle them, label them by it.

    Of the compositions every other one is for replay, the others are for measuring what was
    forgotten. copies: of each relaxed one; every: only every so many prototypes.
    """
    calculator = tunesmith.Calculator(model)
    rng = np.random.default_rng(3)
    sets: dict[str, list[Frame]] = {"replay": [], "forgetting": []}
    for i, start in enumerate(prototypes()[::every]):
        atoms = start.copy()
        atoms.calc = calculator
        if not FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=100):
            print(f"{atoms.get_chemical_formula()} is not relaxed", file=sys.stderr)
        for _ in range(copies):
            shaken = bare(atoms)
            strain = np.eye(3) + rng.normal(scale=0.01, size=(3, 3))
            shaken.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            shaken = rattled(shaken, rng, 0.06)
            shaken.calc = calculator
            label = told(shaken, stress=False)
            which = "replay" if i % 2 == 0 else "forgetting"
            sets[which].append(Frame(bare(shaken), label, "shaken"))
    for which, frames in sets.items():
        put(crystal_file(place, model, which), frames)


#: structure and lattice constant in Å of binary compounds
BINARIES = {
    "rocksalt": {
        **{"LiF": 4.03, "NaCl": 5.64, "KBr": 6.60, "MgO": 4.21, "CaO": 4.81, "NaF": 4.63},
        **{"TiC": 4.33, "TiN": 4.24, "LiH": 4.08, "CaS": 5.69, "VN": 4.14, "KCl": 6.29},
    },
    "zincblende": {
        **{"GaAs": 5.65, "ZnS": 5.41, "SiC": 4.36, "BN": 3.62, "AlP": 5.46, "InSb": 6.48},
        **{"GaN": 4.50, "CdTe": 6.48, "AlN": 4.38, "CuCl": 5.42},
    },
    "cesiumchloride": {"CsCl": 4.12, "NiAl": 2.88, "CuZn": 2.95, "AgMg": 3.31},
}
ELEMENTS = ("C", "Si", "Ge", "Al", "Cu", "Ag", "Ni", "Pd", "Fe", "W", "Na", "Mg", "Ti", "Zn")


def prototypes() -> list[Atoms]:
    """Crystals of simple structures, at least two atoms each."""
    found: list[Atoms] = []
    for structure, compounds in BINARIES.items():
        for name, a in compounds.items():
            found.append(bulk(name, structure, a=a).repeat((1, 1, 2)))
    for symbol in ELEMENTS:
        atoms = bulk(symbol)
        found.append(atoms.repeat((1, 1, 2)) if len(atoms) < 3 else atoms)
    return found
