"""The trajectory: an extxyz file that grows, and that can be cut back to where a checkpoint is."""

import io
import os
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_extxyz

from tunesmith.errors import CheckpointError, RunFolderError


class Trajectory:
    """Appends frames to ``path``, whose first ``length`` bytes are kept and the rest dropped.

    anew: how a run that has lost it can begin again. Raises `CheckpointError` where the file is
    shorter than that.
    """

    def __init__(self, path: Path, length: int, anew: str) -> None:
        self.path = path
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
            size = self._file.seek(0, os.SEEK_END)
            if size >= length:
                self._file.truncate(length)
                self._file.seek(length)
        except OSError as error:
            raise RunFolderError(
                f"cannot write {path} ({error.strerror}); choose a folder you may write to."
            ) from None
        if size < length:
            raise CheckpointError(
                f"{path} is shorter than the run has written; restore it, or {anew}."
            )

    def append(self, atoms: Atoms, results: dict[str, Any], info: dict[str, Any]) -> int:
        """Write one frame; returns the file's length. results: energy, forces, …"""
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        frame.set_array("momenta", atoms.get_momenta())
        frame.info.update(info)
        frame.calc = SinglePointCalculator(frame, **results)
        text = io.StringIO()
        write_extxyz(text, [frame])
        self._file.write(text.getvalue().encode())
        return self._file.tell()

    def flush(self) -> None:
        """Put everything on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
