"""Posteriors whose errors are known because they are planted."""

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from tunesmith.contracts import Posterior
from tunesmith.core import E0s, Frame, Label, Prediction, Quantities


def frame(atoms, energy, forces, name, *, stress=None, config_type="Default"):
    return Frame(atoms, Label(energy, np.asarray(forces, float), stress), name, 1.0, config_type)


@dataclass
class Planted(Posterior):
    """Each member predicts label + its own planted error; knows frames by their positions.

    energy, forces, stress: per member, per frame; a missing stress error is zero. ``batches``
    records how many structures each call had and whether stress was asked for.
    """

    frames: list
    energy: np.ndarray  # (M, B) eV
    forces: list  # M lists of B arrays (n, 3)
    stress: np.ndarray | None = None  # (M, B, 3, 3)
    e0s: E0s | None = None
    gives_stress: bool = True
    batches: list = field(default_factory=list)

    def predict(self, frames: list[Atoms], *, stress: bool = False) -> Prediction:
        self.batches.append((len(frames), stress))
        known = {f.atoms.positions.tobytes(): i for i, f in enumerate(self.frames)}
        rows = [known[a.positions.tobytes()] for a in frames]
        members = tuple(
            self._member(m, rows, stress and self.gives_stress) for m in range(len(self.energy))
        )
        n_atoms = np.array([len(a) for a in frames])
        if len(members) == 1:
            return Prediction(members[0], n_atoms, members=members)
        mean = _over(members, lambda x: np.mean(x, axis=0))
        return Prediction(
            mean, n_atoms, _over(members, lambda x: np.var(x, axis=0, ddof=1)), None, members
        )

    def _member(self, m, rows, stress):
        labels = [self.frames[i].label for i in rows]
        energy = np.array([lab.energy for lab in labels]) + self.energy[m][rows]
        forces = np.concatenate(
            [lab.forces + self.forces[m][i] for i, lab in zip(rows, labels, strict=True)]
        )
        return Quantities(energy, forces, self._stress(m, rows) if stress else None)

    def _stress(self, m, rows):
        out = np.full((len(rows), 3, 3), np.nan)
        for k, i in enumerate(rows):
            if self.frames[i].atoms.pbc.all():
                label = self.frames[i].label.stress
                out[k] = (0.0 if label is None else label) + (
                    0.0 if self.stress is None else self.stress[m][i]
                )
        return out


def _over(members, reduce):
    stress = [q.stress for q in members]
    return Quantities(
        reduce([q.energy for q in members]),
        reduce([q.forces for q in members]),
        None if stress[0] is None else reduce(stress),
    )


def plant(frames, energy, force=0.0, **rest):
    """One member with energy errors ``energy`` (B,) and one force error for every component."""
    forces = [[np.full((len(f.atoms), 3), force) for f in frames]]
    return Planted(frames, np.array([np.broadcast_to(energy, len(frames))]), forces, **rest)


def committee(frames, rng, *, spread=0.1, n_members=4):
    """Members and label drawn from one Gaussian per value, so that the spread is honest."""
    true = spread * rng.normal(size=len(frames))
    energy = np.array([spread * rng.normal(size=len(frames)) - true for _ in range(n_members)])
    forces = [
        [spread * rng.normal(size=(len(f.atoms), 3)) for f in frames] for _ in range(n_members)
    ]
    return Planted(frames, energy, forces)
