"""Do the forces belong to their atoms, in eV/Å and with the right sign? Held against a foundation.

A foundation model that knows nothing of the reference still knows the directions of most forces:
the cosine between the two lists of 3n numbers is 0.7 to 1 for labels that are right, whatever
their level of theory, and the ratio of their lengths 0.7 to 1.4.
"""

from dataclasses import dataclass, replace

import numpy as np
from ase import units as u
from scipy.optimize import linear_sum_assignment

from tunesmith.doctor.findings import Finding, Severity, finding
from tunesmith.doctor.paths import corrected, rotation, work
from tunesmith.doctor.statistics import centred, nearest_factor, spread
from tunesmith.doctor.view import View

_KCAL, _KJ = u.kcal / u.mol, u.kJ / u.mol
#: what a force of 1 eV/Å reads in other units
FORCE_UNITS = {
    "eV/Å": 1.0,
    "eV/Bohr": u.Bohr,
    "Ha/Bohr": u.Bohr / u.Ha,
    "Ha/Å": 1 / u.Ha,
    "Ry/Bohr": u.Bohr / u.Ry,
    "Ry/Å": 1 / u.Ry,
    "kcal/mol/Å": 1 / _KCAL,
    "kcal/mol/Bohr": u.Bohr / _KCAL,
    "kJ/mol/Å": 1 / _KJ,
    "kJ/mol/Bohr": u.Bohr / _KJ,
    "kJ/mol/nm": 10 / _KJ,
    "meV/Å": 1000.0,
    "eV/nm": 10.0,
}
#: cosines: a foundation that knows the system well, and at all; lists unrelated to each other
SURE, KNOWN, UNRELATED, OPPOSED = 0.7, 0.5, 0.35, 0.85
#: of a foundation that knows a composition well
WELL = 0.85
#: cosine of a foundation so close that a ratio of lengths of two is hardly its own
CLOSE = 0.9
#: frames below which a ratio of two is doubtful; cosine from which on it is not
HANDFUL, SURELY = 8, 0.95
#: ratio of lengths that no foundation is off by, where directions are right
FAR = 8.0
#: how well forces foretell the labels' own energies (cosine of `paths.work`): well enough to tell a
#: factor of two, as only forces that are right do, and less than any that are right do
EXACT, CONSISTENT, UNEXPLAINED = 0.9, 0.75, 0.2
_TELLING = 8  # atoms, from which on a rearrangement that fits tells something
_SMALL = 0.05  # eV/Å, rms: below it directions are the foundation's noise


@dataclass(frozen=True)
class Forces:
    """The verdict: forces as they should be (eV/Å), or usable=False where nobody can tell.

    cosine, ratio: (n,) of each frame, NaN where its forces are too small to judge.
    """

    usable: bool
    forces: list[np.ndarray]
    cosine: np.ndarray
    ratio: np.ndarray
    findings: list[Finding]
    facts: dict[str, object]


def judge_forces(view: View) -> Forces:
    """Unit, sign, order and orientation of the forces; then the frames that stand apart."""
    labels = [label.forces for label in view.labels]
    cosine = np.array([_cosine(a, b) for a, b in zip(labels, view.forces, strict=True)])
    ratio = np.array([_ratio(a, b) for a, b in zip(labels, view.forces, strict=True)])
    nothing = Forces(False, labels, cosine, ratio, [], {})
    seen = np.isfinite(cosine)
    if seen.sum() == 0 or 3 * view.sizes[seen].sum() < 12:
        return replace(nothing, facts={"forces": "not judged: too few or too small"})
    typical, factor = float(np.median(cosine[seen])), float(np.median(ratio[seen]))
    facts: dict[str, object] = {
        "forces_cosine": round(typical, 3),
        "forces_ratio": float(f"{factor:.3g}"),
    }
    nothing = replace(nothing, facts=facts)
    # forces a few femtoseconds apart point against each other: no sign before other reasons fail
    if -OPPOSED < typical < SURE:
        consistent = _consistent(view, nothing, seen)
        found = [] if consistent else _misplaced(view, labels, seen, typical)
        if consistent and abs(typical) < KNOWN:
            text = (
                f"the forces are unlike the foundation's (cosine {typical:.2f}), but explain the "
                "energies they came with: it is the foundation that knows little of these"
            )
            found = [finding("unknown-chemistry", text, view.origins(seen))]
        if found or abs(typical) < KNOWN:
            return replace(nothing, findings=found)
    found, sign = [], 1.0
    if typical < 0:
        sign = -1.0
        where = seen & (cosine < -KNOWN)
        text = f"the forces point against the foundation's (cosine {typical:.2f}): gradients?"
        found.append(finding("forces-sign", text, view.origins(where)))
    name, near = nearest_factor(factor, FORCE_UNITS)
    # eV/Bohr, or a foundation that is too stiff? (of radicals twice, at cosines around 0.8)
    if 0.38 < factor < 0.8:
        name = _bohr_or_not(view, [sign * f for f in labels], name, factor, abs(typical))
    unit = FORCE_UNITS[name]
    if name != "eV/Å":
        text = (
            f"the forces are {factor:.3g} times the foundation's: they look like "
            f"{_either([name, *near])}"
        )
        # a ratio of two of a handful of frames may as well be the foundation's, and with atoms in
        # any order no energy tells otherwise
        few = seen.sum() < HANDFUL or (typical < SURELY and not view.one_order)
        doubtful = name == "eV/Bohr" and few
        severity: Severity | None = "warning" if doubtful else None
        found.append(finding("unit-forces", text, view.origins(seen), severity))
    right = [sign * f / unit for f in labels]
    apart = replace(nothing, cosine=sign * cosine, ratio=ratio / unit, forces=right, usable=True)
    return replace(apart, findings=found + _apart(view, apart))


def _consistent(view: View, judged: Forces, where: np.ndarray) -> bool:
    """Whether forces unlike the foundation's are confirmed by the energies they came with, and
    about as long as its own: where elements are wrong, the foundation's are of another world."""
    alike = abs(np.log(np.median(judged.ratio[where]))) < np.log(2.5)
    return bool(alike and work(view, judged.forces, where).cosine > CONSISTENT)


def _bohr_or_not(
    view: View, forces: list[np.ndarray], name: str, factor: float, cosine: float
) -> str:
    """Which of eV/Bohr and eV/Å forces about half as long as the foundation's are in.

    By the labels' own energies where they tell (if they are in eV), else by whether the foundation
    corrected by these forces explains the energies better.
    """
    own = work(view, forces)
    if own.cosine > EXACT and 0.6 < own.ratio < 1.15:
        return "eV/Å"
    if own.cosine > EXACT and 1.3 < own.ratio < 2.4:
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


def _either(names: list[str]) -> str:
    return " or ".join(names)


def _cosine(label: np.ndarray, model: np.ndarray) -> float:
    if min(np.sqrt(np.mean(label**2)), np.sqrt(np.mean(model**2))) == 0 or len(label) < 2:
        return np.nan
    if np.sqrt(np.mean(model**2)) < _SMALL:
        return np.nan
    return float(np.sum(label * model) / np.linalg.norm(label) / np.linalg.norm(model))


def _ratio(label: np.ndarray, model: np.ndarray) -> float:
    if not np.isfinite(_cosine(label, model)):
        return np.nan
    return float(np.linalg.norm(label) / np.linalg.norm(model))


# ----------------------------------------------------------------- forces of something else


def _misplaced(
    view: View, labels: list[np.ndarray], where: np.ndarray, typical: float
) -> list[Finding]:
    """Why forces are unlike the foundation's: turned, reordered, or of another frame."""
    chosen = np.flatnonzero(where)
    gains = {name: 0 for name in ("rotated", "reordered", "elsewhere")}
    for i in chosen:
        for name in _explanations(view, labels, int(i), chosen):
            gains[name] += 1
    best = max(gains, key=lambda name: gains[name])
    origins = view.origins(chosen)
    if gains[best] > 0.5 * len(chosen):
        if best == "rotated":
            text = "forces fit the foundation's only after a rotation of the structure"
            return [finding("forces-rotated", text, origins)]
        how = "atoms in another order" if best == "reordered" else "another frame's forces"
        text = f"forces fit the foundation's only as {how} (cosine as they are {typical:.2f})"
        return [finding("forces-shuffled", text, origins)]
    if abs(typical) > KNOWN:
        return []
    text = f"the forces have little to do with the foundation's (cosine {typical:.2f})"
    unrelated = abs(typical) < UNRELATED or work(view, labels, where).cosine < UNEXPLAINED
    certain = unrelated and len(chosen) >= 3
    return [finding("forces-shuffled", text, origins, None if certain else "warning")]


def _explanations(view: View, labels: list[np.ndarray], i: int, others: np.ndarray) -> list[str]:
    """Which rearrangements make the forces of frame i fit, though as they are they do not."""
    label, model = labels[i], view.forces[i]
    now = max(_cosine(label, model), 0.0)
    enough = max(0.75, now + 0.25)
    found = []
    if len(label) > 4 and _cosine(label @ rotation(label, model), model) > enough:
        found.append("rotated")
    if _reordered(label, model) > max(0.82, enough):
        found.append("reordered")
    same = [j for j in others if j != i and view.compositions[j] == view.compositions[i]]
    if any(_cosine(label, view.forces[j]) > enough for j in same):
        found.append("elsewhere")
    return found


def _reordered(label: np.ndarray, model: np.ndarray) -> float:
    """The largest cosine over all orders of the atoms."""
    if len(label) < 4 or len(label) > 200:
        return 0.0
    rows, columns = linear_sum_assignment(-model @ label.T)
    return _cosine(label[columns], model[rows])


# ------------------------------------------------------------------------ frames that stand apart


def _apart(view: View, judged: Forces) -> list[Finding]:
    """Frames whose forces are of another sign, unit or frame, or only far off."""
    cosine, ratio, found = judged.cosine, judged.ratio, []
    seen = np.isfinite(cosine)
    big = np.array([np.sqrt(np.mean(f**2)) for f in view.forces]) > 4 * _SMALL
    like = max(KNOWN, float(np.median(cosine[seen])) - 0.2)  # as most of this set
    turned = seen & big & (cosine < -like)
    if turned.any() and turned.sum() < seen.sum():
        text = f"in {turned.sum()} frames the forces point against the foundation's"
        # where the sign alone is wrong the lengths are right; where nothing is known they are not
        alike = np.mean(np.abs(np.log(ratio[turned])) < np.log(2)) >= 0.75
        sure = alike and _several(turned.sum(), seen.sum())
        code = "forces-sign" if sure else "outlier-forces"
        found.append(finding(code, text, view.origins(turned)))
    odd = seen & big & (np.abs(cosine) > like) & (np.abs(np.log(ratio)) > np.log(3.5))
    if odd.any() and not _is_a_unit(ratio[odd], seen.sum()):
        text = f"in {odd.sum()} frames the forces are much larger or smaller than the foundation's"
        found.append(finding("outlier-forces", text, view.origins(odd)))
    elif odd.any():
        name, near = nearest_factor(float(np.median(ratio[odd])), FORCE_UNITS)
        text = (
            f"in {odd.sum()} frames the forces are {np.median(ratio[odd]):.3g} times the "
            f"foundation's: they look like {_either([name, *near])}"
        )
        found.append(finding("unit-forces", text, view.origins(odd)))
    error = np.array(
        [np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(judged.forces, view.forces, strict=True)]
    )
    typical = np.median(error[seen])
    strange = seen & big & ~odd & ~turned & (cosine < min(like, 0.6)) & (error > 2 * typical)
    if strange.any():
        found.append(_strange(view, judged, strange))
    rest = ~(turned | odd | strange)
    return found + _outliers(view, judged, rest)


def _is_a_unit(ratio: np.ndarray, n: int) -> bool:
    """Whether the ratios of some of ``n`` frames are those of another unit: far off, or the same in
    more than a few frames. Small forces of a system the foundation knows badly are off, too."""
    size = np.abs(np.log(ratio))
    alike = _several(len(ratio), n) and np.std(np.log(ratio)) < 0.4
    return bool(np.median(size) > np.log(FAR) or alike)


def _several(some: int, n: int) -> bool:
    """Whether ``some`` of ``n`` frames are too many for the foundation's own blind spots."""
    return some >= 3 and some > 0.1 * n


def _strange(view: View, judged: Forces, where: np.ndarray) -> Finding:
    """Frames whose forces have nothing to do with the foundation's, though others' have."""
    chosen = np.flatnonzero(where)
    plausible = np.abs(np.log(judged.ratio[where])) < np.log(2.5)
    everything = np.flatnonzero(np.isfinite(judged.cosine))
    fitting = [
        bool(ok and _explanations(view, judged.forces, int(i), everything))
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
    if known and telling and elsewhere and not _consistent(view, judged, where):
        text = (
            f"in {len(chosen)} frames the forces have nothing to do with the foundation's, though "
            "elsewhere they have: of another frame, or atoms in another order"
        )
        return finding("forces-shuffled", text, view.origins(where))
    text = f"in {len(chosen)} frames the forces are unlike the foundation's"
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
    if not far.any():
        return []
    worst = int(np.argmax([e.max() if f else 0 for e, f in zip(errors, far, strict=True)]))
    text = (
        f"in {far.sum()} frames single atoms' forces are far from the foundation's: by "
        f"{errors[worst].max():.1f} eV/Å in {view.frames[worst].origin}"
    )
    return [finding("outlier-forces", text, view.origins(far))]
