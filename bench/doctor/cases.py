"""Sets written to a file as a user would have it, read and examined; and what comes of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tunesmith.core import Frame, derived_seed
from tunesmith.data import extxyz
from tunesmith.data.formats import read_contents
from tunesmith.doctor.examine import examine
from tunesmith.errors import DataError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.testing.defects import CHANGES, DEFECTS, Broken
from tunesmith.testing.defects.defect import content

Sets = dict[str, list[Frame]]


@dataclass(frozen=True)
class Case:
    """One examined set. codes: what would name the defect; none: the set is clean."""

    kind: str
    on: str
    text: str
    codes: tuple[str, ...]
    spoils: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    messages: tuple[str, ...]
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether training was refused, or where a warning does, anything was said."""
        return bool(self.errors or (self.warnings and not self.spoils))

    @property
    def named(self) -> bool:
        """Whether one of the codes was among what caught it."""
        found = self.errors if self.spoils else (*self.errors, *self.warnings)
        return bool(set(self.codes) & set(found))

    @property
    def refused(self) -> bool:
        """Whether training was refused."""
        return bool(self.errors)


def broken_cases(sets: Sets, posterior: Ensemble, each: int, seed: int) -> Iterator[Case]:
    """Every defect in ``each`` sets it applies to, drawn without replacement."""
    for kind, defect in DEFECTS.items():
        rng = np.random.default_rng(derived_seed(seed, "sets", kind))
        made = 0
        for name in rng.permutation(sorted(sets)).tolist():
            draw = np.random.default_rng(derived_seed(seed, kind, name))
            if made < each and (one := defect(sets[name], draw)) is not None:
                yield examined(kind, name, one, posterior)
                made += 1


def clean_cases(sets: Sets, posterior: Ensemble, kinds: list[str], seed: int) -> Iterator[Case]:
    """Harmless changes in every set."""
    for kind in kinds:
        for name, frames in sets.items():
            draw = np.random.default_rng(derived_seed(seed, kind, name))
            made = CHANGES[kind](frames, draw)
            if made is not None and len(made) > 1:
                yield examined(kind, name, Broken(kind, frozenset(), made), posterior)


def examined(kind: str, name: str, one: Broken, posterior: Ensemble) -> Case:
    """What the doctor says of the set's file, as the command reads it."""
    start = time.process_time()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.xyz"
        extxyz.write(path, content(one.frames) if one.images is None else one.images)
        try:
            read = read_contents(path)
            test: Any = one.test or None
            found = examine(read.frames, posterior, test=test, beside=read.beside, seed=0).findings
            said = [(f.code, f.severity, f.message) for f in found]
        except DataError as refusal:
            said = [("unreadable", "error", str(refusal))]
    return Case(
        *(kind, name, one.text, tuple(sorted(one.codes)), one.spoils),
        *(tuple(c for c, s, _ in said if s == severity) for severity in ("error", "warning")),
        tuple(f"{c} ({s}): {m}" for c, s, m in said if s != "note"),
        round(time.process_time() - start, 2),
    )
