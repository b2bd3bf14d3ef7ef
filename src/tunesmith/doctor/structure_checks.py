"""Are these structures at all? Every frame is looked at."""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from tunesmith.core import Frame
from tunesmith.data.checks import check_cell, check_overlaps, is_isolated, symbols
from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.statistics import spread
from tunesmith.errors import DataError
from tunesmith.words import counted

#: eV/Å, rms, and eV/Å³: more than heat does, less than bonds of two thirds of their length
_PUSHED, _PRESSED = 10.0, 0.25
#: nearest neighbours over the sum of covalent radii, median of a set: what bonds allow
CLOSEST, FURTHEST = 0.72, 1.45
#: share of the frames whose bonds must say so, the shortest among them; how much their factors may
#: differ (logarithms); what compression does not reach
_NEARLY_ALL, _ONE_FACTOR, _SQUEEZED = 0.9, 0.25, 0.65
_ABSURD = 0.25
_NOBLE = {2, 10, 18, 36, 54, 86}
FEW = 10


def judge_structures(
    frames: Sequence[Frame], known: Iterable[int]
) -> tuple[list[Frame], list[Finding]]:
    """The frames a model can take, and what is wrong with the others.

    known: atomic numbers of the model's elements.
    """
    known = set(known)
    found: dict[str, list[tuple[str, str]]] = {}
    sound = []
    for frame in frames:
        if wrong := _wrong(frame, known):
            found.setdefault(wrong[0], []).append((frame.origin, wrong[1]))
        else:
            sound.append(frame)
    findings = [
        finding(
            code, f"{counted(len(rows), 'frame')}: {rows[0][1]}", [origin for origin, _ in rows]
        )
        for code, rows in found.items()
    ]
    return sound, findings + _unit(frames, findings) + _electrons(frames) + _few(frames)


def _wrong(frame: Frame, known: set[int]) -> tuple[str, str] | None:
    """Code and sentence of the first thing wrong with a structure."""
    atoms = frame.atoms
    elements = set(atoms.numbers.tolist())
    if len(atoms) == 0:
        return "bad-structure", "no atoms"
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "not-finite", "positions or cell are not finite"
    if unknown := elements - known:
        names = symbols(unknown) if 0 not in unknown else "an atom without element (X)"
        return "unknown-element", f"{names} in {frame.origin}; the model knows {symbols(known)}"
    if is_isolated(frame) and len(atoms) != 1:
        return "bad-structure", f"marked as an isolated atom, with {len(atoms)} atoms"
    try:
        if atoms.pbc.any():
            check_cell(atoms, frame.origin)
    except DataError as error:
        return "bad-structure", str(error)
    if bond_ratio(atoms) < _ABSURD:  # not worth finding thousands of neighbours
        return "overlap", f"all atoms are on top of others in {frame.origin}"
    try:
        check_overlaps([frame])
    except DataError as error:
        return "overlap", str(error)
    return None


def bond_ratio(atoms: Atoms) -> float:
    """Median over atoms of the distance to the nearest other, over the sum of covalent radii.

    NaN where it means nothing: single atoms, noble gases, structures too large to look at.
    """
    n = len(atoms)
    if n < 2 or n > 1000 or set(atoms.numbers.tolist()) & _NOBLE:
        return np.nan
    apart = atoms.positions[:, None] - atoms.positions[None]
    if atoms.pbc.any():
        cell = atoms.cell.complete().array
        apart = apart - (np.round(apart @ np.linalg.inv(cell)) * atoms.pbc) @ cell
    radii = covalent_radii[atoms.numbers]
    ratio = np.linalg.norm(apart, axis=-1) / (radii[:, None] + radii[None])
    np.fill_diagonal(ratio, np.inf)
    return float(np.median(ratio.min(1)))


def _unit(frames: Sequence[Frame], findings: list[Finding]) -> list[Finding]:
    """Bonds that are all too long or too short: a unit is a property of the whole set.

    Scans and dissociations stretch bonds as well, but not all of them, and not by one factor.
    """
    bad = {o for f in findings if f.code in ("bad-structure", "not-finite") for o in f.frames}
    rows = [(f.origin, bond_ratio(f.atoms)) for f in frames if f.origin not in bad]
    rows = [(origin, ratio) for origin, ratio in rows if np.isfinite(ratio)]
    if not rows:
        return []
    ratios = np.array([r for _, r in rows])
    ratio, wide = float(np.median(ratios)), spread(np.log(np.maximum(ratios, 1e-3)))
    n = len(rows)
    if (ratios > FURTHEST).mean() >= _NEARLY_ALL and ratios.min() > 1.2 and wide < _ONE_FACTOR:
        guess = "Bohr" if ratio < 4 else "nm or pm"
        text = f"in {counted(n, 'frame')} bonds are {ratio:.2f} times as long as they should be: "
    elif (ratios < CLOSEST).mean() >= _NEARLY_ALL and ratio < _SQUEEZED and not _pushed(frames):
        guess = "nm" if ratio < 0.2 else "Bohr, converted twice"
        text = f"in {counted(n, 'frame')} bonds are only {ratio:.2f} of what they should be: "
    else:
        return []
    odd = [origin for origin, r in rows if not CLOSEST < r < FURTHEST]
    return [finding("unit-positions", f"{text}positions in {guess}?", odd)]


def _pushed(frames: Sequence[Frame]) -> bool:
    """Whether forces, or the stress where symmetry leaves none, are those of bonds that are as
    short as they look."""
    labels = [f.label for f in frames if f.label is not None]
    forces = [np.sqrt(np.mean(np.sum(label.forces**2, 1))) for label in labels]
    stress = [np.abs(label.stress).max() for label in labels if label.stress is not None]
    return any(
        bool(found) and float(np.median(found)) > most
        for found, most in ((forces, _PUSHED), (stress, _PRESSED))
    )


def _electrons(frames: Sequence[Frame]) -> list[Finding]:
    """Charges and spins that differ between frames of more than one atom."""
    found = []
    for key in ("charge", "multiplicity"):
        values = {
            f.origin: f.atoms.info.get(key, 0 if key == "charge" else None)
            for f in frames
            if len(f.atoms) > 1
        }
        kinds = sorted({v for v in values.values() if v is not None})
        if len(kinds) > 1 and key == "charge":
            origins = [o for o, v in values.items() if v]
            text = f"charges {', '.join(map(str, kinds))} in one set"
            found.append(finding("charge-mixed", text, origins))
        elif len(kinds) > 1:
            found += _spins(frames)
    return found


def _spins(frames: Sequence[Frame]) -> list[Finding]:
    """Several multiplicities of one composition; radicals beside molecules are nothing odd."""
    seen: dict[str, dict[int, list[str]]] = {}
    for f in frames:
        spin = f.atoms.info.get("multiplicity")
        if spin is not None and len(f.atoms) > 1:
            formula = f.atoms.get_chemical_formula("hill")
            seen.setdefault(formula, {}).setdefault(spin, []).append(f.origin)
    mixed = {formula: spins for formula, spins in seen.items() if len(spins) > 1}
    if not mixed:
        return []
    origins = [o for spins in mixed.values() for o in min(spins.values(), key=len)]
    return [finding("charge-mixed", f"several multiplicities of {', '.join(mixed)}", origins)]


def _few(frames: Sequence[Frame]) -> list[Finding]:
    n = sum(len(f.atoms) > 1 for f in frames)
    text = f"{n} structures to learn from; much of what is looked for needs {FEW} to be seen"
    if n == 0:
        return [finding("no-frames", "there is no structure to learn from")]
    return [finding("few-frames", text)] if n < FEW else []
