"""The same structure twice: within a set, and in training and test."""

import hashlib
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from tunesmith.core import Frame
from tunesmith.doctor.findings import Finding, finding

#: Å, of the largest difference of sorted distances: equal up to what files round; hardly different
SAME, NEAR = 2e-4, 2e-2
_TINY = 8  # atoms of a cell up to which distances to nearest images do not tell structures apart
_LENGTH = 400  # distances kept of each structure


def fingerprint(atoms: Atoms) -> np.ndarray:
    """Sorted distances between atoms of each pair of elements: (k,) Å.

    No translation, rotation, reflection or order of equal atoms changes it. Nearest images in
    periodic directions; of large structures evenly spaced ones are kept.
    """
    order = np.argsort(atoms.numbers, kind="stable")
    numbers, positions = atoms.numbers[order], atoms.positions[order]
    if len(atoms) == 1:
        return np.append(np.zeros(0), _cell(atoms))
    i, j = np.triu_indices(len(atoms), 1)
    apart = positions[j] - positions[i]
    if atoms.pbc.any():
        cell = atoms.cell.complete().array
        turns = np.round(apart @ np.linalg.inv(cell)) * atoms.pbc
        apart = apart - turns @ cell
    distances = np.linalg.norm(apart, axis=1)
    kind = numbers[i] * 1000 + numbers[j]
    ascending = distances[np.lexsort((distances, kind))]
    kept = np.linspace(0, len(ascending) - 1, min(len(ascending), _LENGTH)).astype(int)
    return np.append(ascending[kept], _cell(atoms))


def _cell(atoms: Atoms) -> np.ndarray:
    """Lengths of the periodic cell vectors: a cell may grow without any distance changing."""
    return np.asarray(atoms.cell.lengths()[atoms.pbc])


def matches(
    frames: Sequence[Frame], others: Sequence[Frame] | None, limit: float
) -> list[tuple[int, int, float]]:
    """Pairs (i, j, largest difference in Å) of equal structures, j of ``others`` or i < j.

    others: None for pairs within ``frames``.
    """
    second = frames if others is None else others
    prints = [fingerprint(f.atoms) for f in frames]
    theirs = prints if others is None else [fingerprint(f.atoms) for f in second]
    found = []
    for kind, mine in _by_kind(frames).items():
        them = _by_kind(second).get(kind, [])
        if not them:
            continue
        means = np.array([theirs[j].mean() if theirs[j].size else 0.0 for j in them])
        order = np.argsort(means)
        ascending = means[order]
        for i in mine:
            mean = prints[i].mean() if prints[i].size else 0.0
            low, high = np.searchsorted(ascending, [mean - limit, mean + limit])
            for k in order[low:high]:
                j = them[k]
                if others is None and j <= i:
                    continue
                off = float(np.abs(prints[i] - theirs[j]).max(initial=0.0))
                if off < limit:
                    found.append((i, j, off))
    return found


class Known:
    """Structures to be found again, by whoever looks at others one at a time."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        prints = [fingerprint(frame.atoms) for frame in frames]
        self._kinds = {
            kind: (rows, np.array([prints[i] for i in rows]))
            for kind, rows in _by_kind(frames).items()
        }

    def find(self, atoms: Atoms, print_: np.ndarray) -> int | None:
        """The first of them that equals a structure of this `fingerprint`, if any."""
        rows, prints = self._kinds.get(_kind(atoms), ([], np.zeros((0, len(print_)))))
        off = np.abs(prints - print_).max(axis=1, initial=0.0)
        return next((rows[k] for k in np.flatnonzero(off < SAME)), None)


def digest(atoms: Atoms, print_: np.ndarray) -> int:
    """Of 63 bits, the same for copies: of a structure and its `fingerprint`.

    For counting among millions: distances are rounded to 1e-3 Å, so that a copy written with fewer
    digits may be missed, and a structure that differs by less may be counted.
    """
    rounded = np.round(print_, 3) + 0.0  # -0.0 becomes 0.0
    found = hashlib.blake2b(_kind(atoms) + rounded.tobytes(), digest_size=8).digest()
    return int.from_bytes(found, "big") >> 1


def _by_kind(frames: Sequence[Frame]) -> dict[bytes, list[int]]:
    groups: dict[bytes, list[int]] = {}
    for k, frame in enumerate(frames):
        groups.setdefault(_kind(frame.atoms), []).append(k)
    return groups


def _kind(atoms: Atoms) -> bytes:
    """What two equal structures must have in common: elements, periodicity, charge and spin."""
    charge = atoms.info.get("charge", 0), atoms.info.get("multiplicity", 0)
    return np.sort(atoms.numbers).tobytes() + atoms.pbc.tobytes() + repr(charge).encode()


def judge_duplicates(frames: list[Frame]) -> list[Finding]:
    """Copies, copies with other labels, and structures that hardly differ."""
    several = [f for f in frames if len(f.atoms) > 1]
    pairs = matches(several, None, NEAR)
    same = [(i, j) for i, j, off in pairs if off < SAME and _surely(several[i], several[j])]
    found = []
    if disagree := [(i, j) for i, j in same if _disagree(several[i], several[j])]:
        text = f"{len(disagree)} pairs of equal structures have different labels"
        found.append(finding("labels-disagree", text, _origins(several, disagree)))
    if same:
        copies = {j for _, j in same}
        text = f"{len(copies)} of {len(several)} structures are copies of others"
        found.append(finding("duplicates", text, _origins(several, same)))
    close = {k for i, j, off in pairs if off >= SAME for k in (i, j)}
    if len(close) > 0.05 * len(several):
        text = f"{len(close)} structures differ from another by less than {NEAR} Å"
        found.append(finding("near-duplicates", text, [several[k].origin for k in sorted(close)]))
    return found


def judge_overlap(train: list[Frame], other: list[Frame], code: str, name: str) -> list[Finding]:
    """Structures of the other set that are in the training set."""
    pairs = matches(train, [f for f in other if len(f.atoms) > 1], SAME)
    if not pairs:
        return []
    there = [f for f in other if len(f.atoms) > 1]
    twice = sorted({j for _, j, _ in pairs})
    text = f"{len(twice)} of {len(there)} {name} structures are also in the training set"
    return [finding(code, text, [there[j].origin for j in twice])]


def _surely(one: Frame, other: Frame) -> bool:
    """Whether equal distances make equal structures. Of a few atoms in a cell they do not (a step
    along an edge, the same along a diagonal): there the atoms themselves must be in the same places
    but for a shift."""
    a, b = one.atoms, other.atoms
    if not a.pbc.any() or len(a) > _TINY:
        return True
    if (a.numbers != b.numbers).any() or np.abs(a.cell.array - b.cell.array).max() > SAME:
        return False
    apart = (a.positions - a.positions[0]) - (b.positions - b.positions[0])
    cell = a.cell.complete().array
    apart -= (np.round(apart @ np.linalg.inv(cell)) * a.pbc) @ cell
    return bool(np.abs(apart).max() < SAME)


def _disagree(one: Frame, other: Frame) -> bool:
    a, b = one.label, other.label
    if a is None or b is None or not np.isfinite([a.energy, b.energy]).all():
        return False
    return abs(a.energy - b.energy) > max(0.01, 0.002 * len(one.atoms))


def _origins(frames: list[Frame], pairs: list[tuple[int, int]]) -> list[str]:
    return [frames[k].origin for k in sorted({k for pair in pairs for k in pair})]
