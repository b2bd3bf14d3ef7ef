"""What may well be done to a clean set: changes a doctor must not refuse."""

from collections.abc import Callable

import numpy as np

from tunesmith.core import Frame
from tunesmith.testing.defects.defect import (
    atom_energies,
    compositions,
    label_of,
    relabelled,
    shared,
    total,
    turned,
)

#: changes a clean set into another clean set; None where it makes no sense
Change = Callable[[list[Frame], np.random.Generator], list[Frame] | None]


def as_it_is(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Unchanged."""
    return list(frames)


def one_composition(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Frames of one composition only, no isolated atoms: E0s that cannot be identified."""
    learn, _ = shared(frames)
    group = max(compositions(learn).values(), key=len)
    return [learn[i] for i in group]


def another_zero(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Energies of a code with another zero for each element, isolated atoms too."""
    zero = {z: float(rng.uniform(-600, 50)) for z in range(1, 119)}
    return [relabelled(f, energy=label_of(f).energy + total(f.atoms, zero)) for f in frames]


def another_zero_without_atoms(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """The same, and no isolated atoms."""
    return another_zero(shared(frames)[0], rng)


def atomisation(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Energies of atomisation throughout, isolated atoms at zero."""
    zero = atom_energies(shared(frames)[1])
    if not all(int(z) in zero for f in frames for z in f.atoms.numbers):
        return None
    return [relabelled(f, energy=label_of(f).energy - total(f.atoms, zero)) for f in frames]


def another_level(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """A level of theory a tenth stiffer or softer."""
    factor = rng.uniform(0.88, 1.12)
    learn, atoms = shared(frames)
    made = list(learn)
    for group in compositions(learn).values():
        middle = float(np.mean([label_of(learn[i]).energy for i in group]))
        for i in group:
            label = label_of(learn[i])
            stress = None if label.stress is None else factor * label.stress
            energy = middle + factor * (label.energy - middle)
            made[i] = relabelled(
                learn[i], energy=energy, forces=factor * label.forces, stress=stress
            )
    return [*made, *atoms]


def few(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Five frames."""
    learn, atoms = shared(frames)
    return [*(learn[i] for i in rng.permutation(len(learn))[:5]), *atoms]


def one_of_each(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """One or two frames of each composition."""
    learn, atoms = shared(frames)
    groups = compositions(learn).values()
    if len(groups) < 3:
        return None
    return [*(learn[i] for g in groups for i in g[: int(rng.integers(1, 3))]), *atoms]


def written_short(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Energies with five decimals, forces with four, as short files have them."""
    return [
        relabelled(f, energy=round(label_of(f).energy, 5), forces=label_of(f).forces.round(4))
        for f in frames
    ]


def shuffled_and_turned(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Frames in another order, each turned or moved, atoms renumbered."""
    learn, atoms = shared(frames)
    return [*(turned(learn[i], rng) for i in rng.permutation(len(learn))), *atoms]


def noisy(frames: list[Frame], rng: np.random.Generator) -> list[Frame] | None:
    """Forces of a self-consistency stopped early: 5 meV/Å of noise."""
    learn, atoms = shared(frames)
    made = []
    for f in learn:
        noise = rng.normal(scale=0.005, size=(len(f.atoms), 3))
        made.append(relabelled(f, forces=label_of(f).forces + noise - noise.mean(0)))
    return [*made, *atoms]


CHANGES: dict[str, Change] = {
    "as it is": as_it_is,
    "one composition": one_composition,
    "another zero": another_zero,
    "another zero, no isolated atoms": another_zero_without_atoms,
    "energies of atomisation": atomisation,
    "another level": another_level,
    "five frames": few,
    "one or two of each": one_of_each,
    "written short": written_short,
    "shuffled and turned": shuffled_and_turned,
    "noisy forces": noisy,
}
