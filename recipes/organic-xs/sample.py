"""Samplers: each returns unlabelled frames with `config_type` (and `T` in K for MD) in their info.

Lengths in Å, temperatures in K, time in fs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.data import vdw_radii
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.mep import NEB
from ase.optimize import FIRE
from scipy.sparse.csgraph import connected_components, shortest_path
from scipy.spatial.transform import Rotation

from build import bond_matrix, calculator, path_ends, place, relax
from labels import fragment_count

EQUILIBRATION = 100  # MD steps before the first frame
STRIDE = 10  # MD steps between frames
MAX_ATOMS = 24


def tagged(atoms: Atoms, config_type: str, **info: float | str) -> Atoms:
    """Copy that carries only the given info."""
    return Atoms(atoms.numbers, atoms.positions, info={"config_type": config_type, **info})


def md(
    start: Atoms,
    temperature: float,
    count: int,
    config_type: str,
    rng: np.random.Generator,
    rejected: Counter,
    pieces: int = 1,
) -> list[Atoms]:
    """Langevin MD from a relaxed geometry of `pieces` molecules, stopped when one falls apart.

    What a closed-shell method says about separated radicals is not worth learning, hence the stop.
    """
    atoms = start.copy()
    # The start is a minimum: half of the kinetic energy is about to turn into potential energy.
    MaxwellBoltzmannDistribution(atoms, temperature_K=2.0 * temperature, rng=rng)
    atoms.calc = calculator()
    dynamics = Langevin(
        atoms,
        1.0 * units.fs,
        temperature_K=temperature,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
    )
    frames: list[Atoms] = []
    steps = EQUILIBRATION
    while len(frames) < count:
        try:
            dynamics.run(steps)
        except CalculationFailed:
            rejected["md_scf_failed"] += 1
            break
        if not np.isfinite(atoms.positions).all() or fragment_count(atoms) > pieces:
            rejected["md_dissociated"] += 1
            break
        frames.append(tagged(atoms, config_type, T=temperature))
        steps = STRIDE
    return frames


def rattle(starts: Sequence[Atoms], count: int, rng: np.random.Generator) -> list[Atoms]:
    """Gaussian displacements of every coordinate, with a standard deviation of 0.02 - 0.12 Å."""
    frames = []
    for index in range(count):
        atoms = tagged(starts[index % len(starts)], "rattled")
        sigma = (0.02, 0.04, 0.06, 0.09, 0.12)[index % 5]
        atoms.positions += rng.normal(scale=sigma, size=atoms.positions.shape)
        atoms.info["amplitude"] = sigma
        frames.append(atoms)
    return frames


def side(bonds: np.ndarray, i: int, j: int) -> np.ndarray:
    """Atoms that move with j when the bond i-j changes.

    In a ring the bond does not cut the molecule in two; then j moves with its hydrogens (or other
    atoms that have no further bond) only.
    """
    cut = bonds.copy()
    cut[i, j] = cut[j, i] = False
    labels = connected_components(cut, directed=False)[1]
    if labels[i] != labels[j]:
        return np.flatnonzero(labels == labels[j])
    ends = np.flatnonzero(bonds[j] & (bonds.sum(axis=0) == 1))
    return np.append(ends, j)


def stretch(starts: Sequence[Atoms], count: int, rng: np.random.Generator) -> list[Atoms]:
    """One bond at 0.75 - 1.75 times its length, the rest slightly rattled."""
    frames = []
    for index in range(count):
        atoms = tagged(starts[index % len(starts)], "stretch")
        bonds = bond_matrix(atoms)
        i, j = rng.permutation(rng.choice(np.argwhere(np.triu(bonds))))
        factor = rng.uniform(0.75, 1.0) if rng.random() < 0.3 else rng.uniform(1.0, 1.75)
        bond = atoms.positions[j] - atoms.positions[i]
        atoms.positions[side(bonds, i, j)] += (factor - 1.0) * bond
        atoms.positions += rng.normal(scale=rng.uniform(0.0, 0.04), size=atoms.positions.shape)
        frames.append(atoms)
    return frames


def twist(atoms: Atoms, rng: np.random.Generator) -> None:
    """Turn one random acyclic bond by a random angle, in place; nothing to do in a rigid ring."""
    bonds = bond_matrix(atoms)
    inner = bonds.sum(axis=0) > 1
    pairs = [(i, j) for i, j in np.argwhere(np.triu(bonds)) if inner[i] and inner[j]]
    rng.shuffle(pairs)
    for i, j in pairs:
        moving = side(bonds, i, j)
        if i in moving:
            continue
        axis = atoms.positions[j] - atoms.positions[i]
        axis *= rng.uniform(0.0, 2.0 * np.pi) / np.linalg.norm(axis)
        arms = atoms.positions[moving] - atoms.positions[j]
        atoms.positions[moving] = atoms.positions[j] + Rotation.from_rotvec(axis).apply(arms)
        return


def squeeze(start: Atoms, rng: np.random.Generator) -> Atoms | None:
    """Push two atoms three or more bonds apart together, to 0.55 - 0.9 van der Waals contacts."""
    atoms = tagged(start, "contact")
    bonds = bond_matrix(atoms)
    far = shortest_path(bonds, unweighted=True) >= 3
    pairs = [(i, j) for i, j in np.argwhere(np.triu(far)) if atoms.get_distance(i, j) < 4.5]
    if not pairs:
        return None
    twist(atoms, rng)
    i, j = pairs[rng.integers(len(pairs))]
    target = rng.uniform(0.55, 0.9) * vdw_radii[atoms.numbers[[i, j]]].sum()
    vector = atoms.positions[j] - atoms.positions[i]
    excess = 1.0 - target / np.linalg.norm(vector)
    single = bonds.sum(axis=0) == 1
    if excess > 0.0:
        for atom, share in ((i, 0.5), (j, -0.5)):
            atoms.positions[np.append(np.flatnonzero(bonds[atom] & single), atom)] += (
                share * excess * vector
            )
    return atoms


def contact(
    starts: Sequence[Atoms], partners: Sequence[Atoms], count: int, rng: np.random.Generator
) -> list[Atoms]:
    """Nonbonded atoms pushed together, within the molecule and against a second molecule."""
    frames = []
    for index in range(count):
        start = starts[index % len(starts)]
        atoms = squeeze(start, rng) if index % 5 < 2 else None
        if atoms is None:
            fitting = [p for p in (*partners, start) if len(p) + len(start) <= MAX_ATOMS]
            guest = fitting[rng.integers(len(fitting))]
            atoms = tagged(place((start, guest), rng.uniform(0.55, 1.3), rng), "contact")
            atoms.info["floor"] = start.info["energy_relaxed"] + guest.info["energy_relaxed"]
            atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        frames.append(atoms)
    return frames


def separated(cluster: Atoms, shift: float) -> Atoms:
    """Copy whose molecules moved away from (or towards) the common centre by about shift/2 Å."""
    copy = tagged(cluster, "cluster", kind="scan")
    labels = connected_components(bond_matrix(cluster), directed=False)[1]
    centre = copy.positions.mean(axis=0)
    for number in range(labels.max() + 1):
        own = labels == number
        arm = copy.positions[own].mean(axis=0) - centre
        copy.positions[own] += 0.5 * shift * arm / max(np.linalg.norm(arm), 0.1)
    return copy


def cluster(
    members: Sequence[Sequence[Atoms]], scale: float, rng: np.random.Generator, rejected: Counter
) -> list[Atoms]:
    """Random arrangements, relaxed ones, scans of their separation, and MD at 300 and 500 K."""

    def draw(gap: float) -> Atoms:
        return place([options[rng.integers(len(options))] for options in members], gap, rng)

    frames = [
        tagged(draw(rng.uniform(0.6, 1.5)), "cluster", kind="random")
        for _ in range(max(1, round(14 * scale)))
    ]
    relaxed: list[Atoms] = []
    for _ in range(3):
        atoms = draw(0.95)
        if not relax(atoms, fmax=0.02, steps=200):
            rejected["relax_scf_failed"] += 1
        elif fragment_count(atoms, 1.3) != len(members):
            rejected["relax_bonds_changed"] += 1
        else:
            relaxed.append(atoms)
            frames.append(tagged(atoms, "cluster", kind="relaxed"))
    for atoms in relaxed:
        for shift in rng.permutation(np.linspace(-0.8, 3.0, 8))[: max(1, round(4 * scale))]:
            frames.append(separated(atoms, shift))
        for frame in rattle([atoms], max(1, round(2 * scale)), rng):
            frame.info.update(config_type="cluster", kind="rattled")
            frames.append(frame)
        for temperature in (300.0, 500.0):
            number = max(1, round(7 * scale))
            found = md(atoms, temperature, number, "cluster", rng, rejected, len(members))
            for frame in found:
                frame.info["kind"] = "md"
            frames += found
    return frames


def path(
    ends: tuple[str, str], scale: float, rng: np.random.Generator, rejected: Counter
) -> list[Atoms]:
    """IDPP interpolation between two isomers and the same path on its way to the minimum energy.

    A few band steps are enough to take the worst strain out, and the images of several stages
    cover the surroundings of the path. Each image comes as it is or rattled.
    """
    frames: list[Atoms] = []
    for _ in range(2):
        found = path_ends(*ends, rng, rejected)
        if found is None:
            continue
        images = [found[0].copy()] + [found[0].copy() for _ in range(9)] + [found[1].copy()]
        band = NEB(images, k=1.0, method="improvedtangent")
        band.interpolate("idpp")
        for stage, steps in (("idpp", 0), ("band", 12), ("band", 40)):
            if steps:
                for image in images:
                    image.calc = calculator()
                try:
                    FIRE(band, logfile=None, maxstep=0.1).run(fmax=0.1, steps=steps)
                except CalculationFailed:
                    rejected["band_scf_failed"] += 1
                    break
            drawn = rng.permutation(np.arange(len(images)))[: max(1, round(10 * scale))]
            for index in np.sort(drawn):
                atoms = tagged(images[index], "path", kind=stage, progress=index / 10)
                sigma = (0.0, 0.03, 0.06)[rng.integers(3)]
                atoms.positions += rng.normal(size=atoms.positions.shape) * sigma
                frames.append(atoms)
    return frames
