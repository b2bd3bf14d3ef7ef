"""A tiny MACE and tiny labelled sets for the tests of training."""

from functools import cache
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones

from tunesmith.core import Base, E0s, Frame, Label
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem
from tunesmith.tune.subspace import All

NETWORK = {
    "r_max": 4.0,
    "num_bessel": 4,
    "num_polynomial_cutoff": 5,
    "max_ell": 1,
    "hidden_irreps": "4x0e+4x1o",
    "MLP_irreps": "4x0e",
    "correlation": 2,
    "num_interactions": 2,
    "radial_MLP": [8],
    "elements": [1, 6, 8],
    "e0s": [-1.5, -20.25, -41.125],
    "avg_num_neighbors": 6.0,
    "scale": 0.8,
    "shift": 0.1,
}


@cache
def _module(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return mace_files.build(NETWORK)


def potential(dtype: torch.dtype = torch.float64, seed: int = 3) -> MACEPotential:
    return MACEPotential(_module(seed), Base("tiny", "0" * 64, "mace"), dtype=dtype)


def molecules(n: int, seed: int = 0) -> list[Frame]:
    """Rattled ethanol and methane, labelled by a soft Lennard-Jones plus atomic energies."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = molecule("CH3CH2OH" if i % 3 else "CH4")
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        frames.append(_labelled(atoms, f"made#{i}"))
    return frames


def crystals(n: int, seed: int = 1) -> list[Frame]:
    """Rattled, sheared diamond with stress labels."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = bulk("C", cubic=True)
        shear = np.eye(3) + rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        frames.append(_labelled(atoms, f"crystal#{i}"))
    return frames


def _labelled(atoms: Atoms, origin: str) -> Frame:
    atoms.calc = LennardJones(sigma=1.0, epsilon=0.05, rc=3.5)
    zero = sum({1: -13.6, 6: -1029.0, 8: -2041.0}[z] for z in atoms.numbers)
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    label = Label(atoms.get_potential_energy() + zero, atoms.get_forces(), stress)
    bare = atoms.copy()
    return Frame(bare, label, origin)


def e0s(values: tuple[float, float, float] = (-13.6, -1029.0, -2041.0)) -> E0s:
    return E0s(dict(zip((1, 6, 8), values, strict=True)))


def problem(train: list[Frame], valid: list[Frame] | None = None, **changes: Any) -> Problem:
    """To learn all weights from frames, nothing holding them; changes: other fields."""
    fields: dict[str, Any] = {"potential": potential(), "subspace": All(), "anchor": NoAnchor()}
    fields |= {"loss": Huber(), "train": train, "valid": valid or [], "e0s": e0s(), "seed": 0}
    return Problem(**fields | changes)
