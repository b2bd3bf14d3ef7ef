"""Labels that structures of a pool come with, each given only when it is asked for.

They stand in for a reference that has yet to be asked: a study of what to label then costs nothing
but training.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from pydantic import Field, PrivateAttr, model_validator

from tunesmith.contracts import ReferenceRule
from tunesmith.core import Failure, Frame, Label
from tunesmith.errors import ConfigError, DataError
from tunesmith.references import sanity
from tunesmith.references.worker import CallFailed
from tunesmith.units import parse


class Hidden(ReferenceRule):
    """The pool's own labels, under the limits that an engine's labels have.

    It is no reference before `among` has given it a pool: only structures of that can be labelled.
    """

    kind: ClassVar[str] = "hidden"
    computes: ClassVar[bool] = False
    max_force: str = Field("100 eV/Å", description="a larger force is a failure")
    min_distance: float = Field(
        0.4, ge=0, description="nearest distance, a fraction of the sum of covalent radii"
    )
    _max_force: float = PrivateAttr()

    @model_validator(mode="after")
    def _read(self) -> "Hidden":
        self._max_force = parse(self.max_force, "force", field="reference.max_force").value
        if self._max_force <= 0:
            raise ConfigError(f"reference.max_force: {self.max_force!r} must be over zero.")
        return self

    def among(self, pool: Sequence[Frame]) -> "HiddenLabels":
        """The reference that answers for the structures of ``pool``.

        Raises `DataError` where not one of them has a label.
        """
        if not any(frame.label is not None for frame in pool):
            raise DataError(
                f"{pool[0].origin if pool else 'the pool'}: no structure of the pool has a label "
                "to hide; name the keys with data.energy_key and data.forces_key, or use a "
                "reference that computes."
            )
        return HiddenLabels(pool, self._max_force, self.min_distance)


class HiddenLabels:
    """A reference made of labelled frames; of equal structures the first one's label counts."""

    kind = Hidden.kind

    def __init__(self, pool: Sequence[Frame], max_force: float, min_distance: float) -> None:
        self._labels: dict[bytes, tuple[str, Label | None]] = {}
        for frame in pool:
            self._labels.setdefault(_structure(frame.atoms), (frame.origin, frame.label))
        self._max_force, self._min_distance = max_force, min_distance
        self._content = _digest(pool)

    def identity(self) -> dict[str, Any]:
        """The content of all labels: a corrected one is another reference."""
        return {"kind": self.kind, "labels": self._content}

    def label(self, atoms: Atoms) -> Label | Failure:
        """The label of exactly this structure; a failure where it has none or an impossible one."""
        if (found := self._labels.get(_structure(atoms))) is None:
            return Failure("refused", "the structure is not one of the pool.")
        origin, known = found
        if known is None:
            return Failure("refused", f"{origin} has no label in the pool.")
        raw = {
            "energy": known.energy,
            "energy_zero": known.energy_zero,
            "forces": known.forces,
            "stress": known.stress,
        }
        try:
            sanity.check_structure(atoms, self._min_distance)
            return sanity.to_label(raw, len(atoms), self._max_force)
        except CallFailed as failure:
            return Failure(failure.kind, failure.reason)


def _structure(atoms: Atoms) -> bytes:
    """The exact structure: elements, positions, cell, periodicity."""
    parts = (atoms.numbers, atoms.positions + 0.0, atoms.cell.array + 0.0, atoms.pbc)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def _digest(pool: Sequence[Frame]) -> str:
    total = hashlib.sha256()
    for frame in pool:
        total.update(_structure(frame.atoms))
        if (label := frame.label) is not None:
            total.update(np.array(label.energy).tobytes())
            total.update(np.ascontiguousarray(label.forces).tobytes())
            if label.stress is not None:
                total.update(np.ascontiguousarray(label.stress).tobytes())
    return total.hexdigest()
