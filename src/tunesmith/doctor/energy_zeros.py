"""Have isolated atoms and frames one zero of energy? And do all frames have one?"""

import numpy as np
from ase.data import chemical_symbols

from tunesmith.core import E0s, Frame
from tunesmith.data.checks import symbols
from tunesmith.doctor.codes import Severity
from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.statistics import least_absolute
from tunesmith.doctor.view import View

#: eV per atom, label − foundation, that energies of atomisation of two levels of theory may differ
#: by: DFT and GFN2-xTB do by 1.7 (xTB's atoms are not spin-polarised); a warning, an error beyond
FAR, TOO_FAR = (-1.6, 2.4), (-3.5, 4.0)
#: eV per atom that any real structure's energy of atomisation lies between
LOWEST, HIGHEST = -12.0, 0.5
_NO_ERROR = 8.0  # eV of a whole structure: what no foundation is off by
_UNEVEN = 1.2  # eV per atom, of compositions against each other after a fit of E0s


def energies_of(isolated: list[Frame]) -> dict[int, float]:
    """Element → eV of labelled, finite, neutral frames of one atom; the first of each."""
    found: dict[int, float] = {}
    for frame in isolated:
        if len(frame.atoms) == 1 and frame.label is not None and np.isfinite(frame.label.energy):
            found.setdefault(int(frame.atoms.numbers[0]), frame.label.energy)
    return found


def per_atom(view: View, isolated: list[Frame]) -> bool | None:
    """Whether energies times the number of atoms fit the isolated atoms, and as they are not.

    None without isolated atoms of all elements, or where neither or both do.
    """
    atoms = energies_of(isolated)
    if not view.frames or not set(view.elements) <= atoms.keys():
        return None
    zero = np.array([sum(atoms[int(z)] for z in f.atoms.numbers) for f in view.frames])
    as_total = float(np.median((view.energy - zero) / view.sizes))
    as_mean = float(np.median(view.energy - zero / view.sizes))
    fits = LOWEST < as_total < HIGHEST, LOWEST < as_mean < HIGHEST
    return fits[1] if fits[0] != fits[1] else None


def judge_zeros(
    view: View, isolated: list[Frame], foundation: E0s, trusted: bool, known: np.ndarray
) -> tuple[list[Finding], dict[str, object]]:
    """trusted: whether the frames' own energies are in eV, total and belong to them. known: (n,)
    frames whose forces the foundation knows: of stretched bonds it is off by eV, and rightly."""
    if not view.frames:
        return [], {}
    found, atoms = _several(isolated), energies_of(isolated)
    missing = set(view.elements) - atoms.keys()
    if missing:
        text = f"no isolated atom of {symbols(missing)}"
        found.append(finding("e0-missing", text))
    if not trusted:
        return found, {"e0": "not judged: first the energies must be right"}
    facts: dict[str, object] = {}
    if not missing:
        found += _against_atoms(view, atoms, foundation, facts)
    return found + _uneven(view, known), facts


def _several(isolated: list[Frame]) -> list[Finding]:
    """Two isolated atoms of one element with different energies."""
    first = energies_of(isolated)
    other = [
        f
        for f in isolated
        if len(f.atoms) == 1
        and f.label is not None
        and abs(f.label.energy - first.get(int(f.atoms.numbers[0]), f.label.energy)) > 1e-3
    ]
    if not other:
        return []
    names = symbols({int(f.atoms.numbers[0]) for f in other})
    text = f"isolated {names}: several energies; keep the one of the ground state"
    return [finding("e0-inconsistent", text, [f.origin for f in other])]


def _against_atoms(
    view: View, atoms: dict[int, float], foundation: E0s, facts: dict[str, object]
) -> list[Finding]:
    """Energies of atomisation by the labels against the foundation's."""
    zero = np.array([sum(atoms[int(z)] for z in f.atoms.numbers) for f in view.frames])
    own = np.array([foundation.total(f.atoms.numbers) for f in view.frames])
    label = (view.energy - zero) / view.sizes
    model = (view.predicted - own) / view.sizes
    middle, usual = float(np.median(label)), float(np.median(model))
    facts["atomisation_eV_per_atom"] = round(middle, 2)
    facts["atomisation_of_foundation_eV_per_atom"] = round(usual, 2)
    text = (
        f"E − ΣE0 is {middle:.2f} eV/atom with the isolated atoms of the data, {usual:.2f} by the "
        "foundation"
    )
    if not LOWEST < middle < HIGHEST:
        return [finding("e0-inconsistent", text)]
    if not -10 < usual < -1:  # its zero is no isolated atom: nothing to compare with
        facts["e0"] = "not judged: the foundation's E0s are not those of isolated atoms"
        return []
    off = middle - usual
    if not FAR[0] < off < FAR[1]:
        severe = not TOO_FAR[0] < off < TOO_FAR[1]
        return [finding("e0-inconsistent", text, (), "error" if severe else "warning")]
    return _by_element(view, atoms, foundation)


def _by_element(view: View, atoms: dict[int, float], foundation: E0s) -> list[Finding]:
    """One isolated atom off, seen by compositions with more and less of its element."""
    elements, counts = view.elements, view.counts
    distinct, which = np.unique(counts, axis=0, return_inverse=True)
    if len(distinct) < len(elements) + 1 or np.linalg.matrix_rank(distinct) < len(elements):
        return []
    off = view.energy - view.predicted
    for k, z in enumerate(elements):
        off = off - counts[:, k] * (atoms[z] - foundation.values[z])
    middle = np.array([np.median(off[which.ravel() == i]) for i in range(len(distinct))])
    scale = distinct.sum(1)
    wrong = np.linalg.lstsq(distinct / scale[:, None], middle / scale, rcond=None)[0]
    far = [z for z, w in zip(elements, wrong, strict=True) if abs(w) > TOO_FAR[1]]
    if not far or len(far) == len(elements):
        return []
    worst = ", ".join(
        f"{chemical_symbols[z]} {w:+.1f}" for z, w in zip(elements, wrong, strict=True) if z in far
    )
    text = f"isolated atoms do not fit the frames by {worst} eV: spin state, unit or level?"
    return [finding("e0-inconsistent", text, (), "warning")]


def _uneven(view: View, known: np.ndarray) -> list[Finding]:
    """Compositions whose zero of energy is not that of the others."""
    if not known.any():
        return []
    distinct, which = np.unique(view.counts[known], axis=0, return_inverse=True)
    which = which.ravel()
    if len(distinct) <= np.linalg.matrix_rank(distinct):
        return []
    off = (view.energy - view.predicted)[known]
    middle = np.array([np.median(off[which == i]) for i in range(len(distinct))])
    scale = distinct.sum(1)
    x, y = distinct / scale[:, None], middle / scale
    left = np.abs(least_absolute(x, y, 1e-3))
    if left.max() < _UNEVEN:
        return []
    wrong = np.isin(which, np.flatnonzero(left > 0.5 * _UNEVEN))
    where = np.flatnonzero(known)[wrong]
    names = ", ".join(dict.fromkeys(view.compositions[where]))
    text = (
        f"the energies of {names} do not fit those of the other compositions, by up to "
        f"{left.max():.1f} eV/atom: another zero, unit or level"
    )
    # of small molecules and odd spins a foundation is off by a few eV; zeros are by more
    whole = float((left * scale)[left > 0.5 * _UNEVEN].max())
    severity: Severity | None = None if whole > _NO_ERROR else "warning"
    return [finding("e0-mixed", text, view.origins(where), severity)]
