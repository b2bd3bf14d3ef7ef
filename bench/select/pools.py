"""Real features: small molecules by molecular dynamics and rattled, as organic-xs sees them.

``activation``, the invariant channels of all layers, mean over atoms (64 columns), and ``ntk``, the
energy's gradient with respect to the species embedding (128). Computed once per size and kept.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2

from bench.select.one_selection import REAL
from bench.shared.structures import bare, dynamics, rattled
from tunesmith import Calculator, open_model
from tunesmith.features.compute_features import REPRESENTATIONS, compute

MODEL = "organic-xs"
TEMPERATURES = (300.0, 600.0, 1000.0)  # K
PIECE = 20_000
AMPLITUDES = (0.02, 0.05, 0.1)  # Å, standard deviation of rattled coordinates


def real_features(work: Path, kind: str, frames: int, seed: int = 0) -> np.ndarray:
    """(frames, d) float32, half MD and half rattled, in random order.

    Made in pieces that are kept below the work folder: the same call goes on where one stopped.
    """
    work.mkdir(parents=True, exist_ok=True)
    known, parts = open_model(MODEL), []
    for piece, start in enumerate(range(0, frames, PIECE)):
        count = min(PIECE, frames - start)
        files = {k: work / f"{k}-{MODEL}-{seed}-{piece}-{count}.npy" for k in REAL}
        if not all(file.exists() for file in files.values()):
            rng = np.random.default_rng((seed, piece))
            structures = [*_moving(count // 2, rng), *_rattled(count - count // 2, rng)]
            for k, file in files.items():
                np.save(file, compute(REPRESENTATIONS.get(k)(), structures, known))
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


def _moving(count: int, rng: np.random.Generator) -> Iterator[Atoms]:
    """Langevin dynamics of every molecule at every temperature, by the model itself."""
    model = Calculator(MODEL)
    starts = [(atoms, kelvin) for atoms in molecules() for kelvin in TEMPERATURES]
    for i, (start, kelvin) in enumerate(starts):
        each = count // len(starts) + (i < count % len(starts))
        for atoms in dynamics(start, model, kelvin, each, rng, every=4, hotter=2):
            yield bare(atoms)


def _rattled(count: int, rng: np.random.Generator) -> Iterator[Atoms]:
    """Every molecule with Gaussian displacements of several amplitudes."""
    every = molecules()
    for i in range(count):
        size = AMPLITUDES[(i // len(every)) % len(AMPLITUDES)]
        yield rattled(every[i % len(every)], rng, size)
