"""Stress of the wrong sign, unit or order, and structures that are not the calculation's."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from ase import units as u

from tunesmith.core import Frame
from tunesmith.testing.defects.defect import (
    Broken,
    Defect,
    broken,
    changed,
    content,
    label_of,
    rebuilt,
    relabelled,
    shared,
    some,
    turned,
)

_FEWEST_STRESSES = 6


def _stresses(
    frames: list[Frame], change: Callable[[np.ndarray, Frame], np.ndarray]
) -> list[Frame] | None:
    """``change(stress, frame)`` in every label that has a stress; None where few have."""
    having = [i for i, f in enumerate(frames) if f.label and f.label.stress is not None]
    if len(having) < _FEWEST_STRESSES:
        return None

    def other(f: Frame) -> Frame:
        stress = label_of(f).stress
        assert stress is not None
        return relabelled(f, stress=change(stress, f))

    return changed(frames, having, other)


def _stress_times(factor: float, unit: str, codes: str = "unit-stress") -> Defect:
    def defect(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
        made = _stresses(frames, lambda stress, _: stress * factor)
        return None if made is None else broken(f"stress {unit}", codes, made)

    return defect


def stress_virial(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Virials, −stress × volume, in place of stresses."""
    made = _stresses(frames, lambda stress, f: -stress * f.atoms.get_volume())
    return None if made is None else broken("virials for stresses", "unit-stress stress-sign", made)


def stress_voigt(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Six numbers in VASP's order xx yy zz xy yz zx, read in ASE's xx yy zz yz xz xy."""

    def misread(stress: np.ndarray, _: Frame) -> np.ndarray:
        xy, yz, zx = stress[0, 1], stress[1, 2], stress[2, 0]
        found = np.diag(np.diag(stress))
        for (i, j), value in zip([(1, 2), (0, 2), (0, 1)], (xy, yz, zx), strict=True):
            found[i, j] = found[j, i] = value
        return found

    made = _stresses(frames, misread)
    return None if made is None else broken("shear stresses in VASP's order", "stress-voigt", made)


def unknown_element(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """One atom of some frames is of an element the model never saw."""
    learn, atoms = shared(frames)
    z = int(rng.choice([9, 14, 15, 16, 17, 11]))
    where = some(learn, rng, 0.02, 0.3)

    def other(f: Frame) -> Frame:
        numbers = f.atoms.numbers.copy()
        numbers[rng.integers(len(numbers))] = z
        return rebuilt(f, numbers=numbers)

    made = changed(learn, where, other)
    return broken(f"element {z} in {len(where)} frames", "unknown-element", [*made, *atoms])


def collided(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Two atoms of one frame nearly on top of each other."""
    learn, atoms = shared(frames)
    many = [i for i, f in enumerate(learn) if len(f.atoms) > 1]
    distance = float(rng.uniform(0.0, 0.15))

    def collide(f: Frame) -> Frame:
        i, j = rng.choice(len(f.atoms), 2, replace=False)
        direction = rng.normal(size=3)
        positions = f.atoms.positions.copy()
        positions[j] = positions[i] + direction * (distance / np.linalg.norm(direction))
        return rebuilt(f, positions=positions)

    made = changed(learn, [int(rng.choice(many))], collide)
    text = f"two atoms {distance:.2f} Å apart in one frame"
    return broken(text, "overlap", [*made, *atoms])


def pbc_lost(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Crystals written without their periodicity, or without cell and periodicity."""
    learn, atoms = shared(frames)
    if not all(f.atoms.pbc.all() for f in learn):
        return None
    keep = bool(rng.integers(2))
    made = []
    for f in learn:
        bare = rebuilt(f, pbc=False) if keep else rebuilt(f, pbc=False, cell=np.zeros((3, 3)))
        made.append(replace(bare, label=replace(label_of(f), stress=None)))
    text = "periodicity lost, the cell kept" if keep else "cell and periodicity lost"
    return broken(text, "pbc-lost", [*made, *atoms])


def cell_lost(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Crystals that are called periodic and have no cell."""
    if not all(f.atoms.pbc.all() for f in shared(frames)[0]):
        return None
    images = content(frames)
    for atoms in images:
        atoms.cell[:] = 0.0
    codes = "pbc-lost bad-structure unreadable"
    return broken("cells lost, periodicity kept", codes, [], images=images)


def duplicated(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Some frames twice, to the last digit."""
    learn, atoms = shared(frames)
    again = [learn[i] for i in some(learn, rng, 0.1, 0.4)]
    text = f"{len(again)} of {len(learn)} frames twice"
    return broken(text, "duplicates", [*learn, *again, *atoms], spoils=False)


def duplicated_moved(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Some frames a second time: turned or moved, atoms in another order."""
    learn, atoms = shared(frames)
    chosen = some(learn, rng, 0.1, 0.4)
    again = [turned(learn[i], rng) for i in chosen]
    text = f"{len(again)} of {len(learn)} frames a second time, turned or moved, atoms renumbered"
    return broken(text, "duplicates", [*learn, *again, *atoms], spoils=False)


def _overlapping(moved: bool) -> Defect:
    def defect(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
        learn, atoms = shared(frames)
        order = rng.permutation(len(learn))
        n = max(2, len(learn) // 4)
        test = [learn[i] for i in order[:n]]
        train = [learn[i] for i in order[n:]]
        both = [train[i] for i in some(train, rng, 0.05, 0.3)]
        both = [turned(f, rng) for f in both] if moved else both
        how = ", turned or moved" if moved else ""
        text = f"{len(both)} training frames are among {n + len(both)} test frames{how}"
        return broken(text, "test-overlap", [*train, *atoms], test=[*test, *both])

    return defect


def elements_exchanged(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Element names in another order than positions and forces, the same in every frame."""
    learn, atoms = shared(frames)
    if any(len(set(f.atoms.numbers.tolist())) < 2 for f in learn):
        return None
    made = [rebuilt(f, numbers=f.atoms.numbers[::-1].copy()) for f in learn]
    same = [np.mean(a.atoms.numbers == b.atoms.numbers) for a, b in zip(made, learn, strict=True)]
    if np.mean(same) > 0.6:
        return None
    codes = "elements-order forces-shuffled energies-shuffled overlap unit-positions"
    codes += " outlier-forces bad-structure"
    return broken("elements in another order than positions", codes, [*made, *atoms])


DEFECTS: dict[str, Defect] = {
    "stress of the other sign": _stress_times(-1.0, "with the other sign", "stress-sign"),
    "stress in GPa": _stress_times(1 / u.GPa, "in GPa"),
    "stress in kbar, pressure": _stress_times(
        -10 / u.GPa, "in kbar, positive under pressure", "unit-stress stress-sign"
    ),
    "stress in Ry/Bohr³": _stress_times(u.Bohr**3 / u.Ry, "in Ry/Bohr³"),
    "virials for stresses": stress_virial,
    "stress in VASP's order": stress_voigt,
    "unknown element": unknown_element,
    "atoms collided": collided,
    "pbc lost": pbc_lost,
    "cell lost": cell_lost,
    "duplicates": duplicated,
    "duplicates, moved": duplicated_moved,
    "test overlaps": _overlapping(False),
    "test overlaps, moved": _overlapping(True),
    "elements exchanged": elements_exchanged,
}
