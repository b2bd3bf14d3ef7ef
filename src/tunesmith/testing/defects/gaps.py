"""Labels that are missing, placeholders, cut by constraints or rounded, or of the wrong name."""

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from tunesmith.core import Frame
from tunesmith.testing.defects.defect import (
    Broken,
    Defect,
    broken,
    changed,
    comparable,
    compositions,
    content,
    label_of,
    rebuilt,
    relabelled,
    shared,
    some,
)


def _file(text: str, codes: str, images: list[Atoms], spoils: bool = True) -> Broken:
    return broken(text, codes, [], images=images, spoils=spoils)


def energies_misnamed(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """The energies stand under a name nobody was told."""
    images = content(frames)
    for atoms in images:
        atoms.info["dft_total"] = atoms.info.pop("REF_energy")
    return _file("energies under the name dft_total", "energy-missing label-missing", images)


def forces_misnamed(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """The forces stand under a name nobody was told."""
    images = content(frames)
    for atoms in images:
        atoms.arrays["gradient_dft"] = atoms.arrays.pop("REF_forces")
    return _file("forces under the name gradient_dft", "forces-missing label-missing", images)


def energies_missing(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Some frames have no energy."""
    images = content(frames)
    where = some(shared(frames)[0], rng, 0.1, 0.4)
    for i in where:
        del images[i].info["REF_energy"]
    text = f"no energy in {len(where)} of {len(images)} frames"
    return _file(text, "energy-missing label-missing", images)


def forces_missing(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Some frames have no forces."""
    images = content(frames)
    where = some(shared(frames)[0], rng, 0.1, 0.4)
    for i in where:
        del images[i].arrays["REF_forces"]
    text = f"no forces in {len(where)} of {len(images)} frames"
    return _file(text, "forces-missing label-missing", images)


def other_names(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Part of the frames has plain keys, the others REF_ ones."""
    images = content(frames)
    where = some(shared(frames)[0], rng, 0.2, 0.4)
    for i in where:
        images[i].info["energy"] = images[i].info.pop("REF_energy")
        images[i].arrays["forces"] = images[i].arrays.pop("REF_forces")
    text = f"{len(where)} of {len(images)} frames with other keys than the rest"
    return _file(text, "unreadable energy-missing forces-missing label-missing", images)


def not_a_number(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """NaN or infinity in one frame's energy, a force or a position."""
    i = int(rng.integers(len(shared(frames)[0])))
    value = [np.nan, np.inf][rng.integers(2)]
    what = ["energy", "forces", "positions"][rng.integers(3)]

    def spoil(f: Frame) -> Frame:
        label = label_of(f)
        if what == "energy":
            return relabelled(f, energy=value)
        spoilt = (label.forces if what == "forces" else f.atoms.positions).copy()
        spoilt[rng.integers(len(spoilt)), rng.integers(3)] = value
        if what == "forces":
            return relabelled(f, forces=spoilt)
        return rebuilt(f, positions=spoilt)

    made = changed(frames, [i], spoil)
    return broken(f"{value} in {what} of one frame", "not-finite unreadable", made)


def forces_zero(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """All forces are exactly zero."""
    made = [relabelled(f, forces=np.zeros_like(label_of(f).forces)) for f in frames]
    return broken("all forces zero", "forces-zero", made)


def some_forces_zero(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """The forces of some frames are exactly zero."""
    learn, atoms = shared(frames)
    where = some(learn, rng, 0.05, 0.3)
    made = changed(learn, where, lambda f: relabelled(f, forces=0 * label_of(f).forces))
    text = f"the forces of {len(where)} of {len(learn)} frames zero"
    return broken(text, "forces-zero", [*made, *atoms])


def constrained(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """The first atoms were held by constraints, which made their forces zero; nothing says so."""
    learn, atoms = shared(frames)
    if np.mean([len(f.atoms) >= 4 for f in learn]) < 0.5:
        return None
    share = rng.uniform(0.25, 0.6)

    def held(f: Frame) -> Frame:
        forces = label_of(f).forces.copy()
        forces[: int(share * len(forces))] = 0.0
        return relabelled(f, forces=forces)

    text = f"forces of the first {share:.0%} of the atoms zero in every frame"
    return broken(text, "forces-constrained", [*map(held, learn), *atoms])


def constrained_openly(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Constraints applied to the forces of part of the frames, and written into the file."""
    images = content(frames)
    n = len(shared(frames)[0])
    if np.mean([len(a) >= 4 for a in images[:n]]) < 0.5:
        return None
    for atoms in images[:n]:
        fixed = range(max(1, len(atoms) // 3))
        atoms.arrays["REF_forces"][list(fixed)] = 0.0
        atoms.set_constraint(FixAtoms(fixed))
        atoms.arrays["move_mask"] = np.array([i not in fixed for i in range(len(atoms))])
    text = "a third of the atoms held, their forces zero, and the file says so"
    return _file(text, "forces-constrained", images)


def energies_equal(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Every frame of a composition has the energy of the first."""
    learn, atoms = shared(frames)
    groups = compositions(learn)
    if not comparable(learn) or np.median([len(g) for g in groups.values()]) < 4:
        return None
    made = list(learn)
    for group in groups.values():
        for i in group:
            made[i] = relabelled(learn[i], energy=label_of(learn[group[0]]).energy)
    return broken("every energy that of the first frame", "energy-constant", [*made, *atoms])


def forces_equal(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Every frame of a composition has the forces of the first."""
    learn, atoms = shared(frames)
    groups = compositions(learn)
    if np.median([len(g) for g in groups.values()]) < 4:
        return None
    made = list(learn)
    for group in groups.values():
        for i in group:
            made[i] = relabelled(learn[i], forces=label_of(learn[group[0]]).forces)
    text = "the forces of every frame those of the first"
    return broken(text, "forces-same forces-shuffled", [*made, *atoms])


def rounded(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Energies with one decimal, or none."""
    learn, atoms = shared(frames)
    digits = int(rng.integers(2))
    made = [relabelled(f, energy=round(label_of(f).energy, digits)) for f in [*learn, *atoms]]
    if not comparable(learn):
        return None
    text = f"energies rounded to {10.0**-digits:g} eV"
    return broken(text, "energy-rounded", made, spoils=False)


def smeared(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """The energy extrapolated to zero smearing in use, the free energy beside it."""
    learn, _ = shared(frames)
    images = content(frames)
    n = len(learn)
    if not comparable(learn):
        return None
    for atoms in images[:n]:
        energy = atoms.info["REF_energy"]
        atoms.info["free_energy"] = energy
        atoms.info["REF_energy"] = energy + len(atoms) * abs(rng.normal(scale=0.02))
    text = "energies at zero smearing beside the free energies that forces belong to"
    return _file(text, "free-energy", images, spoils=False)


DEFECTS: dict[str, Defect] = {
    "energies misnamed": energies_misnamed,
    "forces misnamed": forces_misnamed,
    "energies missing": energies_missing,
    "forces missing": forces_missing,
    "two kinds of keys": other_names,
    "NaN": not_a_number,
    "forces zero": forces_zero,
    "some forces zero": some_forces_zero,
    "constraints applied": constrained,
    "constraints applied, openly": constrained_openly,
    "energies equal": energies_equal,
    "forces equal": forces_equal,
    "energies rounded": rounded,
    "energy of zero smearing": smeared,
}
