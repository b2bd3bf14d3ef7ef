"""What a broken data set is, and how its frames are changed without touching the originals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from tunesmith.core import Frame, Label
from tunesmith.data.checks import separate_isolated

#: differences within compositions below which nobody can tell what is wrong with energies
FEWEST = 8


@dataclass(frozen=True)
class Broken:
    """A set with one thing wrong.

    text: what was done to it. codes: the doctor's findings, any of which names it. frames: of the
    set, isolated atoms among them. spoils: whether training must be refused; else a warning will
    do. test: test frames that belong to it. images: what the set's file holds, where frames
    cannot say it (missing labels, other names, constraints); frames is empty then.
    """

    text: str
    codes: frozenset[str]
    frames: list[Frame] = field(default_factory=list)
    spoils: bool = True
    test: list[Frame] = field(default_factory=list)
    images: list[Atoms] | None = None


#: breaks a clean labelled set; None where the defect makes no sense in it or could not be seen
Defect = Callable[[list[Frame], np.random.Generator], Broken | None]


def broken(text: str, codes: str, frames: list[Frame], **more: object) -> Broken:
    """``codes``: separated by blanks."""
    return Broken(text, frozenset(codes.split()), frames, **more)  # type: ignore[arg-type]


def label_of(frame: Frame) -> Label:
    assert frame.label is not None, "defects are made in labelled sets"
    return frame.label


def relabelled(
    frame: Frame,
    *,
    energy: float | None = None,
    forces: np.ndarray | None = None,
    stress: np.ndarray | None = None,
) -> Frame:
    """The frame with other numbers in its label."""
    label = label_of(frame)
    if energy is not None:
        label = replace(label, energy=float(energy), energy_zero=None)
    if forces is not None:
        label = replace(label, forces=np.array(forces, float))
    if stress is not None:
        label = replace(label, stress=np.array(stress, float))
    return replace(frame, label=label)


def rebuilt(frame: Frame, **parts: object) -> Frame:
    """The frame with a changed copy of its atoms; parts: attributes of `Atoms`, in their order."""
    atoms = frame.atoms.copy()
    for name, value in parts.items():
        setattr(atoms, name, value)
    return replace(frame, atoms=atoms)


def changed(
    frames: Sequence[Frame], where: Iterable[int], change: Callable[[Frame], Frame]
) -> list[Frame]:
    """``change`` applied to the frames at these indices."""
    chosen = {int(i) for i in where}
    return [change(f) if i in chosen else f for i, f in enumerate(frames)]


def some(frames: Sequence[Frame], rng: np.random.Generator, least: float, most: float) -> list[int]:
    """Indices of a share of the frames, drawn between two bounds; at least one."""
    n = max(1, round(rng.uniform(least, most) * len(frames)))
    return sorted(rng.choice(len(frames), n, replace=False).tolist())


def compositions(frames: Sequence[Frame]) -> dict[str, list[int]]:
    """Formula → indices of its frames."""
    found: dict[str, list[int]] = {}
    for i, frame in enumerate(frames):
        found.setdefault(frame.atoms.get_chemical_formula("hill"), []).append(i)
    return found


def comparable(frames: Sequence[Frame]) -> bool:
    """Whether there are enough differences of energy within compositions to judge them by."""
    return len(frames) - len(compositions(frames)) >= FEWEST


def shared(frames: list[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Frames to learn from, and isolated atoms."""
    return separate_isolated(frames)


def content(frames: Sequence[Frame]) -> list[Atoms]:
    """What a file of these frames holds: numbers in ``info`` and ``arrays`` under ``REF_*``."""
    images = []
    for frame in frames:
        atoms, label = frame.atoms.copy(), label_of(frame)
        atoms.info |= {"config_type": frame.config_type, "REF_energy": label.energy}
        atoms.arrays["REF_forces"] = label.forces.copy()
        if label.stress is not None:
            atoms.info["REF_stress"] = label.stress.reshape(9).copy()
        images.append(atoms)
    return images


def total(atoms: Atoms, values: dict[int, float]) -> float:
    """Sum of values over the atoms, by their elements."""
    return float(sum(values[int(z)] for z in atoms.numbers))


def atom_energies(isolated: Sequence[Frame]) -> dict[int, float]:
    """Element → energy of the isolated atoms, eV."""
    return {int(f.atoms.numbers[0]): label_of(f).energy for f in isolated}


def turned(frame: Frame, rng: np.random.Generator) -> Frame:
    """The same structure with its labels: a molecule rotated, a crystal moved; atoms renumbered."""
    atoms, label = frame.atoms.copy(), label_of(frame)
    order = rng.permutation(len(atoms))
    forces = label.forces[order]
    atoms = atoms[order]
    atoms.info = dict(frame.atoms.info)
    if atoms.pbc.any():
        atoms.positions += rng.normal(scale=3.0, size=3) * atoms.pbc
        atoms.wrap()
    else:
        turn = rotation(rng)
        atoms.positions = atoms.positions @ turn.T + rng.normal(size=3)
        forces = forces @ turn.T
    return replace(frame, atoms=atoms, label=replace(label, forces=forces))


def rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3), proper, uniform over all."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q
