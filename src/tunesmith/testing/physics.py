"""Checks of what any potential must obey: derivatives, symmetries, locality."""

import numpy as np
from ase import Atoms

from tunesmith.potentials.potential import Potential
from tunesmith.testing.compute import (
    OFFSETS,
    array,
    close,
    energies,
    features,
    move,
    predict,
    random_direction,
    slope,
    tolerance,
)
from tunesmith.testing.example_structures import boxed, crystal, molecule, row, samples, species


def _displaced(atoms: Atoms, shift: np.ndarray) -> Atoms:
    moved = atoms.copy()
    moved.positions += shift
    return moved


def _strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return moved


def check_forces(potential: Potential, seed: int = 0) -> None:
    """Forces are minus the gradient of the energy, along single coordinates and at random."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential)
    for atoms in samples(potential, rng):
        directions = rng.normal(size=(3, len(atoms), 3))
        # one of the three moves a single coordinate
        directions[0] = 0.0
        directions[0, rng.integers(len(atoms)), rng.integers(3)] = 1.0
        moved = [_displaced(atoms, o * allowed.step * d) for o in OFFSETS for d in directions]
        rates = slope(energies(potential, moved).reshape(4, 3), allowed.step)
        forces = predict(potential, [atoms]).forces
        assert np.abs(forces).max() > 1e-4, "the forces are all zero: nothing has been checked"
        close(-(directions * forces).sum((1, 2)), rates, allowed.derivative, "forces")


def check_stress(potential: Potential, seed: int = 0) -> None:
    """Stress is the derivative of the energy by strain per volume, all nine components."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential)
    for atoms in (
        crystal(potential, rng),
        crystal(potential, rng, triclinic=True),
        crystal(potential, rng, n=1, triclinic=True),
    ):
        basis = [(i, j) for i in range(3) for j in range(i, 3)]
        strains = np.zeros((6, 3, 3))
        for strain, (i, j) in zip(strains, basis, strict=True):
            strain[i, j] += 0.5
            strain[j, i] += 0.5
        moved = [_strained(atoms, o * allowed.step * s) for o in OFFSETS for s in strains]
        rates = slope(energies(potential, moved).reshape(4, 6), allowed.step)
        found = predict(potential, [atoms], stress=True).stress
        assert found is not None, "no stress although the capabilities promise it"
        virial = found[0] * atoms.get_volume()
        assert np.abs(virial).max() > 1e-4, "the stress is zero: nothing has been checked"
        close(virial, virial.T, allowed.same, "symmetry of the stress")
        close([virial[ij] for ij in basis], rates, allowed.derivative, "stress × volume")


def _rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def check_rotation(potential: Potential, seed: int = 0) -> None:
    """Energy and features do not change, forces and stress turn with the structure."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    frames = samples(potential, rng)
    turn = _rotation(rng)
    turned = []
    for atoms in frames:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ turn.T)
        copy.positions = atoms.positions @ turn.T
        turned.append(copy)
    stress = potential.capabilities.stress
    before, after = (predict(potential, f, stress=stress) for f in (frames, turned))
    close(after.energy, before.energy, allowed, "energy after a rotation")
    close(after.forces, before.forces @ turn.T, allowed, "forces after a rotation")
    if before.stress is not None and after.stress is not None:
        expected = turn @ before.stress[1:] @ turn.T
        close(after.stress[1:], expected, allowed, "stress after a rotation")
    old, new = features(potential, frames), features(potential, turned)
    assert np.abs(old).max() > 1e-6, "the features are all zero"
    close(new, old, allowed, "features after a rotation")


def check_translation(potential: Potential, seed: int = 0) -> None:
    """Moving a whole structure changes nothing."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    frames = samples(potential, rng)
    moved = [_displaced(atoms, rng.uniform(-5, 5, size=3)) for atoms in frames]
    before, after = predict(potential, frames), predict(potential, moved)
    close(after.energy, before.energy, allowed, "energy after a translation")
    close(after.forces, before.forces, allowed, "forces after a translation")


def check_permutation(potential: Potential, seed: int = 0) -> None:
    """The order of the atoms does not matter; forces and features follow it."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    for atoms in samples(potential, rng):
        order = rng.permutation(len(atoms))
        before, after = predict(potential, [atoms]), predict(potential, [atoms[order]])
        close(after.energy, before.energy, allowed, "energy after a permutation")
        close(after.forces, before.forces[order], allowed, "forces after a permutation")
        old, new = features(potential, [atoms]), features(potential, [atoms[order]])
        close(new, old[order], allowed, "features after a permutation")


def check_wrapping(potential: Potential, seed: int = 0) -> None:
    """It does not matter which periodic image of an atom stands in the file."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    for atoms in (crystal(potential, rng), crystal(potential, rng, triclinic=True)):
        # half a cell up, so that neighbours sit on both sides of every boundary
        straddling = _displaced(atoms, atoms.cell.array.sum(0) / 4)
        wrapped = straddling.copy()
        wrapped.wrap()
        images = rng.integers(-2, 3, size=(len(atoms), 3))
        scattered = _displaced(atoms, images @ atoms.cell.array)
        before = predict(potential, [atoms])
        for other in (wrapped, scattered):
            after = predict(potential, [other])
            close(after.energy, before.energy, allowed, "energy of other periodic images")
            close(after.forces, before.forces, allowed, "forces of other periodic images")


def check_small_cells(potential: Potential, seed: int = 0) -> None:
    """A cell smaller than the cutoff is the same as several of it side by side."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    stress = potential.capabilities.stress
    for n in (1, 2):
        cell = crystal(potential, rng, n=n, triclinic=True)
        small = predict(potential, [cell], stress=stress)
        large = predict(potential, [cell.repeat((3, 2, 1))], stress=stress)
        close(large.energy, 6 * small.energy, allowed, "energy of a repeated cell")
        close(large.forces, np.tile(small.forces, (6, 1)), allowed, "forces of a repeated cell")
        if large.stress is not None and small.stress is not None:
            close(large.stress, small.stress, allowed, "stress of a repeated cell")


def check_fragments(potential: Potential, seed: int = 0) -> None:
    """Molecules further apart than the potential can see do not know of each other."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    parts = [molecule(potential, n, rng) for n in (3, 1, 4)]
    whole = Atoms()
    for part in parts:
        # message passing sees as far as it has layers; nothing sees ten cutoffs far
        far = 0.0 if len(whole) == 0 else whole.positions[:, 0].max() + 10 * potential.cutoff
        whole += _displaced(Atoms(part.numbers, part.positions), np.array([far, 0.0, 0.0]))
    together = predict(potential, [boxed(potential, whole)])
    alone = [predict(potential, [part]) for part in parts]
    close(together.energy, sum(a.energy for a in alone), allowed, "energy of fragments")
    close(together.forces, np.concatenate([a.forces for a in alone]), allowed, "their forces")


def check_one_atom(potential: Potential, seed: int = 0) -> None:
    """A lone atom feels no force, and its energy is a constant of its element."""
    rng = np.random.default_rng(seed)
    allowed = tolerance(potential).same
    for z in species(potential, min(3, len(potential.elements)), rng):
        places = [np.zeros((1, 3)), rng.uniform(-5, 5, size=(1, 3))]
        frames = [boxed(potential, Atoms([z], positions=p)) for p in places]
        frames.append(Atoms([z], cell=np.eye(3) * 3 * potential.cutoff, pbc=True))
        found = predict(potential, frames)
        assert np.all(np.isfinite(found.energy)), "the energy of an atom is not a number"
        close(found.energy, np.full(3, found.energy[0]), allowed, "energy of one atom")
        close(found.forces, np.zeros((3, 3)), allowed, "forces on one atom")


def check_layers(potential: Potential, seed: int = 0) -> None:
    """Features hold scalars of every interaction, as no readout has changed them.

    In a `row` of triangles, moving the k-th after a triangle changes what this one has of its k-th
    interaction and of later ones, and leaves what it has of earlier ones as it was.
    """
    rng = np.random.default_rng(seed)
    layers = len(potential.names.interactions)
    atoms, allowed = row(potential, layers + 2, rng), tolerance(potential).same
    before, after = features(potential, [atoms])[:3], []
    for k in range(1, layers + 2):
        step = rng.normal(size=(3, 3))
        step *= 0.05 * potential.cutoff / np.linalg.norm(step, axis=1, keepdims=True)
        moved = atoms.copy()
        moved.positions[3 * k : 3 * k + 3] += step
        after.append(features(potential, [moved])[:3])
    close(after[-1], before, allowed, "features when atoms out of reach move")
    changes = np.abs(np.array(after) - before).max(axis=1)
    # what is out of reach changes nothing: on a CPU to the last bit
    seen = changes[:-1] > changes[-1].max(initial=0.0)
    for k in range(1, layers + 1):
        own = seen[:k].all(axis=0) & ~seen[k:].any(axis=0)
        assert own.any(), f"none is of interaction {k}: no feature sees {k} cutoffs far and no more"
    bent, batch = random_direction(potential, seed), potential.batch([potential.graph(atoms)])
    readouts = {name: bent[name] for name in potential.names.readouts}
    other = potential.features(move(potential.weights(), readouts, 0.1), batch)
    close(array(other)[:3], before, allowed, "features beside another readout")
