"""Do the energies belong to their structures, and in eV? By differences, never by their zero.

Within one composition the zero of energy drops out. What is compared are differences: of the
labels, and of the foundation model, corrected where possible by the labels' own forces
(`paths.py`), which removes most of the foundation's error.
"""

from dataclasses import dataclass, field

import numpy as np
from ase import units as u

from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.paths import Pairs, neighbours
from tunesmith.doctor.statistics import centred, clusters, nearest_factor, rank_correlation, spread
from tunesmith.doctor.view import View

#: what 1 eV reads in other units
ENERGY_UNITS = {
    "eV": 1.0,
    "Ha": 1 / u.Ha,
    "Ry": 1 / u.Ry,
    "kcal/mol": u.mol / u.kcal,
    "kJ/mol": u.mol / u.kJ,
    "meV": 1000.0,
}
_PER_ATOM = "eV per atom"
_FEWEST = 3  # differences within compositions, to say anything
_RELATED = 0.5  # rank correlation of energies that belong to their structures, at least
_NARROW = 2e-3  # eV per atom: a spread of the foundation's energies below it is its noise


@dataclass(frozen=True)
class Scale:
    """How label and foundation compare: rank correlation, ratio of spreads, differences seen."""

    correlation: float
    ratio: float
    n: int
    how: str


@dataclass(frozen=True)
class Energies:
    """The verdict. residual: (n,) label − foundation within the composition, eV, NaN elsewhere."""

    usable: bool
    residual: np.ndarray
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)


def judge_energies(view: View, forces: list[np.ndarray] | None, atoms: bool | None) -> Energies:
    """Unit, sign and order of the energies; frames of another zero or level; outliers.

    forces: the labels' in eV/Å, None where they cannot be trusted. atoms: whether isolated atoms
    fit the energies times the number of atoms (True) or as they are (False), None: unknown.
    """
    residual = centred(view.energy - view.predicted, view.groups)
    for hopeless in (_constant(view), _across(view)):
        if hopeless is not None:
            return Energies(False, residual, [hopeless])
    sound, levels = _levels(view)
    inner = [g[sound[g]] for g in view.groups]
    inner = [g for g in inner if len(g) > 1]
    scale, why = _scale(view, inner, forces)
    if scale is None:
        return Energies(False, residual, levels, {"energies": f"not judged: {why}"})
    facts: dict[str, object] = {
        "energy_correlation": round(scale.correlation, 3),
        "energy_ratio": float(f"{scale.ratio:.3g}"),
        "energy_differences": f"{scale.n}, {scale.how}",
    }
    found = _unit(view, scale, inner, atoms)
    usable = not found and scale.correlation > _RELATED
    return Energies(usable, residual, [*found, *levels], facts)


# --------------------------------------------------------------------------------- the scale


def _scale(
    view: View, groups: list[np.ndarray], forces: list[np.ndarray] | None
) -> tuple[Scale | None, str]:
    """The comparison that fits best: plain, without volume, or corrected by forces and stress."""
    n = sum(len(g) - 1 for g in groups)
    if n < _FEWEST:
        return None, "too few frames of one composition"
    x, y = centred(view.predicted, groups), centred(view.energy, groups)
    inside = np.isfinite(x)
    if spread(x[inside] / view.sizes[inside]) < _NARROW:
        return None, "the structures of one composition hardly differ in energy"
    tried = [_compare(x[inside], y[inside], n, "within composition")]
    volume = _volumes(view)
    if any(np.ptp(volume[g]) > 1e-3 * volume[g].mean() for g in groups if len(g)) and n >= 8:
        x, y = (_without_volume(e, volume, groups) for e in (view.predicted, view.energy))
        tried.append(_compare(x[inside], y[inside], n, "without the effect of volume"))
    if forces is not None:
        pairs = neighbours(view, forces)
        kept = np.isin(pairs.i, np.concatenate(groups)) & np.isin(pairs.j, np.concatenate(groups))
        tried += _of_pairs(pairs, kept)
    return max(tried, key=lambda s: abs(s.correlation)), ""


def _of_pairs(pairs: Pairs, kept: np.ndarray) -> list[Scale]:
    found = []
    for values, how in ((pairs.corrected, "forces"), (pairs.strained, "forces and stress")):
        use = kept & np.isfinite(values)
        if use.sum() > _FEWEST:
            text = f"neighbours, corrected by {how}"
            found.append(_compare(values[use], pairs.step[use], int(use.sum()), text))
    return found


def _compare(x: np.ndarray, y: np.ndarray, n: int, how: str) -> Scale:
    wide = np.median(np.abs(x - np.median(x))), np.median(np.abs(y - np.median(y)))
    ratio = wide[1] / wide[0] if wide[0] > 0 and wide[1] > 0 else np.nan
    return Scale(rank_correlation(x, y), float(ratio), n, how)


def _volumes(view: View) -> np.ndarray:
    return np.array([
        f.atoms.get_volume() if f.atoms.pbc.all() else 0.0 for f in view.frames
    ])  # fmt: skip


def _without_volume(energy: np.ndarray, volume: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Energies less what a parabola in the volume explains, in each composition."""
    out = np.full(len(energy), np.nan)
    for g in groups:
        v = (volume[g] - volume[g].mean()) / max(float(np.ptp(volume[g])), 1e-9)
        basis = np.stack([np.ones_like(v), v, v**2], 1)
        solution = np.linalg.lstsq(basis, energy[g], rcond=1e-9)[0]
        out[g] = energy[g] - basis @ solution
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
    if now < 5 * then or mixed < 0.5 * len(view.groups):
        return None
    text = "energies of one composition are those of others: they are exchanged among the frames"
    return finding("energies-shuffled", text, view.origins(where))


def _unit(view: View, scale: Scale, groups: list[np.ndarray], atoms: bool | None) -> list[Finding]:
    """From the best comparison of differences."""
    where = np.concatenate(groups)
    origins = view.origins(np.sort(where))
    sure = scale.n >= 8
    if abs(scale.correlation) < _RELATED:
        bound = 0.35 if scale.n >= 12 else 0.2
        if not np.isfinite(scale.ratio) or scale.n < 5 or abs(scale.correlation) > bound:
            return []
        text = (
            "the energies do not follow the structures (rank correlation with the foundation "
            f"{scale.correlation:.2f} over {scale.n} differences within compositions)"
        )
        return [finding("energies-shuffled", text, origins, None if sure else "warning")]
    if scale.correlation < 0:
        if abs(scale.correlation) < 0.7 and not sure:
            return []
        text = (
            f"energies fall where the foundation's rise (rank correlation {scale.correlation:.2f})"
        )
        return [finding("energy-sign", text, origins)]
    name, near = nearest_factor(scale.ratio, ENERGY_UNITS)
    if name == "eV" and scale.ratio > 0.3:
        return []
    return (
        [_named(view, scale, name, near, groups, atoms)]
        if scale.ratio < 0.3 or name != "eV"
        else []
    )


def _named(
    view: View,
    scale: Scale,
    name: str,
    near: list[str],
    groups: list[np.ndarray],
    atoms: bool | None,
) -> Finding:
    """Another unit, or per atom: by the size of the structures where it tells."""
    where = np.sort(np.concatenate(groups))
    size = float(np.median(view.sizes[where]))
    off = abs(np.log(scale.ratio / ENERGY_UNITS[name])), abs(np.log(scale.ratio * size))
    per_atom = off[1] < off[0]
    close = max(off) < np.log(2.2)
    if close and atoms is not None:
        per_atom = atoms
    elif close and (by_size := _by_size(view, groups)) is not None:
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


# ----------------------------------------------------------- frames of another zero or level


def _levels(view: View) -> tuple[np.ndarray, list[Finding]]:
    """Frames that share the zero of energy of most (a mask), and findings about the others."""
    sound = np.ones(len(view.frames), bool)
    residual = view.energy - view.predicted
    other: list[int] = []
    split = False
    for g in view.groups:
        size = view.sizes[g[0]]
        parts = clusters(residual[g], floor=max(0.25, 0.02 * size))
        rest = np.concatenate([g[p] for p in parts[1:]]) if len(parts) > 1 else np.array([], int)
        split |= any(len(p) >= max(3, 0.08 * len(g)) for p in parts[1:])
        other += rest.tolist()
    sound[other] = False
    if not other:
        return sound, _outliers(view, sound)
    where = np.sort(np.array(other))
    return sound, [_why_other(view, where, sound, split), *_outliers(view, sound)]


def _why_other(view: View, where: np.ndarray, sound: np.ndarray, split: bool) -> Finding:
    """Frames with another offset than most of their composition: a unit, a zero, a level?"""
    usual = {
        c: float(np.median(view.energy[sound & (view.compositions == c)]))
        for c in set(view.compositions[where])
        if (sound & (view.compositions == c)).any()
    }
    origins = view.origins(where)
    frames = [i for i in where if view.compositions[i] in usual]
    there = np.array([usual[view.compositions[i]] for i in frames])
    here, size = view.energy[frames], view.sizes[frames]
    off = float(np.median(np.abs(here - there)))
    many = split or len(where) >= 0.1 * len(view.frames)
    for name, factor in ENERGY_UNITS.items():
        fits = np.abs(here / factor - there) < 0.02 * np.abs(there)
        if name != "eV" and fits.mean() > 0.6:
            text = f"in {len(where)} frames the energy looks like {name}, elsewhere like eV"
            return finding("unit-energy", text, origins)
    if np.mean(np.abs(here * size - there) < 0.02 * np.abs(there)) > 0.6:
        text = f"in {len(where)} frames the energy is per atom, elsewhere total"
        return finding("energy-per-atom", text, origins)
    bound = (np.abs(here / size) < 15) & (np.abs(there / size) > 1.3 * np.abs(here / size))
    if np.mean(bound & (off > 2 * size)) > 0.6:
        text = (
            f"in {len(where)} frames the energy is like that of binding, elsewhere it is total "
            f"({off:.1f} eV apart)"
        )
        return finding("e0-mixed", text, origins)
    text = (
        f"{len(where)} frames differ from others of their composition by {off:.2f} eV more than "
        "the foundation says"
    )
    return finding("mixed-levels" if many else "outlier-energy", text, origins)


def _outliers(view: View, sound: np.ndarray) -> list[Finding]:
    """Single energies far from the foundation's, by the errors of the others."""
    groups = [g[sound[g]] for g in view.groups]
    residual = centred(view.energy - view.predicted, [g for g in groups if len(g) > 4])
    inside = np.isfinite(residual)
    if inside.sum() < 8:
        return []
    scaled = residual / np.sqrt(view.sizes)
    limit = max(8 * spread(scaled[inside]), 0.02)
    far = inside & (np.abs(scaled) > limit)
    if not far.any():
        return []
    text = (
        f"{far.sum()} energies are up to {np.abs(residual[far]).max():.2f} eV from what the others "
        "let expect"
    )
    return [finding("outlier-energy", text, view.origins(far))]
