"""One row of the label store: what decides a label, and how it is written down."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.row import AtomsRow
from ase.stress import full_3x3_to_voigt_6_stress

from tunesmith.core import Failure, Frame, Label

_FORMAT = 1  # of what we put into a row's data
_DIGEST = "sha256"
_MOMENTS = "initial_magmoms"
#: what a row says beside its data and its key-value pairs
_STRUCTURE = ("numbers", "positions", "cell", "pbc", "initial_magmoms", "initial_charges")
_MORE = ("momenta", "masses", "tags", "energy", "free_energy", "forces", "stress")


def label_key(atoms: Atoms, identity: Mapping[str, Any]) -> str:
    """What decides a label, as text: the exact structure and the reference's `identity`.

    Positions, cell, pbc, elements, charge, multiplicity, and initial magnetic moments and charges
    where there are any, to the last bit.
    """
    digest = hashlib.sha256()
    digest.update(np.asarray(atoms.numbers, "<i8").tobytes())
    for array in (atoms.positions, atoms.cell.array):
        digest.update((np.asarray(array, "<f8") + 0.0).tobytes())  # -0.0 becomes 0.0
    digest.update(np.asarray(atoms.pbc, "u1").tobytes())
    electrons: dict[str, Any] = {k: _count(atoms.info.get(k)) for k in ("charge", "multiplicity")}
    for name in ("initial_magmoms", "initial_charges"):
        if name in atoms.arrays and atoms.arrays[name].any():
            electrons[name] = np.asarray(atoms.arrays[name], float).tolist()
    digest.update(canonical([electrons, identity]).encode())
    return "k" + digest.hexdigest()  # ASE refuses text that could be a number


@dataclass(frozen=True)
class Entry:
    """One row: a labelled frame or a failed one, and how it came about.

    checked: whether the row has a digest, which fits; rows of before November 2026 have none.
    """

    frame: Frame
    outcome: Label | Failure
    identity: Mapping[str, Any]
    seconds: float = 0.0
    extra: Mapping[str, Any] | None = None
    checked: bool = True


def plain_label(label: Label) -> Label:
    """The label as a store gives it back: a Python float and float64 arrays of its own."""
    stress = None if label.stress is None else np.array(label.stress, np.float64)
    zero = None if label.energy_zero is None else float(label.energy_zero)
    return Label(float(label.energy), np.array(label.forces, np.float64), stress, zero)


def encode(entry: Entry, key: str) -> tuple[Atoms, dict[str, str], dict[str, Any]]:
    """Structure with results, key-value pairs and data, as ASE's ``write`` takes them.

    The data holds a digest of all of it.
    """
    frame, outcome = entry.frame, entry.outcome
    atoms = frame.atoms.copy()
    atoms.set_constraint()
    vectors = atoms.arrays.get(_MOMENTS)
    if vectors is not None and vectors.ndim > 1:  # ASE's table would give them back as one row
        del atoms.arrays[_MOMENTS]
    info, lost_info = plain_info(atoms.info)
    extra, lost_extra = plain_info(entry.extra or {})
    data: dict[str, Any] = {
        "tunesmith": _FORMAT,
        "reference": json.loads(canonical(entry.identity)),
        "seconds": entry.seconds,
        "origin": frame.origin,
        "config_type": frame.config_type,
        "weight": float(frame.weight),
        "info": info,
        "extra": extra,
        "not_stored": lost_info + lost_extra,
    }
    if vectors is not None and vectors.ndim > 1:
        data[_MOMENTS] = np.asarray(vectors, float)
    if isinstance(outcome, Failure):
        data |= {"kind": outcome.kind, "reason": outcome.reason, "scratch": outcome.scratch}
        return _stamped(atoms, {"label_key": key, "status": "failed"}, data)
    energy, forces, stress, zero = astuple(plain_label(outcome))
    data |= {"energy": energy, "forces": forces, "stress": stress, "energy_zero": zero}
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=energy if zero is None else zero,
        free_energy=energy,
        forces=forces,
        stress=None if stress is None else full_3x3_to_voigt_6_stress(stress),
    )
    return _stamped(atoms, {"label_key": key, "status": "label"}, data)


def _stamped(
    atoms: Atoms, pairs: dict[str, str], data: dict[str, Any]
) -> tuple[Atoms, dict[str, str], dict[str, Any]]:
    return atoms, pairs, {**data, _DIGEST: _digest(AtomsRow(atoms), pairs, data)}


def _digest(row: AtomsRow, pairs: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Of every number and word that a row holds, but for when and by whom it was written."""
    there = [(name, row.get(name)) for name in (*_STRUCTURE, *_MORE)]
    structure = {name: np.asarray(value) for name, value in there if value is not None}
    said = {name: value for name, value in data.items() if name != _DIGEST}
    return hashlib.sha256(canonical([structure, dict(pairs), said]).encode()).hexdigest()


def is_ours(row: AtomsRow) -> bool:
    """Whether `encode` made a row; two signs, so that no single fault makes it another's."""
    return "label_key" in row.key_value_pairs or "tunesmith" in row.data


def check_row(row: AtomsRow) -> None:
    """Raise `ValueError` where a row's digest does not fit what it says; rows without one pass."""
    data = row.data
    if _DIGEST in data and _digest(row, row.key_value_pairs, data) != data[_DIGEST]:
        raise ValueError("its digest does not fit")


def decode(row: AtomsRow) -> Entry:
    """The entry that `encode` wrote, exactly; what JSON could not hold is gone from info.

    Raises `ValueError` where the row's digest does not fit what it says.
    """
    check_row(row)
    data = row.data
    atoms = row.toatoms()
    atoms.calc = None
    atoms.info.update(data["info"])
    if _MOMENTS in data:
        atoms.set_initial_magnetic_moments(data[_MOMENTS])
    frame = Frame(atoms, None, data["origin"], data["weight"], data["config_type"])
    outcome: Label | Failure
    if row["status"] == "failed":
        outcome = Failure(data["kind"], data["reason"], data["scratch"])
    else:
        stress = None if data["stress"] is None else data["stress"].copy()
        outcome = Label(data["energy"], data["forces"].copy(), stress, data["energy_zero"])
    known = (data["reference"], data["seconds"], data["extra"])
    return Entry(frame, outcome, *known, checked=_DIGEST in data)


def plain_info(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The part of a dictionary that JSON can hold, arrays as lists, and the names of the rest."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        try:
            kept[str(name)] = json.loads(json.dumps(value, default=_from_numpy))
        except (TypeError, ValueError):
            continue
    return kept, [str(name) for name in values if str(name) not in kept]


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value))


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_from_numpy)


def _count(value: Any) -> float | None:
    """1, 1.0 and numpy's 1 are one charge."""
    return None if value is None else float(value)
