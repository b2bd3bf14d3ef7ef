"""Frames whose energies have another zero than those of their composition, and outliers."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.statistics import centred, clusters, least_absolute, spread
from tunesmith.doctor.view import View
from tunesmith.words import counted

_GROSS = 3.0  # eV per atom, which no foundation is off by within one composition
_NEAR = 2.0  # eV, between energies of one composition
_SOFT = 0.35  # of the foundation's own energy difference: what its error may be


def judge_levels(
    view: View, units: Mapping[str, float], sure: bool
) -> tuple[np.ndarray, list[Finding]]:
    """Frames that share the zero of energy of most (a mask), and findings about the others.

    units: what 1 eV reads in each. sure: whether the foundation's energies are
    corrected for strain.
    """
    sound = np.ones(len(view.frames), bool)
    residual = view.energy - view.predicted if sure else _residual(view)
    other: list[int] = []
    split = False
    for g in view.groups:
        size = view.sizes[g[0]]
        # few values lie close together by chance
        floor = max(0.25, 0.02 * size) if len(g) >= 8 else max(1.0, 0.1 * size)
        if not sure and view.volume_varies([g]):  # the foundation's lattice constant is another
            floor = max(floor, 0.3 * size, min(0.6 * size, 5.0))
        parts = clusters(residual[g], floor) if len(g) > 2 else [np.arange(len(g))]
        if len(parts) == 1 and len(g) > 2:  # a parabola in the volume bends to gross differences
            parts = clusters((view.energy - view.predicted)[g], max(floor, 2.0 * size))
        rest = np.concatenate([g[p] for p in parts[1:]]) if len(parts) > 1 else np.array([], int)
        split |= any(len(p) >= max(3, 0.08 * len(g)) for p in parts[1:])
        # high up in energy a foundation that is a little soft is off by much, and rightly
        own = np.abs(view.predicted[rest] - np.median(view.predicted[g]))
        off = np.abs(residual[rest] - np.median(residual[g]))
        other += rest[off > _SOFT * own].tolist()
    sound[other] = False
    if not other:
        return sound, _outliers(view, residual, sound, sure)
    where = np.sort(np.array(other))
    found = _why_other(view, where, sound, split, units)
    off = np.abs(residual[where]) / view.sizes[where]
    if not sure and view.volume_varies(view.groups) and np.median(off) < _GROSS:
        # nobody knows the work of the strain: a foundation that is off under pressure looks so
        found = replace(found, severity="warning")
    return sound, [found, *_outliers(view, residual, sound, sure)]


def _why_other(
    view: View, where: np.ndarray, sound: np.ndarray, split: bool, units: Mapping[str, float]
) -> Finding:
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
    many = split or len(where) >= max(3, 0.1 * len(view.frames))
    scaled = {name: here / factor for name, factor in units.items() if name != "eV"}
    scaled["eV per atom"] = here * size
    size_of = np.maximum(np.abs(there), 1e-9)
    misfit = {name: np.abs(values - there) / size_of for name, values in scaled.items()}
    best = min(misfit, key=lambda name: float(np.median(misfit[name])))
    if np.mean(misfit[best] < 0.02) > 0.6:
        text = f"in {counted(len(where), 'frame')} the energy looks like {best}, elsewhere like eV"
        return finding("energy-per-atom" if "atom" in best else "unit-energy", text, origins)
    if many and np.mean(_of_another(view, np.array(frames), here, there)) > 0.8:
        text = f"in {counted(len(where), 'frame')} the energy is that of another composition"
        return finding("energies-shuffled", text, origins)
    bound = (np.abs(here / size) < 15) & (np.abs(there / size) > 1.3 * np.abs(here / size))
    if many and np.mean(bound & (off > 2 * size)) > 0.6:
        text = (
            f"in {counted(len(where), 'frame')} the energy is like that of binding, elsewhere it "
            f"is total ({off:.1f} eV apart)"
        )
        return finding("e0-mixed", text, origins)
    text = (
        f"{counted(len(where), 'frame')} differ from others of their composition by {off:.2f} eV "
        "more than the foundation says"
    )
    return finding("mixed-levels" if many else "outlier-energy", text, origins)


def _of_another(view: View, frames: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Whether each energy lies with those of another composition, and far from its own's."""
    levels = {
        c: float(np.median(view.energy[view.compositions == c])) for c in set(view.compositions)
    }
    found = []
    for i, energy, off in zip(frames, here, np.abs(here - there), strict=True):
        gaps = [abs(energy - x) for c, x in levels.items() if c != view.compositions[i]]
        found.append(min(gaps, default=np.inf) < min(0.02 * off, _NEAR))
    return np.array(found)


def _outliers(view: View, residual: np.ndarray, sound: np.ndarray, sure: bool) -> list[Finding]:
    """Single energies far from the foundation's, by the errors of the others."""
    groups = [g[sound[g]] for g in view.groups if sure or not view.volume_varies([g])]
    residual = centred(residual, [g for g in groups if len(g) > 4])
    inside = np.isfinite(residual)
    if inside.sum() < 8:
        return []
    scaled = residual / np.sqrt(view.sizes)
    limit = max(10 * spread(scaled[inside]), 0.04)
    own = np.nan_to_num(np.abs(centred(view.predicted, groups)))
    far = inside & (np.abs(scaled) > limit) & (np.abs(residual) > _SOFT * own)
    if not far.any():
        return []
    text = (
        f"{far.sum()} energies are up to {np.abs(residual[far]).max():.2f} eV from what the others "
        "let expect"
    )
    return [finding("outlier-energy", text, view.origins(far))]


def _residual(view: View) -> np.ndarray:
    """(n,) label − foundation, eV, less a parabola in the volume (least absolute deviations).

    A foundation with another lattice constant is off by more, the more the volume differs.
    """
    residual = view.energy - view.predicted
    for g in view.groups:
        if len(g) < 8 or not view.volume_varies([g]):
            continue
        v = view.volumes[g] / view.volumes[g].mean() - 1
        basis = np.stack([np.ones_like(v), v / np.ptp(v), (v / np.ptp(v)) ** 2], 1)
        residual[g] = least_absolute(basis, residual[g], 1e-4)
    return residual
