"""The labelled sets that ``--data`` holds, and parts drawn from them without overlap."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.core import Frame
from tunesmith.data.formats import read_frames, write_frames

#: set → files of its frames and of its isolated atoms
FILES = {
    "ethanol": ("train.xyz", "isolated_atoms.xyz"),
    "acac": ("train_300K.xyz", "isolated_atoms.xyz"),
    "3bpa": ("train_300K.xyz", "iso_atoms.xyz"),
    "silicon": ("frames.xyz", ""),
}


def labelled(data: Path | None, name: str, **which: Any) -> list[Frame]:
    """Frames of a set, without isolated atoms. which: of `read_frames`. Exits without the file."""
    file = FILES[name][0]
    if data is None or not (data / name / file).exists():
        sys.exit(f"give --data FOLDER, which holds {name}/{file}.")
    frames, _ = read_frames(data / name / file, **which)
    return [frame for frame in frames if len(frame.atoms) > 1]


def isolated(data: Path, name: str) -> list[Frame]:
    """The isolated atoms of a set, marked as such."""
    frames, _ = read_frames(data / name / FILES[name][1])
    return [replace(frame, config_type="IsolatedAtom") for frame in frames]


def drawn(frames: Sequence[Frame], sizes: Sequence[int], name: str, seed: int) -> list[list[Frame]]:
    """Parts of these sizes of the frames in random order. Exits where there are too few."""
    if sum(sizes) > len(frames):
        sys.exit(f"{name} has {len(frames)} frames, not {' + '.join(map(str, sizes))}.")
    order = np.random.default_rng(seed).permutation(len(frames))
    rows = np.split(order, np.cumsum(sizes))[:-1]
    return [[frames[i] for i in part] for part in rows]


def put(path: Path, frames: Sequence[Frame]) -> Path:
    """Write frames to a file whose folder may be new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frames(path, list(frames))
    return path
