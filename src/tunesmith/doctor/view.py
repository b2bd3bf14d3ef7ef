"""A bounded number of labelled frames beside what the foundation model says of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tunesmith.contracts import Posterior
from tunesmith.core import Frame, Label, derived_seed

#: what the foundation model predicts at most: seconds on one core
MOST_FRAMES, MOST_ATOMS = 200, 6000


@dataclass(frozen=True)
class View:
    """n frames with labels, and predictions in eV, eV/Å, eV/Å³.

    predicted: (n,); forces: n arrays (atoms, 3); stress: n arrays (3, 3), NaN where there is none.
    """

    frames: list[Frame]
    predicted: np.ndarray
    forces: list[np.ndarray]
    stress: list[np.ndarray]

    @cached_property
    def labels(self) -> list[Label]:
        return [f.label for f in self.frames if f.label is not None]

    @cached_property
    def energy(self) -> np.ndarray:
        """(n,) labels, eV."""
        return np.array([label.energy for label in self.labels])

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,) atoms of each frame."""
        return np.array([len(f.atoms) for f in self.frames])

    @cached_property
    def compositions(self) -> np.ndarray:
        """(n,) formulas."""
        return np.array([f.atoms.get_chemical_formula("hill") for f in self.frames])

    @cached_property
    def elements(self) -> list[int]:
        """Atomic numbers, ascending."""
        return sorted({int(z) for f in self.frames for z in f.atoms.numbers})

    @cached_property
    def counts(self) -> np.ndarray:
        """(n, k) atoms of each of the k elements in each frame."""
        numbers = (f.atoms.numbers for f in self.frames)
        return np.array([[np.sum(own == z) for z in self.elements] for own in numbers], float)

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """Indices of the frames of each composition that has at least two."""
        groups = [np.flatnonzero(self.compositions == c) for c in dict.fromkeys(self.compositions)]
        return [g for g in groups if len(g) > 1]

    @cached_property
    def volumes(self) -> np.ndarray:
        """(n,) Å³, 0 without three periodic directions."""
        frames = (f.atoms for f in self.frames)
        return np.array([atoms.get_volume() if atoms.pbc.all() else 0.0 for atoms in frames])

    @cached_property
    def one_order(self) -> bool:
        """Whether frames of one composition have their atoms in one order, and all a stress, or
        none: then forces and stress correct every energy."""
        for g in self.groups:
            orders = {self.frames[i].atoms.numbers.tobytes() for i in g}
            if len(orders) > 1 or len({self.labels[i].stress is None for i in g}) > 1:
                return False
        return True

    def volume_varies(self, groups: list[np.ndarray]) -> bool:
        """Whether the volume of any of these compositions differs by more than 0.1 %."""
        inside = (self.volumes[g] for g in groups if len(g))
        return any(np.ptp(v) > 1e-3 * v.mean() for v in inside)

    def origins(self, where: np.ndarray) -> list[str]:
        """Of frames given as a mask or as indices."""
        return [self.frames[i].origin for i in np.arange(len(self.frames))[where]]


def look(posterior: Posterior, frames: list[Frame], seed: int) -> View:
    """Predict a seeded choice of labelled frames, which holds the most extreme labels.

    Frames must be sound: known elements, finite numbers, no overlaps.
    """
    chosen = _choice(frames, np.random.default_rng(derived_seed(seed, "doctor")))
    energy: list[float] = []
    forces: list[np.ndarray] = []
    stress: list[np.ndarray] = []
    for batch in _batches(chosen):
        wanted = any(f.label and f.label.stress is not None for f in batch)
        mean = posterior.predict([f.atoms for f in batch], stress=wanted).mean
        energy += mean.energy.tolist()
        forces += np.split(mean.forces, np.cumsum([len(f.atoms) for f in batch])[:-1])
        none = np.full((len(batch), 3, 3), np.nan)
        stress += list(none if mean.stress is None else mean.stress)
    return View(chosen, np.array(energy), forces, stress)


def _choice(frames: list[Frame], rng: np.random.Generator) -> list[Frame]:
    """All, or the most extreme tenth by energy and by force and others at random."""
    labels = [f.label for f in frames if f.label is not None]
    largest = np.array([np.abs(label.forces).max(initial=0.0) for label in labels])
    apart = np.zeros(len(frames))
    energy = np.array([label.energy for label in labels])
    formulas = np.array([f.atoms.get_chemical_formula("hill") for f in frames])
    for formula in dict.fromkeys(formulas):
        group = np.flatnonzero(formulas == formula)
        apart[group] = np.abs(energy[group] - np.median(energy[group]))
    extreme = MOST_FRAMES // 20
    order = [*np.argsort(-apart)[:extreme], *np.argsort(-largest)[:extreme]]
    order += rng.permutation(len(frames)).tolist()
    taken: list[int] = []
    atoms = 0
    for i in dict.fromkeys(int(i) for i in order):
        if len(taken) >= MOST_FRAMES:
            break
        if taken and atoms + len(frames[i].atoms) > MOST_ATOMS:
            continue
        taken.append(i)
        atoms += len(frames[i].atoms)
    return [frames[i] for i in sorted(taken)]


def _batches(frames: list[Frame]) -> list[list[Frame]]:
    """At most 16 frames and about 400 atoms each; frames with stress labels apart."""
    batches: list[list[Frame]] = []
    for frame in frames:
        last = batches[-1] if batches else []
        same = last and bool(last[0].atoms.pbc.all()) == bool(frame.atoms.pbc.all())
        if same and len(last) < 16 and sum(len(f.atoms) for f in last) + len(frame.atoms) <= 400:
            last.append(frame)
        else:
            batches.append([frame])
    return batches
