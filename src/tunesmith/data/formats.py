"""Files of structures and labels → frames, and back.

Everything ASE reads can be read (extxyz, ASE database, trajectory, vasprun.xml, OUTCAR, …). The
names of the labels are chosen once for the whole file and returned as `KeysUsed`.
"""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.formats import string2index
from ase.stress import voigt_6_to_full_3x3_stress

from tunesmith.core import Frame, Label
from tunesmith.data import extxyz
from tunesmith.data.images import read_images
from tunesmith.errors import DataError

_QUANTITIES = ("energy", "forces", "stress")
_SETTING = "name the keys to use with energy_key, forces_key and stress_key"
_VIRIALS = ("virial", "virials", "REF_virial", "REF_virials")
_WEIGHTS = tuple(f"config_{q}_weight" for q in (*_QUANTITIES, "virials"))
#: every key that says something about labels: used or reported as ignored, never left in a frame
_LABEL_KEYS = (
    *("REF_energy", "REF_energy_zero", "REF_forces", "REF_stress"),
    *("energy", "free_energy", "forces", "stress", *_VIRIALS, *_WEIGHTS),
)
_FRAME_KEYS = ("config_type", "config_weight", "weight")

Values = dict[str, Any]


@dataclass(frozen=True)
class KeysUsed:
    """Under which keys a file's labels were found (None: absent), and which were left aside."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        found = ", ".join(f"{q} from {getattr(self, q) or 'nothing'}" for q in _QUANTITIES)
        return found + (f"; ignored: {', '.join(self.ignored)}" if self.ignored else "")


@dataclass(frozen=True)
class Beside:
    """What a file says of one frame beside what `Frame` keeps of it.

    energy, forces: whether there are any under the keys in use. energies: every number whose name
    holds "energy". names: of everything else that could be forces.
    """

    energy: bool
    forces: bool
    energies: dict[str, float]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """A file's frames, the keys their labels came from, and what else it says, by origin."""

    frames: list[Frame]
    keys: KeysUsed
    beside: dict[str, Beside]


def read_frames(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    index: str | int | slice = ":",
) -> tuple[list[Frame], KeysUsed]:
    """Frames of a file and the keys their labels came from; energies eV, forces eV/Å, stress eV/Å³.

    ``REF_*`` keys come before plain ones (`free_energy` before `energy`), one choice for the whole
    file. A frame without energy or forces has no label, but an atom alone needs no forces: they
    are zero. Frames count from 0. Raises `DataError`, naming file and frame.
    """
    found = read_contents(
        path, energy_key=energy_key, forces_key=forces_key, stress_key=stress_key, index=index
    )
    return found.frames, found.keys


def read_contents(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    index: str | int | slice = ":",
) -> Contents:
    """`read_frames`, and what the file says beside its frames."""
    path = Path(path)
    images = read_images(path)
    picked = _pick(index, len(images), path)
    origins = [f"{path.name}#{i}" for i in picked]
    images = [images[i] for i in picked]
    values = [values_of(atoms) for atoms in images]
    named = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    keys = choose_keys(values, named, origins)
    frames = [frame_from(*parts, keys) for parts in zip(images, values, origins, strict=True)]
    beside = {
        origin: _beside(atoms, v, keys)
        for atoms, v, origin in zip(images, values, origins, strict=True)
    }
    return Contents(frames, _with_ignored(keys, values, images), beside)


def write_frames(path: str | Path, frames: list[Frame]) -> None:
    """Write frames as extxyz with ``REF_*`` keys, every number exactly, the file whole or not.

    Raises `RunFolderError` where the folder cannot be written.
    """
    extxyz.write(Path(path), map(_labelled_atoms, frames))


def _labelled_atoms(frame: Frame) -> Atoms:
    atoms = frame.atoms.copy()
    atoms.set_constraint()
    atoms.info["config_type"] = frame.config_type
    if frame.weight != 1.0:
        atoms.info["config_weight"] = frame.weight
    if (label := frame.label) is not None:
        atoms.info["REF_energy"] = float(label.energy)
        if label.energy_zero is not None:
            atoms.info["REF_energy_zero"] = float(label.energy_zero)
        if label.stress is not None:
            atoms.info["REF_stress"] = np.asarray(label.stress, float).reshape(9)
        atoms.arrays["REF_forces"] = np.asarray(label.forces, float)
    return atoms


# ------------------------------------------------------------------------- reading


def _pick(index: str | int | slice, n: int, path: Path) -> list[int]:
    try:
        where: Any = string2index(index) if isinstance(index, str) else index
        chosen = range(n)[where]
    except (ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"{path}: holds frames 0 to {n - 1}, {index!r} is none of them; use a number or a "
            "slice such as '0:100:2'."
        ) from error
    return [chosen] if isinstance(chosen, int) else list(chosen)


def values_of(atoms: Atoms) -> Values:
    """All that may hold a label; calculator results are raw, so no constraint has touched them."""
    results = getattr(atoms.calc, "results", {})
    return {**atoms.arrays, **atoms.info, **results}


def _beside(atoms: Atoms, values: Values, keys: KeysUsed) -> Beside:
    energies = {
        key: float(value)
        for key, value in values.items()
        if "energy" in key.lower()
        and isinstance(value, numbers.Real)
        and not isinstance(value, bool | np.bool_)
    }
    per_atom = (key for key, v in values.items() if np.shape(v) == (len(atoms), 3))
    names = tuple(key for key in per_atom if key not in ("positions", keys.forces))
    there = (keys.energy in values, keys.forces in values)
    return Beside(*there, energies, names)


# ---------------------------------------------------------------------------- keys


def choose_keys(
    values: list[Values], named: Mapping[str, str | None], origins: list[str]
) -> KeysUsed:
    """One key per quantity for the whole file; `DataError` where frames disagree.

    values: of each frame everything that may hold a label, as `values_of`. named: by the user, None
    where the usual rules decide.
    """
    present = {key for v in values for key in v}
    auto = [q for q in _QUANTITIES if named[q] is None]
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


def _with_ignored(keys: KeysUsed, values: list[Values], images: list[Atoms]) -> KeysUsed:
    present = {key for v in values for key in v}
    used = {keys.energy, keys.forces, keys.stress}
    used |= {"free_energy": {"energy"}, "REF_energy": {"REF_energy_zero"}}.get(
        keys.energy or "", set()
    )
    ignored = [key for key in _LABEL_KEYS if key in present - used]
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


# -------------------------------------------------------------------------- frames


def frame_from(image: Atoms, values: Values, origin: str, keys: KeysUsed) -> Frame:
    """A bare structure beside its label; what the labels were called leaves info and arrays."""
    atoms = image.copy()
    atoms.calc = None
    atoms.set_constraint()
    dropped = {*_LABEL_KEYS, *_FRAME_KEYS, keys.energy, keys.forces, keys.stress}
    for store in (atoms.info, atoms.arrays):
        for key in dropped & store.keys():
            del store[key]
    _check_electrons(atoms.info, origin)
    weight = _number(values.get("config_weight", values.get("weight", 1.0)), "weight", origin)
    if not weight >= 0:
        raise DataError(f"{origin}: the weight is {weight}; give a number of at least 0.")
    config_type = str(values.get("config_type", "Default"))
    return Frame(atoms, _label(atoms, values, keys, origin), origin, weight, config_type)


def _label(atoms: Atoms, values: Values, keys: KeysUsed, origin: str) -> Label | None:
    forces = values.get(keys.forces or "")
    if forces is None and len(atoms) == 1:
        forces = np.zeros((1, 3))
    if keys.energy not in values or forces is None:
        return None
    energy = _number(values[keys.energy], keys.energy, origin)
    zero_key = {"free_energy": "energy", "REF_energy": "REF_energy_zero"}.get(keys.energy, "")
    zero = _number(values[zero_key], zero_key, origin) if zero_key in values else None
    forces = _array(forces, str(keys.forces), origin)
    if forces.shape != (len(atoms), 3):
        raise DataError(
            f"{origin}: {keys.forces!r} has shape {forces.shape} instead of ({len(atoms)}, 3); "
            "correct the file."
        )
    stress = None
    if keys.stress in values and atoms.pbc.all():
        stress = _stress(_array(values[keys.stress], keys.stress, origin), keys.stress, origin)
    return Label(energy, forces, stress, zero)


def _stress(value: np.ndarray, key: str, origin: str) -> np.ndarray:
    """(3, 3) from 3×3, nine numbers by row, or Voigt's six in ASE's order xx yy zz yz xz xy."""
    if value.shape == (6,):
        return voigt_6_to_full_3x3_stress(value)
    if value.size == 9:
        return value.reshape(3, 3)
    raise DataError(
        f"{origin}: {key!r} has {value.size} numbers; give 3×3, nine, or six in the order xx yy "
        "zz yz xz xy."
    )


def _number(value: Any, key: str, origin: str) -> float:
    # a bare word in an extxyz comment reads as True: no number, whatever Python says
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        return float(value)
    raise DataError(f"{origin}: {key!r} is {value!r}, not a number; correct the file.")


def _array(value: Any, key: str, origin: str) -> np.ndarray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{origin}: {key!r} does not hold numbers only; correct the file."
        ) from None


def _check_electrons(info: Values, origin: str) -> None:
    """Charge and multiplicity as Python integers; ``spin`` alone could mean S, 2S or 2S+1."""
    if "spin" in info and "multiplicity" not in info:
        raise DataError(
            f"{origin}: 'spin' does not say whether it is S, 2S or 2S+1; give 'multiplicity' "
            "(2S+1) instead."
        )
    for key, lowest in (("charge", None), ("multiplicity", 1)):
        if key not in info:
            continue
        value = _number(info[key], key, origin)
        if value != round(value) or (lowest is not None and value < lowest):
            raise DataError(f"{origin}: {key} = {info[key]} is not possible; give an integer.")
        info[key] = round(value)
