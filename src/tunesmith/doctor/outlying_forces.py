"""Frames whose forces stand apart from the others' by the foundation: sign, unit, or only far off.

A foundation is worse for some structures than for others: stretched bonds, relaxed structures whose
forces are smaller than its error. What the labels' own energies confirm is never blamed, and what
is within the foundation's usual error is no deviation.
"""

import numpy as np

from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.likeness import BIG, KNOWN, WELL, Forces, size_of
from tunesmith.doctor.misplaced import explanations
from tunesmith.doctor.statistics import nearest_factor, spread
from tunesmith.doctor.view import View
from tunesmith.doctor.work import confirmed, work
from tunesmith.doctor.wrong_units import FORCE_UNITS
from tunesmith.words import counted

#: how far a ratio may be from a unit's, and ratios of one unit from each other (logarithms)
NEAR, TIGHT = float(np.log(1.6)), 0.5
_TELLING = 8  # atoms, from which on a rearrangement that fits tells something


def stand_apart(view: View, judged: Forces, loud: np.ndarray) -> list[Finding]:
    """Frames whose forces are of another sign, unit or frame, or only far off.

    loud: (n,) frames whose forces say something of the foundation, by which others are judged.
    """
    cosine, ratio, found = judged.cosine, judged.ratio, []
    seen = np.isfinite(cosine)
    off = [a - b for a, b in zip(judged.forces, view.forces, strict=True)]
    error = np.array([size_of(f) for f in off])
    typical = float(np.median(error[loud]))
    big = np.array([size_of(f) for f in view.forces]) > BIG
    big &= error > 2 * typical
    like = max(KNOWN, float(np.median(cosine[loud])) - 0.2)  # as most of this set
    turned = seen & big & (cosine < -like)
    if _confirmed(view, judged, turned):  # stretched bonds, say: it is the foundation that is off
        turned &= False
    if turned.any() and turned.sum() < seen.sum():
        text = f"in {counted(turned.sum(), 'frame')} the forces point against the foundation's"
        # where the sign alone is wrong the lengths are right; where nothing is known they are not
        alike = np.mean(np.abs(np.log(ratio[turned])) < np.log(2)) >= 0.75
        sure = alike and _several(turned.sum(), seen.sum())
        code = "forces-sign" if sure else "outlier-forces"
        found.append(finding(code, text, view.origins(turned)))
    odd = seen & big & (np.abs(cosine) > like) & (np.abs(np.log(ratio)) > np.log(3.5))
    if _confirmed(view, judged, odd):
        odd &= False
    if odd.any() and not _is_a_unit(view, judged, odd, big):
        text = (
            f"in {counted(odd.sum(), 'frame')} the forces are much larger or smaller than the "
            "foundation's"
        )
        found.append(finding("outlier-forces", text, view.origins(odd)))
    elif odd.any():
        name, near = nearest_factor(float(np.median(ratio[odd])), FORCE_UNITS)
        text = (
            f"in {counted(odd.sum(), 'frame')} the forces are {np.median(ratio[odd]):.3g} times "
            f"the foundation's: they look like {' or '.join([name, *near])}"
        )
        found.append(finding("unit-forces", text, view.origins(odd)))
    strange = seen & big & ~odd & ~turned & (cosine < min(like, 0.6))
    if strange.any() and not _confirmed(view, judged, strange):
        found.append(_strange(view, judged, strange))
    rest = ~(turned | odd | strange)
    return found + _outliers(view, judged, rest)


def _confirmed(view: View, judged: Forces, where: np.ndarray) -> bool:
    """Whether the labels' own energies confirm the forces of these frames."""
    return bool(where.any()) and confirmed(view, judged.forces, where)


def _is_a_unit(view: View, judged: Forces, odd: np.ndarray, big: np.ndarray) -> bool:
    """Whether the ratios of some frames are those of another unit: near a known one, the same in
    all of them, and with the directions of the foundation in nearly all that are as far off.

    Small forces are off, too, in any direction; and so is a foundation that is soft somewhere.
    """
    ratio, n = judged.ratio[odd], int(np.isfinite(judged.ratio).sum())
    name, _ = nearest_factor(float(np.median(ratio)), FORCE_UNITS)
    off = np.log(ratio / FORCE_UNITS[name])
    if name == "eV/Å" or abs(np.median(off)) > NEAR or spread(off) > TIGHT:
        return False
    others = judged.ratio[np.isfinite(judged.ratio) & ~odd]
    if len(others) and abs(np.log(np.median(others))) > NEAR:  # lost in all of them
        return False
    side = np.sign(np.log(np.median(ratio)))
    as_far = big & (side * np.log(judged.ratio) > np.log(3.5))  # NaN: not seen
    if odd.sum() < 0.7 * as_far.sum():
        return False
    telling = odd.sum() >= 2 and view.sizes[odd].min() > 2  # two atoms have but one direction
    surely = bool(telling and np.all(judged.cosine[odd] > WELL) and np.ptp(off) < 1)
    return surely or _several(int(odd.sum()), n)


def _several(some: int, n: int) -> bool:
    """Whether ``some`` of ``n`` frames are too many for the foundation's own blind spots."""
    return some >= 3 and some > 0.1 * n


def _strange(view: View, judged: Forces, where: np.ndarray) -> Finding:
    """Frames whose forces have nothing to do with the foundation's, though others' have."""
    chosen = np.flatnonzero(where)
    plausible = np.abs(np.log(judged.ratio[where])) < np.log(2.5)
    everything = np.flatnonzero(np.isfinite(judged.cosine))
    fitting = [
        bool(ok and explanations(view, judged.forces, int(i), everything))
        for i, ok in zip(chosen, plausible, strict=True)
    ]
    # without a reason found, or where the others of their composition are not known well either, it
    # may be the foundation that knows nothing of them (radicals, say)
    theirs = np.isin(view.compositions, np.array(view.compositions)[chosen])
    others = judged.cosine[theirs & ~where & np.isfinite(judged.cosine)]
    known = len(others) == 0 or np.median(others) >= WELL
    # few atoms fit too easily, in some order or to some other frame
    telling = np.median(view.sizes[where]) >= _TELLING
    elsewhere = plausible.mean() > 0.5 and sum(fitting) >= max(3, 0.5 * len(chosen))
    # neighbours of a scan have alike forces: energies must say that these are of others
    judged_by_energy = np.isfinite(work(view, judged.forces, where, least=4).cosine)
    if known and telling and elsewhere and judged_by_energy:
        text = (
            f"in {counted(len(chosen), 'frame')} the forces have nothing to do with the "
            "foundation's, though elsewhere they have: of another frame, or atoms in another order"
        )
        return finding("forces-shuffled", text, view.origins(where))
    text = f"in {counted(len(chosen), 'frame')} the forces are unlike the foundation's"
    return finding("outlier-forces", text, view.origins(where))


def _outliers(view: View, judged: Forces, where: np.ndarray) -> list[Finding]:
    """Single atoms whose force is far off, by the errors of all atoms."""
    errors = [
        np.linalg.norm(a - b, axis=1) for a, b in zip(judged.forces, view.forces, strict=True)
    ]
    sizes = [np.linalg.norm(f, axis=1) for f in view.forces]
    everything, scale = np.concatenate(errors), np.concatenate(sizes)
    if len(everything) < 8:
        return []
    # errors grow with the force itself; what a rattled structure has is no outlier
    relative = everything / (np.median(scale) + scale)
    limit = max(0.4, 10 * float(np.median(relative)))
    far = np.array([
        bool(np.any((e > limit * (np.median(scale) + s)) & (e > 2.0)))
        for e, s in zip(errors, sizes, strict=True)
    ])  # fmt: skip
    far &= where
    if not far.any() or _confirmed(view, judged, far):
        return []
    worst = int(np.argmax([e.max() if f else 0 for e, f in zip(errors, far, strict=True)]))
    text = (
        f"in {counted(far.sum(), 'frame')} single atoms' forces are far from the foundation's: by "
        f"{errors[worst].max():.1f} eV/Å in {view.frames[worst].origin}"
    )
    return [finding("outlier-forces", text, view.origins(far))]
