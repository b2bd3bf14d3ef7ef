"""Real features for `bench/selection.py`: small molecules by molecular dynamics and rattled.

Two representations of organic-xs: ``activation``, the invariant channels of all layers, mean over
atoms (64 columns), and ``ntk``, the energy's gradient with respect to the species embedding (128).
Computed once per size and kept in a work folder.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.collections import g2

from selection_runs import REAL
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Batch, Potential

MODEL = "organic-xs"
_STEP = 1.0 * units.fs
_FRICTION = 0.02 / units.fs
_EVERY = 2  # MD steps between frames that are kept
_TEMPERATURES = (300.0, 600.0, 1000.0)  # K
_PIECE = 20_000
_BATCH = 128
_AMPLITUDES = (0.02, 0.05, 0.1)  # Å, standard deviation of rattled coordinates


def real_features(work: Path, kind: str, frames: int, seed: int = 0) -> np.ndarray:
    """(frames, d) float32, half MD and half rattled, in random order.

    Made in pieces that are kept below the work folder: the same call goes on where one stopped.
    """
    work.mkdir(parents=True, exist_ok=True)
    parts = []
    for piece, start in enumerate(range(0, frames, _PIECE)):
        count = min(_PIECE, frames - start)
        files = {k: work / f"{k}-{MODEL}-{seed}-{piece}-{count}.npy" for k in REAL}
        if not all(file.exists() for file in files.values()):
            for k, rows in _piece(count, np.random.default_rng((seed, piece))).items():
                np.save(files[k], rows)
        parts.append(np.load(files[kind]))
    return np.random.default_rng(seed).permutation(np.concatenate(parts))


def molecules() -> list[Atoms]:
    """The closed-shell molecules of ASE's G2 collection that hold only H, C, N and O."""
    made = [molecule(name) for name in g2.names]
    return [
        atoms
        for atoms in made
        if set(atoms.get_chemical_symbols()) <= set("HCNO")
        and len(atoms) > 2
        and not atoms.get_initial_magnetic_moments().any()
    ]


def _piece(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    potential = zoo.load(MODEL)
    moved = _joined(_dynamics(potential, count // 2, rng))
    rattled = _joined(_rattled(potential, count - count // 2, rng))
    return {kind: np.concatenate([moved[kind][: count // 2], rattled[kind]]) for kind in REAL}


def _joined(blocks: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    every = list(blocks)
    return {kind: np.concatenate([block[kind] for block in every]) for kind in REAL}


def _features(potential: Potential, batch: Batch) -> dict[str, np.ndarray]:
    """Of every structure of a batch, (frames, d) float32 of each kind."""
    weights = potential.weights()
    atoms = potential.features(weights, batch)
    sums = atoms.new_zeros(len(batch), atoms.shape[1]).index_add(0, batch.index, atoms)
    found = {
        "activation": sums / batch.counts[:, None],
        "ntk": potential.embedding_gradient(weights, batch).flatten(1),
    }
    return {kind: rows.numpy().astype(np.float32) for kind, rows in found.items()}


def _dynamics(
    potential: Potential, count: int, rng: np.random.Generator
) -> Iterator[dict[str, np.ndarray]]:
    """Langevin dynamics (BAOAB) of every molecule at every temperature, all in one batch."""
    frames = [atoms.copy() for atoms in molecules() for _ in _TEMPERATURES]
    temperature = np.tile(_TEMPERATURES, len(frames) // len(_TEMPERATURES))
    sizes = [len(atoms) for atoms in frames]
    cuts = np.cumsum(sizes)[:-1]
    mass = np.concatenate([atoms.get_masses() for atoms in frames])[:, None]
    # from the minimum, where half of the kinetic energy will become potential energy
    speed = np.sqrt(units.kB * np.repeat(temperature, sizes)[:, None] / mass)
    keep = np.exp(-_FRICTION * _STEP)
    v = np.sqrt(2) * speed * rng.standard_normal((*mass.shape[:1], 3))
    _, forces = _forces(potential, frames)
    for step in range(-(-count // len(frames)) * _EVERY):
        v += 0.5 * _STEP * forces / mass
        x = np.concatenate([atoms.positions for atoms in frames]) + 0.5 * _STEP * v
        v = keep * v + np.sqrt(1 - keep**2) * speed * rng.standard_normal(v.shape)
        x += 0.5 * _STEP * v
        for atoms, positions in zip(frames, np.split(x, cuts), strict=True):
            atoms.positions = positions
        batch, forces = _forces(potential, frames)
        v += 0.5 * _STEP * forces / mass
        if step % _EVERY == _EVERY - 1:
            yield _features(potential, batch)


def _forces(potential: Potential, frames: list[Atoms]) -> tuple[Batch, np.ndarray]:
    """The batch, and the forces of all atoms (A, 3) eV/Å."""
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    out = potential.evaluate(potential.weights(), batch)
    assert out.forces is not None
    return batch, out.forces.detach().double().numpy()


def _rattled(
    potential: Potential, count: int, rng: np.random.Generator
) -> Iterator[dict[str, np.ndarray]]:
    """Every molecule with Gaussian displacements of several amplitudes."""
    every = molecules()
    for start in range(0, count, _BATCH):
        frames = []
        for i in range(start, min(start + _BATCH, count)):
            atoms = every[i % len(every)].copy()
            amplitude = _AMPLITUDES[(i // len(every)) % len(_AMPLITUDES)]
            atoms.positions += amplitude * rng.standard_normal(atoms.positions.shape)
            frames.append(atoms)
        yield _features(potential, potential.batch([potential.graph(a) for a in frames]))
