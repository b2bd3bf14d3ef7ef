"""Predictions of an evaluation, written beside the labels of its structures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tunesmith.core import Frame
from tunesmith.report.evaluation import Compared, Evaluation

_QUANTITIES = ("energy", "forces", "stress")


def with_predictions(frames: Sequence[Frame], evaluation: Evaluation) -> list[Frame]:
    """The evaluated frames, each with what was predicted for it.

    ``predicted_energy`` (eV; less its composition's mean error where energies are relative),
    ``predicted_forces`` (n, 3) eV/Å, ``predicted_stress`` (9,) eV/Å³, and ``energy_std``,
    ``forces_std``, ``stress_std`` where there is a spread: of all that was compared. Names that
    ASE's writers keep: they drop what they take for results of a calculator.
    """
    found = []
    ends = np.cumsum(evaluation.n_atoms)
    for i, (frame, end) in enumerate(zip(frames, ends, strict=True)):
        atoms = frame.atoms.copy()
        for key in (
            f"{a}{q}{b}" for q in _QUANTITIES for a, b in (("predicted_", ""), ("", "_std"))
        ):
            atoms.info.pop(key, None)  # of another model
            atoms.arrays.pop(key, None)
        _put(atoms.info, "energy", evaluation.energy, i)
        _put(atoms.arrays, "forces", evaluation.forces, slice(end - len(atoms), end))
        if evaluation.stress is not None:
            _put(atoms.info, "stress", evaluation.stress, i)
        found.append(replace(frame, atoms=atoms))
    return found


def _put(there: dict[str, Any], name: str, compared: Compared, rows: int | slice) -> None:
    for key, values in ((f"predicted_{name}", compared.predicted), (f"{name}_std", compared.std)):
        if values is None or not np.isfinite(values[rows]).all():
            continue
        value = values[rows]
        if name == "energy":
            there[key] = float(value)
        else:
            there[key] = value.reshape(9) if name == "stress" else value.copy()
