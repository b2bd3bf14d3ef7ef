"""Energies of isolated atoms (E0s): which zero of energy the tuned model has, element by element.

A label and a foundation model differ first of all in the energy of each atom alone. Getting that
wrong costs more accuracy than any other choice, so it is made here, once, and said in words.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy.linalg
from ase.data import atomic_numbers, chemical_symbols

from tunesmith.core import E0s, Frame
from tunesmith.data.checks import symbols
from tunesmith.errors import ConfigError, DataError
from tunesmith.words import counted

METHODS = ("auto", "isolated", "reestimate", "foundation", "average", "table")
#: eV per atom that E0s may leave to learn before others are taken: foundation models of isolated,
#: spin-polarised atoms leave tenths, those whose atoms are of another kind an eV and more
FAR = 0.3
_TINY = 1e-8  # of a unit vector's length: below it an element is in the span of the compositions


def choose_e0s(
    method: str,
    *,
    frames: Sequence[Frame],
    isolated: Sequence[Frame] = (),
    foundation: Mapping[int, float],
    predicted: np.ndarray | None = None,
    table: Mapping[str, float] | None = None,
) -> E0s:
    """Isolated-atom energies in eV for every element of the foundation model, and why these.

    frames: labelled; isolated: labelled frames of one atom; foundation: its own E0s; predicted:
    (n,) its total energies of ``frames`` in eV, E0s included, float64 (needed where
    `needs_prediction` says so); table: element symbol → eV, for the method "table".

    Raises `DataError` where the frames cannot give what the method needs, `ConfigError` for
    settings that contradict each other.
    """
    if method not in METHODS:
        raise ConfigError(f"e0.method: there is no {method!r}; use one of {', '.join(METHODS)}.")
    if (table is None) == (method == "table"):
        raise ConfigError("e0: give a table with the method 'table', and only with it.")
    present = _elements(frames)
    if unknown := present - foundation.keys():
        raise DataError(
            f"{symbols(unknown)} is in the data but not in the foundation model; remove such "
            "frames or choose another model."
        )
    known = dict(foundation)
    if method == "foundation":
        return E0s(
            known, method, "E0s: the foundation model's own, as asked.", tuple(sorted(known))
        )
    if method == "table":
        return _from_table(table or {}, present, known)
    missing = present - _elements(isolated)
    if method == "average":
        return _average(frames, known)
    if method == "isolated":
        return _from_isolated(isolated, missing, known, asked=True)
    why = _why_not_isolated(method, isolated, missing)
    if method == "auto" and not missing:
        found = _from_isolated(isolated, missing, known, asked=False)
        if (left := _left_to_learn(frames, found, known, predicted)) <= FAR:
            return found
        why = (
            f"because the data's isolated atoms would leave {left:.2g} eV per atom to learn: the "
            "model's are not of the same kind"
        )
    return _reestimate(frames, known, predicted, why)


def needs_prediction(method: str) -> bool:
    """Whether `choose_e0s` will need the foundation model's energies of ``frames``."""
    return method in ("reestimate", "auto")


def minimum_norm(
    frames: Sequence[Frame], energies: np.ndarray
) -> tuple[dict[int, float], np.ndarray]:
    """Per-element energies in eV whose sums over atoms come closest to ``energies`` (n,), float64.

    Least squares of total energies on element counts, unweighted; of all solutions the one of
    least norm. Also returns independent compositions (r, k) that span the data's, k elements in
    ascending order.
    """
    elements = sorted(_elements(frames))
    counts = _counts(frames, elements)
    solution = np.linalg.lstsq(counts.astype(float), energies, rcond=None)[0]
    distinct = np.unique(counts, axis=0)
    rank = np.linalg.matrix_rank(distinct)
    order = scipy.linalg.qr(distinct.T.astype(float), mode="r", pivoting=True)[1]
    return dict(zip(elements, solution.tolist(), strict=True)), distinct[np.sort(order[:rank])]


def unidentified(compositions: np.ndarray) -> np.ndarray:
    """(k,) True where counts (r, k) leave an element's own energy open (not in their span)."""
    _, sizes, axes = np.linalg.svd(compositions.astype(float), full_matrices=False)
    span = axes[sizes > 1e-10 * sizes.max(initial=0.0)]
    return 1 - np.sum(span**2, axis=0) > _TINY


# -------------------------------------------------------------------------- methods


def _from_table(table: Mapping[str, float], present: set[int], foundation: dict[int, float]) -> E0s:
    if wrong := [name for name in table if name not in atomic_numbers]:
        raise ConfigError(f"e0.table: there is no element {wrong[0]!r}; use symbols such as 'O'.")
    given = {atomic_numbers[name]: float(value) for name, value in table.items()}
    if extra := given.keys() - foundation.keys():
        raise ConfigError(f"e0.table: the model does not know {symbols(extra)}; remove it.")
    if missing := present - given.keys():
        raise ConfigError(f"e0.table: {symbols(missing)} is in the data; add its energy in eV.")
    return _complete(given, foundation, "table", "E0s: from the table given.")


def _from_isolated(
    isolated: Sequence[Frame], missing: set[int], foundation: dict[int, float], *, asked: bool
) -> E0s:
    if missing:
        raise DataError(
            f"no isolated atom of {symbols(missing)} in the data; add a labelled frame of one atom "
            "with config_type=IsolatedAtom for each, or use e0.method 'reestimate'."
        )
    given: dict[int, float] = {}
    for frame in isolated:
        z, energy = _isolated_energy(frame)
        if abs(given.setdefault(z, energy) - energy) > 1e-6:
            raise DataError(
                f"{frame.origin}: a second isolated {chemical_symbols[z]} with another energy; "
                "keep the one of the ground state."
            )
    if extra := given.keys() - foundation.keys():
        raise DataError(
            f"an isolated atom of {symbols(extra)} is in the data but not in the foundation model; "
            "remove it."
        )
    why = "as asked" if asked else "because the data has one of every element"
    return _complete(given, foundation, "isolated", f"E0s: from the isolated atoms, {why}.")


def _left_to_learn(
    frames: Sequence[Frame],
    e0s: E0s,
    foundation: dict[int, float],
    predicted: np.ndarray | None,
) -> float:
    """|mean| over frames of label less prediction, both without E0s, per atom, eV."""
    predicted = _finite(frames, predicted)
    own = E0s(foundation)
    left = [
        (label - e0s.total(f.atoms.numbers) - p + own.total(f.atoms.numbers)) / len(f.atoms)
        for f, label, p in zip(frames, _labels(frames), predicted, strict=True)
    ]
    return abs(float(np.mean(left)))


def _finite(frames: Sequence[Frame], predicted: np.ndarray | None) -> np.ndarray:
    """The foundation's energies of the frames; refuses others."""
    if predicted is None or np.shape(predicted) != (len(frames),):
        raise ValueError("re-estimating E0s needs the foundation model's energy of every frame")
    if not np.isfinite(predicted).all():
        bad = frames[int(np.argmin(np.isfinite(predicted)))].origin
        raise DataError(f"{bad}: the foundation model gives no finite energy; remove the frame.")
    return np.asarray(predicted, np.float64)


def _isolated_energy(frame: Frame) -> tuple[int, float]:
    if len(frame.atoms) != 1 or frame.label is None:
        raise DataError(
            f"{frame.origin}: an isolated atom must be one atom with an energy; correct the frame."
        )
    if frame.atoms.info.get("charge", 0) != 0:
        raise DataError(f"{frame.origin}: an isolated atom must be neutral; remove the ion.")
    return int(frame.atoms.numbers[0]), frame.label.energy


def _complete(given: dict[int, float], foundation: dict[int, float], method: str, why: str) -> E0s:
    """Given energies where there are any; compositions with other elements are then refused."""
    rest, elements = foundation.keys() - given.keys(), tuple(sorted(given))
    if not rest:
        return E0s(given, method, why, elements)
    reason = f"{why} {_kept(rest)}"
    single = tuple(tuple(int(a == b) for b in elements) for a in elements)
    return E0s({**foundation, **given}, method, reason, elements, single)


def _average(frames: Sequence[Frame], foundation: dict[int, float]) -> E0s:
    values, rows = minimum_norm(frames, _labels(frames))
    reason = (
        f"E0s: averages, by least squares of {len(frames)} total energies on the composition, as "
        "asked; known to cost accuracy and stability, for comparison only."
    )
    return _fitted({**foundation, **values}, "average", reason, values.keys(), rows, foundation)


def _reestimate(
    frames: Sequence[Frame],
    foundation: dict[int, float],
    predicted: np.ndarray | None,
    why: str,
) -> E0s:
    shift, rows = minimum_norm(frames, _labels(frames) - _finite(frames, predicted))
    values = {z: e0 + shift.get(z, 0.0) for z, e0 in foundation.items()}
    reason = (
        f"E0s: the foundation model's, shifted to fit {counted(len(frames), 'label')} by least "
        f"squares, {why}."
    )
    return _fitted(values, "reestimate", reason, shift.keys(), rows, foundation)


def _fitted(
    values: dict[int, float],
    method: str,
    reason: str,
    fitted: Iterable[int],
    rows: np.ndarray,
    foundation: dict[int, float],
) -> E0s:
    """What least squares gave, and which compositions it says something about."""
    elements = tuple(sorted(fitted))
    open_ones = [z for z, is_open in zip(elements, unidentified(rows), strict=True) if is_open]
    if open_ones:
        reason += (
            f" The compositions do not tell the energies of {symbols(open_ones)} apart: only sums "
            "over compositions like those of the data are fixed, others will be refused."
        )
    if rest := foundation.keys() - set(elements):
        reason += " " + _kept(rest)
    compositions = tuple(tuple(row) for row in rows.tolist())
    return E0s(values, method, reason, elements, compositions)


# ---------------------------------------------------------------------------- parts


def _kept(elements: set[int]) -> str:
    shown = symbols(elements) if len(elements) <= 10 else f"the {len(elements)} other elements"
    return f"For {shown}, not in the data, the foundation model's values stay."


def _why_not_isolated(method: str, isolated: Sequence[Frame], missing: set[int]) -> str:
    if method != "auto":
        return "as asked"
    unused = " (the others are not used)" if isolated else ""
    return f"because the data has no isolated atom of {symbols(missing)}{unused}"


def _elements(frames: Sequence[Frame]) -> set[int]:
    return {int(z) for frame in frames for z in np.unique(frame.atoms.numbers)}


def _counts(frames: Sequence[Frame], elements: list[int]) -> np.ndarray:
    numbers = [frame.atoms.numbers for frame in frames]
    return np.array([np.bincount(n, minlength=elements[-1] + 1)[elements] for n in numbers])


def _labels(frames: Sequence[Frame]) -> np.ndarray:
    if not frames:
        raise DataError("there is no labelled frame to fit E0s to; give training data.")
    energies = []
    for frame in frames:
        if frame.label is None:
            raise DataError(f"{frame.origin}: has no energy to fit E0s to; remove the frame.")
        energies.append(frame.label.energy)
    return np.array(energies, np.float64)
