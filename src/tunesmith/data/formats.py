"""Files of structures and labels → frames, and back.

Everything ASE reads can be read (extxyz, ASE database, trajectory, vasprun.xml, OUTCAR, …). The
names of the labels are chosen once for the whole file and returned as `KeysUsed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.formats import string2index

from tunesmith.core import Frame
from tunesmith.data import extxyz
from tunesmith.data.frames import Reading
from tunesmith.data.images import check_file, iter_images
from tunesmith.data.keys import Beside, KeysUsed, beside, choose_keys, values_of, with_ignored
from tunesmith.data.kinds import How
from tunesmith.errors import DataError

#: frames that fit into the memory of a usual machine together, some 5 GB
MOST_HELD = 2_000_000

__all__ = ["Beside", "Contents", "KeysUsed", "read_contents", "read_frames", "write_frames"]


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
    format: str | None = None,
    species: Sequence[str] = (),
    constraints: bool = False,
) -> tuple[list[Frame], KeysUsed]:
    """Frames of a file and the keys their labels came from; energies eV, forces eV/Å, stress eV/Å³.

    ``REF_*`` keys come before plain ones (`free_energy` before `energy`), one choice for the whole
    file. A frame without energy or forces has no label, but an atom alone needs no forces: they
    are zero. Frames count from 0. format: ASE's name of it, where name and content do not tell.
    species: the elements of LAMMPS's types 1, 2, … constraints: whether structures keep theirs.
    Raises `DataError`, naming file and frame.
    """
    found = read_contents(
        path,
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        index=index,
        format=format,
        species=species,
        constraints=constraints,
    )
    return found.frames, found.keys


def read_contents(
    path: str | Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    index: str | int | slice = ":",
    format: str | None = None,
    species: Sequence[str] = (),
    constraints: bool = False,
    name: str | None = None,
    partial: bool = False,
) -> Contents:
    """`read_frames`, and what the file says beside its frames.

    name: what origins call the file, None: by its name. partial: a frame with energy or forces
    alone has a label too, with NaN for what is not there.
    """
    path = Path(path)
    how, notes = How(format, tuple(species)), list[str]()
    there = check_file(path, how)
    if there is not None and there > MOST_HELD:
        raise DataError(
            f"{path}: holds {there:,} frames, more than the {MOST_HELD:,} that are held at once; "
            "give a part of it, or let `tunesmith select` choose from it, which reads them in turn."
        )
    numbered = list(iter_images(path, how=how, notes=notes))
    numbered = [numbered[i] for i in _pick(index, len(numbered), path)]
    images = [atoms for _, atoms in numbered]
    origins = [f"{name or path.name}#{i}" for i, _ in numbered]
    values = [values_of(atoms) for atoms in images]
    named = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    keys = choose_keys(values, named, origins)
    reading = Reading(keys, partial, constraints)
    parts = list(zip(images, values, origins, strict=True))
    frames = [reading.frame(*part) for part in parts]
    others = {
        origin: beside(len(atoms), v, keys, reading.scale(v, len(atoms), origin))
        for atoms, v, origin in parts
    }
    keys = with_ignored(keys, values, images)
    return Contents(frames, replace(keys, notes=(*notes, *reading.notes())), others)


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


# ------------------------------------------------------------------------- writing


def write_frames(path: str | Path, frames: list[Frame]) -> None:
    """Write frames as extxyz with ``REF_*`` keys, every number exactly, the file whole or not; an
    energy or forces that are NaN are none.

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
        if not np.isnan(label.energy):
            atoms.info["REF_energy"] = float(label.energy)
        if label.energy_zero is not None:
            atoms.info["REF_energy_zero"] = float(label.energy_zero)
        if label.stress is not None:
            atoms.info["REF_stress"] = np.asarray(label.stress, float).reshape(9)
        if not np.isnan(label.forces).all():
            atoms.arrays["REF_forces"] = np.asarray(label.forces, float)
    return atoms
