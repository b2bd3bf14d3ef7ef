"""The smallest rounds: rattled water and methane, labelled by a pair potential, organic-xs."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.build import molecule
from ase.calculators.lj import LennardJones

from tunesmith.config import PoolConfig, load
from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames

#: of the model, made of single atoms it calls its own
ZERO = {1: -10.0, 6: -50.0, 8: -100.0}
SETTINGS = (
    "reference.kind=hidden",
    "explore={kind: pool, files: [], rounds: 2, start: 2}",
    "acquire={kind: greedy, rule: kcenter, batch: 2}",
    "tune.sampler={kind: adamw, epochs: 2, batch_size: 1, learning_rate: 1e-3}",
    "execute.processes=1",
)


def frames(n: int, seed: int) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return [_labelled(("H2O", "CH4")[i % 2], rng, f"{seed}#{i}") for i in range(n)]


def _labelled(name: str, rng: np.random.Generator, origin: str) -> Frame:
    atoms = molecule(name)
    atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
    bare = atoms.copy()
    atoms.calc = LennardJones(sigma=0.9, epsilon=0.05, rc=4.0)
    energy = atoms.get_potential_energy() + sum(ZERO[z] for z in atoms.numbers)
    return Frame(bare, Label(float(energy), atoms.get_forces()), origin)


def files(folder: Path, pool: list[Frame] | None = None) -> dict[str, str]:
    """Files of a pool of ten, three structures to validate and four to test: setting → path."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = {
        "explore.files": pool if pool is not None else frames(10, 0),
        "data.valid": frames(3, 1),
        "data.test": frames(4, 2),
    }
    named = {}
    for setting, found in sets.items():
        path = folder / f"{setting.rpartition('.')[2]}.xyz"
        write_frames(path, found)
        named[setting] = str(path)
    return named


def config(named: dict[str, str], *overrides: str, **shortcuts: Any) -> PoolConfig:
    """Overrides win over `SETTINGS`, path by path."""
    given = {text.partition("=")[0] for text in overrides}
    defaults = [s for s in SETTINGS if s.partition("=")[0] not in given]
    return load(PoolConfig, None, [*defaults, *overrides], {**named, **shortcuts})


def results(run: Path) -> dict[str, bytes]:
    """What must be the same, byte by byte, however a run came to its end."""
    names = ("labels.extxyz", "members/members.safetensors")
    return {name: (run / name).read_bytes() for name in names}
