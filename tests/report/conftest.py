"""Labelled frames to evaluate."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from planted import frame


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def water_and_methane(rng):
    """Six frames: four of water, two of methane, with random labels far from zero."""
    frames = []
    for i, name in enumerate(["H2O"] * 4 + ["CH4"] * 2):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=rng)
        energy = -2000.0 * len(atoms) + rng.normal()
        kind = "warm" if i % 2 else "cold"
        frames.append(
            frame(atoms, energy, rng.normal(size=(len(atoms), 3)), f"t.xyz#{i}", config_type=kind)
        )
    return frames


@pytest.fixture
def salt(rng):
    frames = []
    for i in range(2):
        atoms = bulk("NaCl", "rocksalt", 5.6)
        atoms.rattle(0.05, rng=rng)
        frames.append(
            frame(atoms, -5.0 + i, np.zeros((2, 3)), f"salt.xyz#{i}", stress=0.01 * np.eye(3))
        )
    return frames
