"""Two lists of forces held against each other, and what that says of them: cosines and ratios."""

from dataclasses import dataclass

import numpy as np

from tunesmith.doctor.findings import Finding

#: cosines: a foundation that knows the system well, and at all; lists unrelated to each other
SURE, KNOWN, UNRELATED, OPPOSED = 0.7, 0.5, 0.35, 0.85
#: of a foundation that knows a composition well
WELL = 0.85
_SMALL = 0.05  # eV/Å, rms: below it directions are the foundation's noise
#: the foundation's rms force from which on a single frame can stand apart, eV/Å
BIG = 4 * _SMALL


@dataclass(frozen=True)
class Forces:
    """The verdict: forces as they should be (eV/Å), or usable=False where nobody can tell.

    cosine, ratio: (n,) of each frame, NaN where its forces are too small to judge. agreed: whether
    the labels' own energies confirm the forces, whatever the foundation says. likeness: the usual
    cosine, NaN where there is none.
    """

    usable: bool
    forces: list[np.ndarray]
    cosine: np.ndarray
    ratio: np.ndarray
    findings: list[Finding]
    facts: dict[str, object]
    agreed: bool = False
    likeness: float = np.nan


def size_of(forces: np.ndarray) -> float:
    """Root mean square of all components."""
    return float(np.sqrt(np.mean(forces**2)))


def cosine_of(label: np.ndarray, model: np.ndarray) -> float:
    """Between the two lists of 3n numbers; NaN where the foundation's are too small to judge by."""
    if len(label) < 2 or size_of(label) == 0 or size_of(model) < _SMALL:
        return np.nan
    return float(np.sum(label * model) / np.linalg.norm(label) / np.linalg.norm(model))


def ratio_of(label: np.ndarray, model: np.ndarray) -> float:
    """Of the lengths, NaN as `cosine_of`."""
    if not np.isfinite(cosine_of(label, model)):
        return np.nan
    return float(np.linalg.norm(label) / np.linalg.norm(model))
