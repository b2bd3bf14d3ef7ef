"""Do the forces belong to their atoms, in eV/Å and with the right sign?

First the labels are held against themselves: where the work of the forces is the difference of the
energies, sign and order are right and a unit can only be wrong in both. Then against a foundation,
which knows nothing of the reference but the directions of most forces: the cosine between the two
lists of 3n numbers is 0.7 to 1 for labels that are right, whatever their level of theory, and the
ratio of their lengths 0.7 to 1.4. Where the foundation itself is lost (stretched, compressed, of a
chemistry it never saw) these numbers say nothing: a unit is claimed only where one ratio holds for
all frames and is that of a known unit.
"""

from dataclasses import replace

import numpy as np
from ase import units as u

from tunesmith.doctor.codes import Severity
from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.likeness import (
    KNOWN,
    OPPOSED,
    SURE,
    Forces,
    cosine_of,
    ratio_of,
    size_of,
)
from tunesmith.doctor.misplaced import misplaced
from tunesmith.doctor.outlying_forces import NEAR, TIGHT, stand_apart
from tunesmith.doctor.paths import corrected
from tunesmith.doctor.statistics import (
    centred,
    nearest_factor,
    rank_correlation,
    slope,
    spread,
)
from tunesmith.doctor.structure_checks import CLOSEST, bond_ratio
from tunesmith.doctor.view import View
from tunesmith.doctor.work import Work, agree, work
from tunesmith.doctor.wrong_units import AGREEING, FORCE_UNITS

#: cosine of a foundation so close that a ratio of lengths of two is hardly its own
CLOSE = 0.9
#: frames below which a ratio of two is doubtful; cosine from which on it is not
HANDFUL, SURELY = 8, 0.95
#: how well forces foretell the labels' own energies (cosine of `work.work`): well enough to tell a
#: factor of two, as only forces that are right do, and less than any that are right do
EXACT, _MOSTLY, CONSISTENT = 0.9, 0.8, 0.75
#: as `NEAR`, of a handful of frames
_NEARER = float(np.log(1.4))
#: rank correlation of energies that follow the foundation's
_ORDERED = 0.7
#: of the usual size of a set's forces: smaller ones say little beside a foundation's errors
_QUIET = 0.2
#: forces shorter than the foundation's, and less work than the energies' rise by a hint of labels
#: that are far apart: eV/Bohr cannot be told, but may be
_SHORT, _HINT, _LESS = 0.75, 0.3, 1.3
#: ratio of lengths below which forces without likeness are smaller than the foundation's error
_FAINT = 0.2


def judge_forces(view: View, own: Work) -> Forces:
    """Unit, sign, order and orientation of the forces; then the frames that stand apart.

    own: how well the forces, as they are, foretell the labels' own energies.
    """
    labels = [label.forces for label in view.labels]
    cosine = np.array([cosine_of(a, b) for a, b in zip(labels, view.forces, strict=True)])
    ratio = np.array([ratio_of(a, b) for a, b in zip(labels, view.forces, strict=True)])
    agreed = agree(own)
    nothing = Forces(False, labels, cosine, ratio, [], {}, agreed)
    seen = np.isfinite(cosine)
    if seen.sum() == 0 or 3 * view.sizes[seen].sum() < 12:
        small: dict[str, object] = {"forces": "not judged: forces are too few or too small"}
        return replace(nothing, usable=agreed, facts=small)
    size = np.array([size_of(f) for f in labels])
    loud = seen & (size >= _QUIET * np.percentile(size[seen], 75))
    typical, factor = float(np.median(cosine[loud])), float(np.median(ratio[loud]))
    wide = spread(np.log(ratio[loud]))
    facts: dict[str, object] = {
        "forces_cosine": round(typical, 3),
        "forces_ratio": float(f"{factor:.3g}"),
    }
    if np.isfinite(own.cosine):
        facts["work_cosine"] = round(own.cosine, 3)
        facts["energy_over_work"] = float(f"{own.ratio:.3g}")
    nothing = replace(nothing, facts=facts, likeness=typical)
    if agreed:
        return _of_one_system(view, nothing, loud)
    # but where the energies are the work of these forces, in another unit, that says which
    contradict = own.cosine > EXACT and abs(typical) >= KNOWN and not 0.5 < own.ratio < 2
    if factor < _FAINT and (abs(typical) < SURE or wide > TIGHT) and not contradict:
        facts["forces"] = "not judged: the forces are within the foundation's own error here"
        return nothing
    # forces a few femtoseconds apart point against each other: no sign before other reasons fail
    if -OPPOSED < typical < SURE:
        consistent = _consistent(view, nothing, loud)
        alike = abs(np.log(factor)) < np.log(2.5)
        found = [] if consistent else misplaced(view, labels, loud, typical, alike)
        if consistent and abs(typical) < KNOWN:
            found = [_unlike(view, nothing, loud)]
        if found or abs(typical) < KNOWN:
            return replace(nothing, findings=found)
    found, sign = [], 1.0
    if typical < 0:
        sign = -1.0
        where = seen & (cosine < -KNOWN)
        # a foundation that is lost points anywhere; most of the set, or its energies, must say so
        most = (
            where[loud].mean() >= 0.8 and typical < -SURE and _a_unit(view, factor, wide, own, loud)
        )
        if not (own.cosine < -EXACT or (most and not _energies_fall(view))):
            return replace(nothing, findings=[_unlike(view, nothing, loud)])
        text = f"the forces point against the foundation's (cosine {typical:.2f}): gradients?"
        found.append(finding("forces-sign", text, view.origins(where)))
    name, near = nearest_factor(factor, FORCE_UNITS)
    # eV/Bohr, or a foundation that is too stiff? (of radicals twice, at cosines around 0.8)
    if 0.3 < factor < 0.8:
        name = _bohr_or_not(view, [sign * f for f in labels], own, name, factor, abs(typical))
    # a factor of two is a unit's only of a foundation that is right here, or of energies
    lost = name == "eV/Bohr" and np.isnan(own.cosine) and abs(typical) < CLOSE
    lost |= np.isnan(own.cosine) and name not in AGREEING and as_energies(view, factor)
    if name != "eV/Å" and (lost or not _a_unit(view, factor, wide, own, loud)):
        return replace(nothing, findings=[*found, _unlike(view, nothing, loud)])
    unit = FORCE_UNITS[name]
    if name != "eV/Å":
        # a ratio of two of a handful of frames may as well be the foundation's, and with atoms in
        # any order no energy tells otherwise
        few = seen.sum() < HANDFUL or (typical < SURELY and not view.one_order)
        few |= view.volume_varies(view.groups) and not abs(own.cosine) > EXACT
        doubtful = name == "eV/Bohr" and few
        found.append(_in_unit(view, loud, factor, [name, *near], doubtful))
    elif factor < _SHORT and own.cosine > _HINT and own.ratio > _LESS:
        found.append(_in_unit(view, loud, factor, ["eV/Bohr"], doubtful=True))
    right = [sign * f / unit for f in labels]
    apart = replace(nothing, cosine=sign * cosine, ratio=ratio / unit, forces=right, usable=True)
    return replace(apart, findings=found + stand_apart(view, apart, loud))


def _of_one_system(view: View, judged: Forces, loud: np.ndarray) -> Forces:
    """Energies and forces agree: whether both are in another unit, and frames that stand apart.

    That takes a foundation that knows these structures and finds one and the same ratio in forces
    and in energies.
    """
    typical, factor = float(np.median(judged.cosine[loud])), float(np.median(judged.ratio[loud]))
    wide = spread(np.log(judged.ratio[loud]))
    rise = slope(view.predicted, view.energy, view.groups)
    name, _ = nearest_factor(factor, AGREEING)
    tight = 2 * TIGHT if _off(factor) > np.log(8) else TIGHT  # so far off no foundation is
    sure = typical > KNOWN and wide < tight and loud.sum() >= 3
    both = [abs(np.log(x / AGREEING[name])) for x in (factor, rise) if x > 0]
    alike = (
        len(both) == 2 and max(both) < _tolerance(loud) and abs(np.log(rise / factor)) < np.log(1.4)
    )
    if name != "eV/Å" and sure and alike and not _squeezed(view):
        found = [_in_unit(view, loud, factor, [name], False)]
        right = [f / AGREEING[name] for f in judged.forces]
        return replace(judged, usable=True, forces=right, findings=found)
    if typical < KNOWN or _off(factor) > np.log(2.5):
        return replace(judged, usable=True, findings=[_unlike(view, judged, loud)])
    apart = replace(judged, usable=True)
    return replace(apart, findings=stand_apart(view, apart, loud))


def _unlike(view: View, judged: Forces, where: np.ndarray) -> Finding:
    """The foundation knows little here, or the labels are of something else: nobody can tell."""
    typical, factor = np.median(judged.cosine[where]), np.median(judged.ratio[where])
    text = f"the forces are unlike the foundation's (cosine {typical:.2f}, {factor:.3g} times it)"
    if judged.agreed:
        text += ", but explain the energies they came with: it is the foundation that knows little "
        text += "of these"
    else:
        text += " and no unit or order explains that: it may know little of these"
    return finding("unknown-chemistry", text, view.origins(where))


def _off(factor: float) -> float:
    """How far a ratio is from one: its logarithm's size."""
    return float(abs(np.log(factor)))


def _energies_fall(view: View) -> bool:
    """Whether energies, too, fall where the foundation's rise: then it is lost here."""
    return _ranks(view) < -0.3


def _ranks(view: View) -> float:
    """Rank correlation of labels and foundation over energies within compositions; 0 for few."""
    inside = [g for g in view.groups if len(g) > 2]
    x, y = (centred(e, inside) for e in (view.predicted, view.energy))
    seen = np.isfinite(x)
    return float(rank_correlation(x[seen], y[seen])) if seen.sum() > 4 else 0.0


def as_energies(view: View, factor: float) -> bool:
    """Whether energies differ from the foundation's by the very factor of the forces: then both are
    of one system of units, and it is the foundation that is soft or stiff."""
    if not factor > 0:
        return False
    rise = slope(view.predicted, view.energy, view.groups)
    # of energies in no order the slope is anything below one
    near = rise > 0 and abs(np.log(rise / factor)) < NEAR and _off(rise) > 0.3
    return bool(near and _ranks(view) > _ORDERED)


def _a_unit(view: View, factor: float, wide: float, own: Work, where: np.ndarray) -> bool:
    """Whether a ratio of lengths is a unit's: near a known one and the same in all frames, of bonds
    that a foundation knows; or energies and forces are plainly of two systems of units."""
    differ = abs(own.cosine) > EXACT and not 0.5 < own.ratio < 2
    name, _ = nearest_factor(factor, FORCE_UNITS)
    off = abs(np.log(factor / FORCE_UNITS[name]))
    return bool(differ or (off < _tolerance(where) and wide < TIGHT and not _squeezed(view)))


def _tolerance(where: np.ndarray) -> float:
    """How far a ratio may be from a unit's: less of a handful of frames."""
    return NEAR if where.sum() >= HANDFUL else _NEARER


def _squeezed(view: View) -> bool:
    """Whether bonds are so short that a foundation may be wrong by any factor."""
    ratios = np.array([bond_ratio(f.atoms) for f in view.frames])
    return bool(np.isfinite(ratios).any() and np.nanmedian(ratios) < CLOSEST)


def _in_unit(
    view: View, where: np.ndarray, factor: float, names: list[str], doubtful: bool
) -> Finding:
    text = f"the forces are {factor:.3g} times the foundation's: they look like "
    severity: Severity | None = "warning" if doubtful else None
    return finding("unit-forces", text + " or ".join(names), view.origins(where), severity)


def _consistent(view: View, judged: Forces, where: np.ndarray) -> bool:
    """Whether forces unlike the foundation's are confirmed by the energies they came with, and
    about as long as its own: where elements are wrong, the foundation's are of another world."""
    alike = abs(np.log(np.median(judged.ratio[where]))) < np.log(2.5)
    return bool(alike and work(view, judged.forces, where).cosine > CONSISTENT)


def _bohr_or_not(
    view: View, forces: list[np.ndarray], own: Work, name: str, factor: float, cosine: float
) -> str:
    """Which of eV/Bohr and eV/Å forces about half as long as the foundation's are in.

    By the labels' own energies where they tell (if they are in eV), else by whether the foundation
    corrected by these forces explains the energies better.
    """
    if own.cosine > _MOSTLY and 0.3 < own.ratio < 1.15:
        return "eV/Å"
    if own.cosine > _MOSTLY and 1.3 < own.ratio < 2.4:
        return "eV/Bohr"
    if 0.62 < factor < 0.75 or (name == "eV/Bohr" and cosine < CLOSE):
        return "eV/Bohr" if _fits_better(view, forces) else "eV/Å"
    return name


def _fits_better(view: View, forces: list[np.ndarray]) -> bool:
    """Whether forces taken as eV/Bohr explain the labels' energies better than as eV/Å."""
    if view.volume_varies(view.groups):  # then forces alone do not explain energies
        return False
    left = []
    for unit in (1.0, u.Bohr):
        fixed = corrected(view, [f / unit for f in forces], stress=False)
        off = centred(fixed.energy - fixed.predicted, fixed.groups)
        left.append(spread(off[np.isfinite(off)]))
    return left[1] < 0.97 * left[0]
