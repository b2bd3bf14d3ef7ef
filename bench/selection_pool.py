"""Real features for `bench/selection.py`: small molecules by molecular dynamics and rattled.

`activation` of organic-xs: the invariant channels of every atom, all layers, mean over atoms.
Computed once per size and kept in a work folder.
"""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.collections import g2

from tunesmith.potentials import zoo
from tunesmith.potentials.base import Potential

MODEL = "organic-xs"
_STEP = 1.0 * units.fs
_FRICTION = 0.02 / units.fs
_EVERY = 2  # MD steps between frames that are kept
_TEMPERATURES = (300.0, 600.0, 1000.0)  # K
_PIECE = 20_000
_AMPLITUDES = (0.02, 0.05, 0.1)  # Å, standard deviation of rattled coordinates


def real_features(work: Path, frames: int, seed: int = 0) -> np.ndarray:
    """(frames, d) float32, half MD and half rattled, in random order.

    Made in pieces that are kept below the work folder: the same call goes on where one stopped.
    """
    work.mkdir(parents=True, exist_ok=True)
    parts = []
    for piece, start in enumerate(range(0, frames, _PIECE)):
        count = min(_PIECE, frames - start)
        file = work / f"features-{MODEL}-{seed}-{piece}-{count}.npy"
        if not file.exists():
            rng = np.random.default_rng((seed, piece))
            potential = zoo.load(MODEL)
            moved = _dynamics(potential, count // 2, rng)
            np.save(file, np.concatenate([moved, _rattled(potential, count - len(moved), rng)]))
        parts.append(np.load(file))
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


def _evaluated(
    potential: Potential, frames: list[Atoms], forces: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean features (frames, d) and, where asked, the forces of all atoms (A, 3) eV/Å."""
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    out = potential.evaluate(potential.weights(), batch, forces=forces, features=True)
    assert out.features is not None
    index = torch.repeat_interleave(torch.tensor([len(atoms) for atoms in frames]))
    sums = torch.zeros(len(frames), out.features.shape[1]).index_add_(
        0, index, out.features.detach().float()
    )
    mean = sums / torch.bincount(index)[:, None]
    return mean.numpy(), None if out.forces is None else out.forces.detach().double().numpy()


def _dynamics(potential: Potential, count: int, rng: np.random.Generator) -> np.ndarray:
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
    found: list[np.ndarray] = []
    features, forces = _evaluated(potential, frames, True)
    for step in range(-(-count // len(frames)) * _EVERY):
        v += 0.5 * _STEP * forces / mass
        x = np.concatenate([atoms.positions for atoms in frames]) + 0.5 * _STEP * v
        v = keep * v + np.sqrt(1 - keep**2) * speed * rng.standard_normal(v.shape)
        x += 0.5 * _STEP * v
        for atoms, positions in zip(frames, np.split(x, cuts), strict=True):
            atoms.positions = positions
        features, forces = _evaluated(potential, frames, True)
        v += 0.5 * _STEP * forces / mass
        if step % _EVERY == _EVERY - 1:
            found.append(features)
    return np.concatenate(found)[:count]


def _rattled(potential: Potential, count: int, rng: np.random.Generator) -> np.ndarray:
    """Every molecule with Gaussian displacements of several amplitudes."""
    every, found = molecules(), []
    for start in range(0, count, 256):
        frames = []
        for i in range(start, min(start + 256, count)):
            atoms = every[i % len(every)].copy()
            amplitude = _AMPLITUDES[(i // len(every)) % len(_AMPLITUDES)]
            atoms.positions += amplitude * rng.standard_normal(atoms.positions.shape)
            frames.append(atoms)
        found.append(_evaluated(potential, frames, False)[0])
    return np.concatenate(found)
