"""Under which names the labels of a file stand, one choice for all, and what is left aside."""

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from tunesmith.errors import DataError

QUANTITIES = ("energy", "forces", "stress")
_SETTING = "name the keys to use with energy_key, forces_key and stress_key"
_VIRIALS = ("virial", "virials", "REF_virial", "REF_virials")
_WEIGHTS = tuple(f"config_{q}_weight" for q in (*QUANTITIES, "virials"))
#: every key that says something about labels: used or reported as ignored, never left in a frame
LABEL_KEYS = (
    *("REF_energy", "REF_energy_zero", "REF_forces", "REF_stress"),
    *("energy", "free_energy", "forces", "stress", *_VIRIALS, *_WEIGHTS),
)

Values = dict[str, Any]


@dataclass(frozen=True)
class KeysUsed:
    """Under which keys a file's labels were found (None: absent), and which were left aside.

    notes: what else people should know of the reading: units converted, charges under other names,
    frames left out.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        found = ", ".join(f"{q} from {getattr(self, q) or 'nothing'}" for q in QUANTITIES)
        found += f"; ignored: {', '.join(self.ignored)}" if self.ignored else ""
        return "; ".join((found, *self.notes))

    @property
    def names(self) -> dict[str, str | None]:
        """Quantity → key."""
        return {q: getattr(self, q) for q in QUANTITIES}


@dataclass(frozen=True)
class Beside:
    """What a file says of one frame beside what `Frame` keeps of it.

    energy, forces: whether there are any under the keys in use. energies: every number whose name
    holds "energy", in eV. names: of everything else that could be forces.
    """

    energy: bool
    forces: bool
    energies: dict[str, float]
    names: tuple[str, ...]

    @property
    def any_energy(self) -> bool:
        """Whether there is an energy in use that is a number: NaN often stands for none."""
        finite = [np.isfinite(value) for value in self.energies.values()]
        return self.energy and (any(finite) or not finite)


def values_of(atoms: Atoms) -> Values:
    """All that may hold a label; calculator results are raw, so no constraint has touched them."""
    results = getattr(atoms.calc, "results", {})
    named = {key: value for key, value in atoms.info.items() if isinstance(key, str)}
    return {**atoms.arrays, **named, **results}


def beside(n_atoms: int, values: Values, keys: KeysUsed, scale: float = 1.0) -> Beside:
    """What else a frame has. scale: of its energies, to eV."""
    energies = {k: scale * float(v) for k, v in values.items() if _is_energy(k, v)}
    per_atom = (key for key, v in values.items() if shape_of(v) == (n_atoms, 3))
    names = tuple(key for key in per_atom if key not in ("positions", "momenta", keys.forces))
    return Beside(keys.energy in values, keys.forces in values, energies, names)


def shape_of(value: Any) -> tuple[int, ...]:
    """Of an array or nested lists; () of what is neither, as lists of different lengths."""
    try:
        return np.shape(value)
    except ValueError:
        return ()


def is_number(value: Any) -> bool:
    """Whether a value is one real number. A bare word in an extxyz comment reads as True: none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _is_energy(key: str, value: Any) -> bool:
    return "energy" in key.lower() and is_number(value)


def choose_keys(
    values: list[Values], named: Mapping[str, str | None], origins: list[str]
) -> KeysUsed:
    """One key per quantity for the whole file; `DataError` where frames disagree.

    values: of each frame everything that may hold a label, as `values_of`. named: by the user, None
    where the usual rules decide.
    """
    present = {key for v in values for key in v}
    auto = [q for q in QUANTITIES if named[q] is None]
    prefix = "REF_" if any(f"REF_{q}" in present for q in auto) else ""
    keys: dict[str, str | None] = {}
    for quantity, name in named.items():
        if name is not None and name not in present:
            raise DataError(
                f"{origins[0] if origins else 'the file'}: no frame has {name!r}, which "
                f"{quantity}_key names; correct the name."
            )
        key = name or prefix + quantity
        if key == "energy" and name is None and "free_energy" in present:
            key = "free_energy"  # what the forces are the gradient of
        keys[quantity] = key if key in present else None
        if name is None and (keys[quantity] is not None or quantity != "stress"):
            _refuse_mixed(values, quantity, key, origins)
    return KeysUsed(keys["energy"], keys["forces"], keys["stress"])


def _refuse_mixed(values: list[Values], quantity: str, key: str, origins: list[str]) -> None:
    others = {quantity, f"REF_{quantity}"} | ({"free_energy"} if quantity == "energy" else set())
    for frame, origin in zip(values, origins, strict=True):
        if key not in frame and (instead := sorted((others - {key}) & frame.keys())):
            raise DataError(
                f"{origin}: has {instead[0]!r} but not {key!r}, the key the rest of the file's "
                f"labels call for; {_SETTING}."
            )


def with_ignored(keys: KeysUsed, values: list[Values], images: list[Atoms]) -> KeysUsed:
    """With the label-like keys that were not used, those of any name by what they hold."""
    present = {key for v in values for key in v}
    used = {keys.energy, keys.forces, keys.stress}
    used |= {"free_energy": {"energy"}, "REF_energy": {"REF_energy_zero"}}.get(
        keys.energy or "", set()
    )
    like = {k for v, a in zip(values, images, strict=True) for k in _label_like(v, len(a))}
    ignored = [key for key in LABEL_KEYS if key in present - used]
    ignored += sorted(like - used - set(LABEL_KEYS))
    ignored = [
        f"{key} (give stress = −virial/volume instead)" if key in _VIRIALS else key
        for key in ignored
    ]
    open_cells = sum(
        keys.stress in v and not atoms.pbc.all() for v, atoms in zip(values, images, strict=True)
    )
    if open_cells:
        ignored.append(f"the stress of {open_cells} frames without three periodic directions")
    return replace(keys, ignored=tuple(ignored))


def _label_like(values: Values, n_atoms: int) -> Iterable[str]:
    """Names that say energy, forces or stress, where what they hold could be that."""
    for key, value in values.items():
        name, shape = key.lower(), shape_of(value)
        forces = shape == (n_atoms, 3) and ("force" in name or "grad" in name)
        stress = ("stress" in name or "virial" in name) and math.prod(shape) in (6, 9)
        if _is_energy(key, value) or forces or (stress and shape[:1] != (n_atoms,)):
            yield key
