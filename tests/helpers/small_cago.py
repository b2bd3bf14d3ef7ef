"""The smallest rounds that make their own structures: water, GFN1-xTB, three members."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.build import molecule

from tunesmith.config import CagoConfig, load
from tunesmith.core import Frame, Label
from tunesmith.data.formats import write_frames
from tunesmith.references.tblite import TBLite

SETTINGS = (
    "reference={kind: tblite, method: GFN1-xTB}",
    "target.forces=100 meV/Å",
    "explore={kind: cago, rounds: 2, rattled: 3, training_rounds: 1, training_frames: 2, frames: 2,"
    " time: 6 fs, write_every: 1 fs}",
    "acquire={kind: attack, attack: {evaluations: 8}, training_attackers: 2}",
    "tune.sampler={kind: committee, members: 3, epochs: 2, batch_size: 2}",
    "execute.processes=1",
)


def files(folder: Path) -> dict[str, str]:
    """A start structure and three labelled ones to test: setting → path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_frames(folder / "start.xyz", [Frame(molecule("H2O"), None, "H2O")])
    reference, rng, tested = TBLite(method="GFN1-xTB"), np.random.default_rng(5), []
    for i in range(3):
        atoms = molecule("H2O")
        atoms.positions += rng.normal(0, 0.07, (3, 3))
        label = reference.label(atoms)
        assert isinstance(label, Label)
        tested.append(Frame(atoms, label, str(i)))
    write_frames(folder / "test.xyz", tested)
    return {"explore.start": str(folder / "start.xyz"), "data.test": str(folder / "test.xyz")}


def config(named: dict[str, str], *overrides: str, **shortcuts: Any) -> CagoConfig:
    """Overrides win over `SETTINGS`, path by path."""
    given = {text.partition("=")[0] for text in overrides}
    defaults = [s for s in SETTINGS if s.partition("=")[0] not in given]
    return load(CagoConfig, None, [*defaults, *overrides], {**named, **shortcuts})
