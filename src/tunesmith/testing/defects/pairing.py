"""Labels of another structure, another order, another orientation, another level."""

from dataclasses import replace

import numpy as np

from tunesmith.core import Frame
from tunesmith.testing.defects.defect import (
    Broken,
    Defect,
    broken,
    changed,
    comparable,
    compositions,
    label_of,
    relabelled,
    rotation,
    shared,
    some,
    total,
)


def energies_shuffled(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Energies of one composition handed out at random among its frames."""
    learn, atoms = shared(frames)
    if not comparable(learn):
        return None
    made = list(learn)
    for group in compositions(learn).values():
        for i, j in zip(group, _dealt(group, rng), strict=True):
            made[i] = relabelled(learn[i], energy=label_of(learn[int(j)]).energy)
    text = "energies shuffled among frames of one composition"
    return broken(text, "energies-shuffled", [*made, *atoms])


def energies_shuffled_everywhere(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Energies handed out at random among all frames, of any composition."""
    learn, atoms = shared(frames)
    if not comparable(learn) or len(compositions(learn)) < 2:
        return None
    order = rng.permutation(len(learn))
    pairs = zip(learn, order, strict=True)
    made = [relabelled(f, energy=label_of(learn[j]).energy) for f, j in pairs]
    return broken("energies shuffled among all frames", "energies-shuffled", [*made, *atoms])


def forces_of_others(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Each frame has the forces of the next one of its composition: off by one."""
    learn, atoms = shared(frames)
    made, n = list(learn), 0
    for group in compositions(learn).values():
        for i, j in zip(group, np.roll(group, -1), strict=True):
            made[i] = relabelled(learn[i], forces=label_of(learn[int(j)]).forces)
            n += i != j
    if n < 0.8 * len(learn):
        return None
    return broken("forces of the next frame", "forces-shuffled", [*made, *atoms])


def labels_of_others(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Structures shuffled against their labels, energy and forces together."""
    learn, atoms = shared(frames)
    if not comparable(learn):
        return None
    made = list(learn)
    for group in compositions(learn).values():
        for i, j in zip(group, _dealt(group, rng), strict=True):
            made[i] = replace(learn[i], label=learn[int(j)].label)
    text = "structures shuffled against their labels"
    return broken(text, "forces-shuffled energies-shuffled", [*made, *atoms])


def atoms_reordered(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Forces in the order of another program: one permutation for each composition."""
    learn, atoms = shared(frames)
    orders = {}
    for formula, group in compositions(learn).items():
        n = len(learn[group[0]].atoms)
        order = np.roll(np.arange(n), rng.integers(1, n)) if n > 1 else np.arange(n)
        orders[formula] = order if n < 4 else _mixed(rng, n)
    made = []
    for f in learn:
        order = orders[f.atoms.get_chemical_formula("hill")]
        made.append(relabelled(f, forces=label_of(f).forces[order]))
    return broken("forces in another order of atoms", "forces-shuffled", [*made, *atoms])


def _dealt(group: list[int], rng: np.random.Generator) -> list[int]:
    """The group in another order, in which few stay where they are."""
    order = _mixed(rng, len(group)) if len(group) > 3 else np.roll(np.arange(len(group)), 1)
    return [group[int(i)] for i in order]


def _mixed(rng: np.random.Generator, n: int) -> np.ndarray:
    """A permutation that leaves few atoms where they are."""
    while True:
        order = rng.permutation(n)
        if np.mean(order == np.arange(n)) <= 0.25:
            return order


def forces_rotated(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Forces in the program's standard orientation, positions in the input's."""
    learn, atoms = shared(frames)
    if any(f.atoms.pbc.any() for f in learn):
        return None
    made = []
    for f in learn:
        principal = np.linalg.eigh(np.cov(f.atoms.positions.T, aweights=f.atoms.get_masses()))[1]
        turn = principal @ rotation(np.random.default_rng(rng.integers(2**31)))
        made.append(relabelled(f, forces=label_of(f).forces @ turn))
    text = "forces in another orientation than positions, frame by frame"
    return broken(text, "forces-rotated forces-shuffled", [*made, *atoms])


def axes_exchanged(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Forces with x, y and z in another order, the same in all frames."""
    learn, atoms = shared(frames)
    order = [[1, 2, 0], [2, 0, 1], [1, 0, 2]][rng.integers(3)]
    made = [relabelled(f, forces=label_of(f).forces[:, order]) for f in learn]
    text = f"components of the forces in the order {''.join('xyz'[i] for i in order)}"
    return broken(text, "forces-rotated forces-shuffled", [*made, *atoms])


def two_levels(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Part of every composition from another code: another zero for each element."""
    learn, atoms = shared(frames)
    sizes = [len(group) for group in compositions(learn).values()]
    if not comparable(learn) or np.median(sizes) < 6:
        return None
    offsets = {z: float(rng.choice([-1, 1]) * 10 ** rng.uniform(-0.3, 2.0)) for z in _kinds(learn)}
    where = some(learn, rng, 0.3, 0.6)

    def other(f: Frame) -> Frame:
        return relabelled(f, energy=label_of(f).energy + total(f.atoms, offsets))

    text = f"{len(where)} of {len(learn)} frames of another code, energies "
    text += f"{min(offsets.values(), key=abs):.1f} eV per atom and more away"
    made = changed(learn, where, other)
    return broken(text, "mixed-levels e0-mixed", [*made, *atoms])


def two_labels(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Some structures twice, the second time labelled at another level."""
    learn, atoms = shared(frames)
    offset = float(rng.choice([-1, 1]) * rng.uniform(0.5, 5.0))
    copies = []
    for i in some(learn, rng, 0.15, 0.4):
        label, n = label_of(learn[i]), len(learn[i].atoms)
        factor = rng.uniform(0.93, 1.07)
        copies.append(
            relabelled(learn[i], energy=label.energy + n * offset, forces=label.forces * factor)
        )
    text = f"{len(copies)} structures a second time, from another level of theory"
    return broken(text, "labels-disagree mixed-levels e0-mixed", [*learn, *copies, *atoms])


def charged(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Cations among neutral molecules, and marked so."""
    learn, atoms = shared(frames)
    if any(f.atoms.pbc.any() for f in learn):
        return None
    where = some(learn, rng, 0.15, 0.4)
    made = changed(learn, where, lambda f: _cation(f, rng, mark=True))
    text = f"{len(where)} of {len(learn)} frames are cations, and say so"
    return broken(text, "charge-mixed", [*made, *atoms], spoils=False)


def charged_silently(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """Cations among neutral molecules, unmarked."""
    learn, atoms = shared(frames)
    sizes = [len(group) for group in compositions(learn).values()]
    if any(f.atoms.pbc.any() for f in learn) or np.median(sizes) < 6 or not comparable(learn):
        return None
    where = some(learn, rng, 0.15, 0.4)
    made = changed(learn, where, lambda f: _cation(f, rng, mark=False))
    text = f"{len(where)} of {len(learn)} frames are cations, which nothing says"
    codes = "mixed-levels outlier-energy charge-mixed"
    return broken(text, codes, [*made, *atoms], spoils=False)


def _cation(frame: Frame, rng: np.random.Generator, mark: bool) -> Frame:
    """8 to 10 eV higher, with forces that differ as those of another state do."""
    label = label_of(frame)
    forces = label.forces + _balanced(rng, len(frame.atoms), 0.8)
    made = relabelled(frame, energy=label.energy + rng.uniform(8, 10), forces=forces)
    if not mark:
        return made
    atoms = frame.atoms.copy()
    atoms.info["charge"] = 1
    return replace(made, atoms=atoms)


def unconverged_energies(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """A few energies of calculations that stopped before they converged."""
    learn, atoms = shared(frames)
    sizes = [len(group) for group in compositions(learn).values()]
    if not comparable(learn) or min(sizes) < 5:
        return None
    where = rng.choice(len(learn), max(1, len(learn) // 25), replace=False)

    def off(f: Frame) -> Frame:
        error = rng.choice([-1, 1]) * rng.uniform(3, 20)
        return relabelled(f, energy=label_of(f).energy + error)

    made = changed(learn, where, off)
    text = f"{len(where)} of {len(learn)} energies 3 to 20 eV off, as if not converged"
    codes = "outlier-energy mixed-levels"
    return broken(text, codes, [*made, *atoms], spoils=False)


def unconverged_forces(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """A few frames with forces of calculations that stopped before they converged."""
    learn, atoms = shared(frames)
    where = rng.choice(len(learn), max(1, len(learn) // 25), replace=False)

    def off(f: Frame) -> Frame:
        return relabelled(
            f, forces=label_of(f).forces + _balanced(rng, len(f.atoms), rng.uniform(8, 20))
        )

    made = changed(learn, where, off)
    text = f"the forces of {len(where)} of {len(learn)} frames 8 to 20 eV/Å off"
    return broken(text, "outlier-forces", [*made, *atoms], spoils=False)


def one_force_wrong(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """In a few frames the force on one atom is another."""
    learn, atoms = shared(frames)
    where = rng.choice(len(learn), max(1, len(learn) // 20), replace=False)

    def off(f: Frame) -> Frame:
        forces = label_of(f).forces.copy()
        direction = rng.normal(size=3)
        length = rng.uniform(5, 20) / np.linalg.norm(direction)
        forces[rng.integers(len(forces))] += length * direction
        return relabelled(f, forces=forces)

    made = changed(learn, where, off)
    text = f"the force of one atom wrong in {len(where)} of {len(learn)} frames"
    return broken(text, "net-force outlier-forces", [*made, *atoms], spoils=False)


def drift(frames: list[Frame], rng: np.random.Generator) -> Broken | None:
    """An unbalanced force on every atom of every frame, as of a coarse grid or a field."""
    learn, atoms = shared(frames)
    size = float(10 ** rng.uniform(-1.0, 0.0))
    made = []
    for f in learn:
        push = rng.normal(size=3)
        push *= size / np.linalg.norm(push)
        made.append(relabelled(f, forces=label_of(f).forces + push))
    text = f"a net force of {size:.2f} eV/Å on every atom"
    return broken(text, "net-force", [*made, *atoms], spoils=False)


def _balanced(rng: np.random.Generator, n: int, scale: float) -> np.ndarray:
    noise = rng.normal(scale=scale, size=(n, 3))
    return noise - noise.mean(0)


def _kinds(frames: list[Frame]) -> list[int]:
    return sorted({int(z) for f in frames for z in f.atoms.numbers})


DEFECTS: dict[str, Defect] = {
    "energies shuffled": energies_shuffled,
    "energies shuffled everywhere": energies_shuffled_everywhere,
    "forces of the next frame": forces_of_others,
    "labels of other frames": labels_of_others,
    "atoms reordered": atoms_reordered,
    "forces rotated": forces_rotated,
    "axes exchanged": axes_exchanged,
    "two levels": two_levels,
    "two labels": two_labels,
    "cations": charged,
    "cations, unmarked": charged_silently,
    "energies not converged": unconverged_energies,
    "forces not converged": unconverged_forces,
    "one force wrong": one_force_wrong,
    "net force": drift,
}
