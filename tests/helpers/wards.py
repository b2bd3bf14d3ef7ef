"""Healthy sets for the doctor's tests, and a foundation that remembers what it predicted."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.spacegroup import crystal

from tunesmith.contracts import Posterior
from tunesmith.core import Frame, Label, Prediction, Quantities
from tunesmith.data.formats import read_frames
from tunesmith.posterior.ensemble import Ensemble, open_model

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"


class Remembering(Posterior):
    """A posterior that predicts each structure once: the tests ask for the same again and again."""

    def __init__(self, posterior: Posterior) -> None:
        self.posterior, self.known = posterior, {}  # type: ignore[var-annotated]
        self.e0s = posterior.e0s

    @property
    def members(self) -> Ensemble:
        return self.posterior.members

    def predict(self, frames: list[Atoms], *, stress: bool = False) -> Prediction:
        means = [self._one(atoms, stress) for atoms in frames]
        sizes = np.array([len(a) for a in frames])
        together = np.concatenate([m.stress for m in means]) if stress else None
        energy = np.concatenate([m.energy for m in means])
        return Prediction(
            Quantities(energy, np.concatenate([m.forces for m in means]), together), sizes
        )

    def _one(self, atoms: Atoms, stress: bool) -> Quantities:
        arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        key = (*(a.tobytes() for a in arrays), stress)
        if key not in self.known:
            self.known[key] = self.posterior.predict([atoms], stress=stress).mean
        return self.known[key]


@cache
def foundation() -> Any:
    return Remembering(open_model("organic-xs"))


@cache
def _ethanol(which: str) -> tuple[Frame, ...]:
    return tuple(read_frames(EXAMPLES / f"ethanol-{which}.xyz")[0])


def ethanol(which: str = "train") -> list[Frame]:
    """PBE labels, isolated atoms included: far from the foundation's GFN2-xTB."""
    return list(_ethanol(which))


@cache
def _molecules() -> tuple[Frame, ...]:
    rng = np.random.default_rng(1)
    frames = []
    for name in ("CH4", "NH3", "C2H6", "CH3OH", "HCN", "H2CO"):
        for _ in range(8):
            atoms = molecule(name)
            atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
            frames.append(_labelled(atoms, len(frames)))
    return tuple(frames)


def molecules() -> list[Frame]:
    """Six compositions, at a level of our own."""
    return list(_molecules())


@cache
def _ice() -> tuple[Frame, ...]:
    rng = np.random.default_rng(2)
    dry_ice = crystal(
        ["C", "O"],
        [(0, 0, 0), (0.1185, 0.1185, 0.1185)],
        spacegroup=205,
        cellpar=[5.624] * 3 + [90] * 3,
    )
    frames = []
    for i in range(10):
        atoms = dry_ice.copy()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), True)
        atoms.positions += rng.normal(0, 0.04, atoms.positions.shape)
        frames.append(_labelled(atoms, i))
    return tuple(frames)


def dry_ice() -> list[Frame]:
    """Strained cells of 12 atoms with stress."""
    return list(_ice())


#: eV, of a level of theory that is none
ATOMS = {1: -13.0, 6: -1020.0, 7: -1480.0, 8: -2030.0}


def _labelled(atoms: Atoms, i: int) -> Frame:
    """The foundation's label plus a soft pair potential's: consistent, and another level."""
    periodic = bool(atoms.pbc.all())
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    mean = foundation().predict([bare], stress=periodic).mean
    pair = bare.copy()
    pair.calc = LennardJones(sigma=0.8, epsilon=0.05, rc=4.0, smooth=True)
    shift = sum(ATOMS[int(z)] - foundation().e0s.values[int(z)] for z in bare.numbers)
    label = Label(
        float(mean.energy[0] + pair.get_potential_energy() + shift),
        mean.forces + pair.get_forces(),
        mean.stress[0] + pair.get_stress(voigt=False) if periodic else None,
    )
    return Frame(bare, label, f"made#{i}")


def relabelled(frame: Frame, **changes: Any) -> Frame:
    """With another label."""
    assert frame.label is not None
    return replace(frame, label=replace(frame.label, **changes))
