"""Are there labels, and do they say anything? Without any model; every frame is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase.data import covalent_radii

from tunesmith.contracts import Posterior
from tunesmith.core import Frame, Label
from tunesmith.data.checks import APART, balanced, nothing_said
from tunesmith.data.formats import Beside
from tunesmith.doctor.codes import Severity
from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.likeness import size_of
from tunesmith.words import counted

#: eV/Å, and share of the rms force: a mean force per atom below is a matter of grids
NET, NET_SHARE = 0.02, 0.01
_LONE = 0.3  # eV/Å: a frame's total force, where those of the others are far smaller
_DISTINCT = 3  # sizes of components: fewer, written to few digits, meet by chance
#: of the foundation's rms force: smaller ones are those of a relaxed structure
_RELAXED = 0.1
_SMEARING = 0.5  # eV per atom: more is no energy of smearing
_MANY = 0.4  # of the frames
#: frames looked at; rms force of the foundation, eV/Å, of structures that rest, and of one that
#: does not whatever the foundation's error
_LOOKED_AT, _RESTING, _FALLING = 20, 0.4, 0.6
_LOST = 1.5  # eV/Å, the same, where the others are at rest
_SMALL = 0.02  # eV/Å: components that relaxations leave
_ZERO_PULL = 0.1  # eV/Å of the foundation: then a force of exactly zero is no accident


def judge_labels(
    frames: Sequence[Frame], beside: Mapping[str, Beside], energies: bool = True
) -> tuple[list[Frame], list[Finding]]:
    """The frames with a usable label, and what is wrong with the others.

    beside: what the file says of each frame, by origin, where it is known. energies: whether they
    are needed.
    """
    found = _missing(frames, beside)
    labelled = [(f, f.label) for f in frames if f.label is not None]
    broken = [f for f, label in labelled if not _finite(label) or not _shaped(f, label)]
    if broken:
        text = f"{counted(len(broken), 'frame')}: energy, forces or stress are not finite numbers"
        found.append(finding("not-finite", text, [f.origin for f in broken]))
    bad = {id(f) for f in broken}
    sound = [f for f, _ in labelled if id(f) not in bad]
    same = _same_forces(sound)
    if same:
        text = (
            f"in {counted(len(same), 'frame')} every atom has the same force, or forces are "
            "those of others"
        )
        found.append(finding("forces-same", text, [f.origin for f in same]))
    bad = {id(f) for f in same}
    found += _stress(sound)
    if energies:
        found += _rounded(sound) + _free(sound, beside)
    return [f for f in sound if id(f) not in bad], found


def _finite(label: Label) -> bool:
    parts = (label.energy, label.forces, 0.0 if label.stress is None else label.stress)
    return all(bool(np.isfinite(p).all()) for p in parts)


def _shaped(frame: Frame, label: Label) -> bool:
    return label.forces.shape == (len(frame.atoms), 3)


def _missing(frames: Sequence[Frame], beside: Mapping[str, Beside]) -> list[Finding]:
    """Frames without a label, by what they lack where the file tells."""
    lacking: dict[str, list[str]] = {}
    names: dict[str, set[str]] = {}
    for frame in frames:
        if frame.label is not None:
            continue
        known = beside.get(frame.origin)
        if known is None or (known.any_energy and known.forces):
            codes = ["label-missing"]
        else:
            there = {"energy-missing": known.any_energy, "forces-missing": known.forces}
            codes = [code for code, is_there in there.items() if not is_there]
            others = {} if known.energy else known.energies
            names.setdefault("energy-missing", set()).update(others)
            names.setdefault("forces-missing", set()).update(known.names)
        for code in codes:
            lacking.setdefault(code, []).append(frame.origin)
    found = []
    for code, origins in lacking.items():
        what = {"energy-missing": "energy", "forces-missing": "forces"}.get(code, "a label")
        text = f"{len(origins)} of {len(frames)} frames have no {what}".replace("no a ", "no ")
        if named := sorted(names.get(code, set())):
            text += f"; the file also has {', '.join(named)}"
        found.append(finding(code, text, origins))
    return found


def _same_forces(frames: Sequence[Frame]) -> list[Frame]:
    """Frames whose forces are all the same, or those of another structure."""
    same = []
    seen: dict[bytes, Frame] = {}
    for frame in frames:
        forces = frame.label.forces if frame.label else np.zeros((0, 3))
        if len(forces) < 2 or not forces.any():
            continue
        if not (forces != forces[0]).any():
            same.append(frame)
            continue
        if len(np.unique(np.abs(forces[forces != 0]))) < _DISTINCT:
            continue
        other = seen.setdefault(forces.tobytes(), frame)
        if other is not frame and not _alike(other, frame):
            same.append(frame)
    return same


def _alike(one: Frame, other: Frame) -> bool:
    """Whether two frames hold the same structure, but for where it lies."""
    a, b = (f.atoms.positions - f.atoms.positions[0] for f in (one, other))
    return a.shape == b.shape and bool(np.abs(a - b).max() < 1e-3)


def _rounded(frames: Sequence[Frame]) -> list[Finding]:
    """Energies with two decimals or fewer."""
    energies = np.array([f.label.energy for f in frames if f.label is not None])
    if len(energies) < 5 or not np.allclose(energies, np.round(energies, 2), rtol=0, atol=1e-9):
        return []
    return [finding("energy-rounded", "energies have two decimals: steps of 10 meV")]


def _stress(frames: Sequence[Frame]) -> list[Finding]:
    """Periodic frames without stress beside others with it."""
    periodic = [f for f in frames if f.atoms.pbc.all() and f.label is not None]
    without = [f for f in periodic if f.label is not None and f.label.stress is None]
    if not without or len(without) == len(periodic):
        return []
    text = f"{len(without)} of {len(periodic)} periodic frames have no stress"
    return [finding("stress-missing", text, [f.origin for f in without])]


def _free(frames: Sequence[Frame], beside: Mapping[str, Beside]) -> list[Finding]:
    """The energy in use is not the free energy, and it makes a difference.

    With smearing F = E − TS is what forces are the gradient of, and F ≤ E(σ→0) ≤ E.
    """
    free, used, where, keys = [], [], [], set()
    for frame in frames:
        label = frame.label
        if label is None:
            continue
        known = beside.get(frame.origin)
        given = known.energies.get("free_energy") if known else None
        other = given if given is not None else label.energy_zero
        # what differs by more than any smearing is of another unit or another calculation
        most = _SMEARING * len(frame.atoms)
        if other is not None and np.isfinite(other) and 1e-6 < label.energy - other < most:
            keys.add("free_energy" if given is not None else "energy_zero")
            free.append(other)
            used.append(label.energy)
            where.append(frame)
    if not where:
        return []
    sizes = np.array([len(f.atoms) for f in where])
    off = (np.array(used) - np.array(free)) / sizes
    if off.max() < 2e-5:
        return []
    text = (
        f"in {counted(len(where), 'frame')} the energy in use lies {1e3 * np.median(off):.2g} "
        f"meV/atom above another that the file has ({' and '.join(sorted(keys))}), which must be "
        f"nearer to the free energy (spread {1e3 * np.std(off):.2g})"
    )
    found = finding("free-energy", text, [f.origin for f in where])
    if keys == {"free_energy"}:
        return [found]
    cure = "give as energies those whose gradient the forces are, as a rule the free energies"
    return [replace(found, cure=cure)]


# ------------------------------------------------------------------- with the foundation's forces


def placeholders(frames: list[Frame], posterior: Posterior) -> tuple[list[Frame], list[Finding]]:
    """The other frames, and those whose forces are all exactly zero though something pulls.

    Symmetry makes forces vanish, and few digits those of relaxed structures: there the foundation's
    are small, too. Where every frame is such, there is nothing to learn from.
    """
    empty = [f for f in frames if f.label and not f.label.forces.any() and not balanced(f.atoms)]
    empty = list(frames) if nothing_said(frames) else empty
    if not empty:
        return frames, []
    resting = len(empty) <= _at_rest(frames)
    if len(empty) < len(frames) and (resting or _coarse(frames)):
        some = empty[:: -(-len(empty) // _LOOKED_AT)]
        pull = [size_of(posterior.predict([f.atoms]).mean.forces) for f in some]
        # beside others at rest, which are not quite zero, the foundation may be further off
        rest, fall = (_LOST, _LOST) if resting else (_RESTING, _FALLING)
        if np.median(pull) < rest:
            empty = [f for f, size in zip(some, pull, strict=True) if size > fall]
    if not empty:
        return frames, []
    text = f"in {len(empty)} of {len(frames)} frames every force is exactly zero"
    bad = {id(f) for f in empty}
    kept = [f for f in frames if id(f) not in bad]
    return kept, [finding("forces-zero", text, [f.origin for f in empty])]


def _at_rest(frames: Sequence[Frame]) -> int:
    """How many frames have forces that are small and not zero."""
    largest = [np.abs(f.label.forces).max(initial=0.0) for f in frames if f.label]
    return sum(0 < x < _SMALL for x in largest)


def _coarse(frames: Sequence[Frame]) -> bool:
    """Whether the other forces are so few digits, or so small, that some of exactly zero are no
    wonder."""
    forces = [f.label.forces.ravel() for f in frames if f.label and f.label.forces.any()]
    others = np.abs(np.concatenate(forces)) if forces else np.zeros(0)
    others = others[others > 0]
    if len(others) == 0 or np.median(others) < _SMALL:
        return True
    return any(np.abs(others / s - np.round(others / s)).max() < 1e-6 for s in (0.1, 0.01, 1e-3))


def constrained(
    frames: Sequence[Frame], model: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[Finding]]:
    """Atoms whose force, or a component of it, is exactly zero where the foundation pulls.

    Forces of relaxed structures written to few digits, and of atoms out of any reach, are exactly
    zero, too: only zeros beside forces that are large and written finely count. Returns a mask of
    the frames concerned.
    """
    where = np.zeros(len(frames), bool)
    atoms = 0
    for k, frame in enumerate(frames):
        forces = frame.label.forces if frame.label else model[k]
        held = (forces == 0) & (np.abs(model[k]) > _ZERO_PULL)
        if not held.any() or _by_rounding(forces, model[k], int(held.sum())):
            continue
        held &= ~_alone(frame)[:, None]
        rows = int(held.any(1).sum())
        if rows and (held.all(1).any() or held.sum() > 1):
            where[k], atoms = True, max(atoms, rows)
    if where.sum() < min(2, len(frames)):
        return where & False, []
    origins = [frames[int(k)].origin for k in np.flatnonzero(where)]
    text = (
        f"in {counted(where.sum(), 'frame')} up to {counted(atoms, 'atom')} have forces of "
        "exactly zero where the foundation pulls: constraints, or placeholders"
    )
    # constraints are of a whole calculation; a few frames may have zeros of other reasons
    severity: Severity | None = None if where.mean() > _MANY else "warning"
    return where, [finding("forces-constrained", text, origins, severity)]


def _by_rounding(forces: np.ndarray, model: np.ndarray, zeros: int) -> bool:
    """Whether so many zeros are what few digits make of small forces."""
    others = np.abs(forces[forces != 0])
    if len(others) == 0 or size_of(others) < _RELAXED * size_of(model):
        return True
    steps = (10.0**-d for d in range(1, 5))
    step = next((s for s in steps if np.abs(others / s - np.round(others / s)).max() < 1e-6), 0.0)
    return zeros <= 3 * forces.size * step / float(np.median(others))


def _alone(frame: Frame) -> np.ndarray:
    """(n,) atoms so far from all others that a reference with a cutoff gives no force."""
    d = frame.atoms.get_all_distances(mic=bool(frame.atoms.pbc.any()))
    radii = covalent_radii[frame.atoms.numbers]
    ratio = d / (radii[:, None] + radii[None])
    np.fill_diagonal(ratio, np.inf)
    return np.asarray(ratio.min(1) > APART)


def net_force(frames: Sequence[Frame]) -> list[Finding]:
    """Forces that do not add up to zero: by much, or unlike those of the other frames."""
    rows = [
        (np.linalg.norm(f.label.forces.sum(0)), np.sqrt(np.mean(f.label.forces**2)), f)
        for f in frames
        if f.label is not None and len(f.atoms) > 1
    ]
    if not rows:
        return []
    usual = float(np.median([total for total, _, _ in rows]))
    lone = max(_LONE, 20 * usual)
    odd = [
        (total / len(f.atoms), f.origin)
        for total, rms, f in rows
        if total > lone or total / len(f.atoms) > max(NET, NET_SHARE * rms)
    ]
    if not odd:
        return []
    text = (
        f"in {len(odd)} of {len(frames)} frames the forces do not add up to zero: up to "
        f"{max(odd)[0]:.3f} eV/Å on every atom"
    )
    return [finding("net-force", text, [origin for _, origin in odd])]
