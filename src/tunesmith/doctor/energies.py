"""Do the energies belong to their structures, and in eV? By differences, never by their zero.

Within one composition the zero of energy drops out. What is compared are differences: of the
labels, and of the foundation model, corrected where possible by the labels' own forces
(`paths.py`), which removes most of the foundation's error.
"""

from dataclasses import dataclass, field

import numpy as np

from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.levels import judge_levels
from tunesmith.doctor.statistics import centred, nearest_factor, rank_correlation, slope, spread
from tunesmith.doctor.view import View
from tunesmith.doctor.wrong_units import ENERGY_UNITS

_PER_ATOM = "eV per atom"
_FEWEST = 3  # differences within compositions, to say anything
_RELATED = 0.5  # rank correlation of energies that belong to their structures, at least
_CLOSELY = 0.85  # the same, of what is left of energies of strained cells
_CLEAR = 0.5  # unexplained: the ratio is beyond doubt
_LOST = 0.02  # eV per atom: more than forces that are right leave unexplained
_NEAR = np.log(2.0)  # how far a ratio may be from a unit's (logarithms)
_SOME, _NEARER = 8, np.log(1.35)  # differences below which it must be nearer
_APART = 5.0  # eV per atom: between energies of one composition, whatever the foundation
_NARROW = 2e-3  # eV per atom: a spread of the foundation's energies below it is its noise


@dataclass(frozen=True)
class Scale:
    """How label and foundation compare within compositions.

    correlation: of ranks. ratio: of differences. n: how many differences there are. unexplained:
    spread of label/ratio − foundation over that of label/ratio. left: the former, eV per atom.
    frames: indices of those compared. within: whether within compositions, not across them.
    sure: whether corrected for strain.
    """

    correlation: float
    ratio: float
    n: int
    unexplained: float
    left: float
    frames: np.ndarray
    within: bool
    sure: bool


@dataclass(frozen=True)
class Energies:
    """The verdict. scaled: whether energies are in eV, total, and belong to their structures."""

    scaled: bool
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)


def judge_energies(
    view: View, sure: bool, atoms: bool | None, agreed: bool = False, contradicted: bool = False
) -> Energies:
    """Unit, sign and order of the energies; frames of another zero or level; outliers.

    view: with the foundation's energies corrected where they can be (`paths.corrected`). sure:
    whether they were, by forces that are right (and stress, where the volume varies). atoms:
    whether isolated atoms fit the energies times the number of atoms (True) or as they are
    (False), None: unknown. agreed: whether the work of forces in eV/Å foretells them: then they are
    in eV, total and in order, whatever the foundation says. contradicted: whether forces that are
    right foretell nothing of them.
    """
    for hopeless in (_constant(view), _across(view)):
        if hopeless is not None:
            return Energies(False, [hopeless])
    scale, why = _scale(view, view.groups, sure)
    clear = scale is not None and (
        scale.unexplained < _CLEAR or (scale.correlation > 0.8 and scale.n >= 20)
    )
    if scale and clear and not agreed and (found := _unit(view, scale, atoms)):
        return Energies(False, [found], _facts(scale))
    sound, levels = judge_levels(view, ENERGY_UNITS, sure)
    inner = [g[sound[g]] for g in view.groups]
    inner = [g for g in inner if len(g) > 1]
    if len(levels) or scale is None:
        scale, why = _scale(view, inner, sure)
    if scale is None:
        return Energies(True, levels, {"energies": f"not judged: {why}"})
    found = None
    if not agreed:
        found = _order(view, scale, sure, contradicted) or _unit(view, scale, atoms)
    return Energies(found is None, [*([found] if found else []), *levels], _facts(scale))


def _facts(scale: Scale) -> dict[str, object]:
    return {
        "energy_correlation": round(scale.correlation, 3),
        "energy_ratio": float(f"{scale.ratio:.3g}"),
        "energy_differences": scale.n,
    }


# --------------------------------------------------------------------------------- the scale


def _scale(view: View, groups: list[np.ndarray], sure: bool) -> tuple[Scale | None, str]:
    """The comparison, or why there is none."""
    n, within = sum(len(g) - 1 for g in groups), True
    model, label = view.predicted, view.energy
    if n < _FEWEST:
        n, model, label = _without_composition(view)
        groups, within = [np.arange(len(label))], False
        if n < 2 * _FEWEST:
            return None, "too few frames of one composition"
    elif not sure and view.volume_varies(groups):
        if n < 8:
            return None, "the volume varies, and nobody knows the work of the strain"
        volume = view.volumes
        model, label = (_without_volume(e, volume, groups) for e in (model, label))
    x, y = centred(model, groups), centred(label, groups)
    inside = np.isfinite(x)
    if np.std(x[inside] / view.sizes[inside]) < _NARROW:
        return None, "the structures of one composition hardly differ in energy"
    wide = _width(model, groups)  # no composition's spread drowns another's
    ratio = slope(model / wide, label / wide, groups)
    if not ratio > 0:
        return None, "most labels of one composition are the same"
    off = spread(((y / ratio - x) / view.sizes)[inside])
    x, y = (x / wide)[inside], (y / wide / ratio)[inside]
    correlation = rank_correlation(x, y)
    unexplained = spread(y - x) / max(spread(y), 1e-12)
    frames = np.sort(np.concatenate(groups))
    return Scale(correlation, ratio, n, unexplained, off, frames, within, sure), ""


def _width(energy: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """(n,) the standard deviation of each frame's group."""
    wide = np.ones(len(energy))
    for g in groups:
        wide[g] = max(float(np.std(energy[g])), 1e-6)
    return wide


def _without_composition(view: View) -> tuple[int, np.ndarray, np.ndarray]:
    """Energies less what least squares on the element counts explains, and how many are free."""
    basis, sizes, _ = np.linalg.svd(view.counts, full_matrices=False)
    basis = basis[:, sizes > 1e-9 * sizes[0]]
    model, label = (e - basis @ (basis.T @ e) for e in (view.predicted, view.energy))
    return len(label) - basis.shape[1], model, label


def _without_volume(energy: np.ndarray, volume: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Energies less what a parabola in the volume explains, in each composition."""
    out = energy.astype(float)
    for g in groups:
        v = (volume[g] - volume[g].mean()) / max(float(np.ptp(volume[g])), 1e-9)
        basis = np.stack([np.ones_like(v), v, v**2], 1)
        if len(g) > 5:
            out[g] = energy[g] - basis @ np.linalg.lstsq(basis, energy[g], rcond=1e-9)[0]
    return out


# ------------------------------------------------------------------------------ what is wrong


def _constant(view: View) -> Finding | None:
    """All energies of a composition the same though the structures differ."""
    moving = [g for g in view.groups if len(g) > 2 and np.ptp(view.predicted[g]) > 1e-3]
    same = [g for g in moving if np.ptp(view.energy[g]) < 1e-9 * max(1, abs(view.energy[g][0]))]
    if not same or len(same) < 0.5 * len(moving):
        return None
    where = np.concatenate(same)
    text = f"{len(where)} different structures have the same energy as others of their composition"
    return finding("energy-constant", text, view.origins(where))


def _across(view: View) -> Finding | None:
    """Energies exchanged between compositions: sorted, they fit; as they are, they do not."""
    if len(view.groups) < 2:
        return None
    where = np.concatenate(view.groups)
    middle = np.full(len(view.energy), np.nan)
    for g in view.groups:
        middle[g] = np.median(view.predicted[g])
    energy = view.energy[where]
    # a composition's energies lie together: frames ordered by composition take them in order
    order = where[np.argsort(middle[where], kind="stable")]
    paired = np.full(len(view.energy), np.nan)
    paired[order] = np.sort(energy)
    now = sum(np.abs(view.energy[g] - np.median(view.energy[g])).sum() for g in view.groups)
    then = sum(np.abs(paired[g] - np.median(paired[g])).sum() for g in view.groups)
    mixed = sum(spread(view.energy[g] / view.sizes[g]) > 0.5 for g in view.groups)
    # in another unit in part they lie apart however they are paired
    still = any(np.ptp(paired[g] / view.sizes[g]) > _APART for g in view.groups)
    if now < 5 * then or mixed < 0.5 * len(view.groups) or still:
        return None
    text = "energies of one composition are those of others: they are exchanged among the frames"
    return finding("energies-shuffled", text, view.origins(where))


def _order(view: View, scale: Scale, sure: bool, contradicted: bool) -> Finding | None:
    """Energies that do not follow the structures, or fall where they should rise."""
    origins = view.origins(scale.frames)
    text = (
        f"rank correlation with the foundation {scale.correlation:.2f} over {scale.n} differences "
        f"{'within' if scale.within else 'across'} compositions"
    )
    if not sure and view.volume_varies(view.groups):  # nobody knows the work of the strain
        return None
    if scale.n >= 6 and scale.correlation < (-0.7 if scale.n >= 20 else -0.85):
        return finding("energy-sign", f"energies fall where they should rise: {text}", origins)
    bound = 0.35 if scale.n >= 12 else 0.2
    bound = _RELATED if contradicted else bound
    lost = scale.n >= 8 and scale.correlation < bound
    # forces that are right foretell energies to a few meV per atom
    lost |= (
        sure
        and scale.within
        and scale.left > _LOST
        and scale.unexplained > 0.7
        and scale.correlation < 0.8
    )
    if not lost:
        return None
    return finding("energies-shuffled", f"energies do not follow the structures: {text}", origins)


def _unit(view: View, scale: Scale, atoms: bool | None) -> Finding | None:
    """Another unit, or energies per atom, from the ratio of differences."""
    # after a parabola in the volume little is left, and of that a foundation knows little
    bent = scale.within and view.volume_varies(view.groups) and not scale.sure
    if scale.correlation < (_CLOSELY if bent else _RELATED) or not scale.ratio > 0:
        return None
    if bent and abs(np.log(scale.ratio)) < np.log(10):
        return None
    name, near = nearest_factor(scale.ratio, ENERGY_UNITS)
    if name == "eV" and scale.ratio > 0.33:
        return None
    size = float(np.median(view.sizes[scale.frames]))
    off = min(abs(np.log(scale.ratio / ENERGY_UNITS[name])), abs(np.log(scale.ratio * size)))
    # else a foundation that is soft or stiff here: no unit has this ratio
    if off > (_NEAR if scale.n >= _SOME else _NEARER):
        return None
    return _named(view, scale, name, near, atoms)


def _named(
    view: View,
    scale: Scale,
    name: str,
    near: list[str],
    atoms: bool | None,
) -> Finding:
    """Another unit, or per atom: by the size of the structures where it tells."""
    where = scale.frames
    size = float(np.median(view.sizes[where]))
    off = abs(np.log(scale.ratio / ENERGY_UNITS[name])), abs(np.log(scale.ratio * size))
    per_atom = off[1] < off[0]
    close = max(off) < np.log(2.2)
    if close and atoms is not None:
        per_atom = atoms
    elif close and (by_size := _by_size(view, view.groups)) is not None:
        per_atom = by_size
    text = f"energy differences are {scale.ratio:.3g} times the foundation's: "
    if per_atom:
        also = f" (or {name})" if close and atoms is None else ""
        text += f"they look like energies per atom{also}"
        return finding("energy-per-atom", text, view.origins(where))
    names = " or ".join([name, *near, *([_PER_ATOM] if close and atoms is None else [])])
    return finding("unit-energy", f"{text}they look like {names}", view.origins(where))


def _by_size(view: View, groups: list[np.ndarray]) -> bool | None:
    """Whether the ratio falls with the number of atoms, where structures differ enough in size."""
    ratios = []
    for g in groups:
        wide = spread(view.energy[g]), spread(view.predicted[g])
        if len(g) >= 4 and min(wide) > 0:
            ratios.append((np.log(view.sizes[g[0]]), np.log(wide[0] / wide[1])))
    if len(ratios) < 2:
        return None
    x, y = np.array(ratios).T
    if np.ptp(x) < np.log(1.8):
        return None
    return bool(np.polyfit(x, y, 1)[0] < -0.5)
