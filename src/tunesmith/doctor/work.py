"""The labels against themselves: is the work of their forces the difference of their energies?

No foundation plays a part, so nothing of what it does not know (stretched bonds, compression,
strange chemistry) can spoil the answer. Labels that agree have the right sign, order and
orientation and are of one system of units; only a unit of both together is left to doubt.
"""

from typing import Literal, NamedTuple

import numpy as np

from tunesmith.doctor.paths import FAR, crystal_step, edges, molecule_step, same_atoms
from tunesmith.doctor.view import View

_PAIRS = 20  # of near structures, below which chance alone may make work and energies agree
#: the same, of pairs that agree as only right labels do
FEW_PAIRS = 6
_STRAIN = 1e-4  # of two cells: below it no work of a stress counts
#: of `Work`: what chance does not reach in a few pairs; of one system of units
_AGREED, _MOST, _ONE = 0.95, 0.75, (0.55, 1.3)


Part = Literal["forces", "forces of strained", "stress"]


class Work(NamedTuple):
    """The labels' energy differences against the work of their forces, over pairs of structures.

    cosine: about 0.6 to 1 for labels of one calculation (1 but for anharmonicity), about 0 for
    forces of other frames, other atoms or another orientation. ratio: energy over work, 0.7 to 1.15
    in one system of units where the cosine is over 0.9. share: of the pairs, those whose ratio is
    that one to a factor of 1.5; ratio and share are of the nearer half of the pairs, where the rule
    is best. All NaN where there are too few pairs.
    """

    cosine: float
    ratio: float
    share: float


def work(
    view: View,
    forces: list[np.ndarray],
    among: np.ndarray | None = None,
    *,
    part: Part = "forces",
    least: int = _PAIRS,
) -> Work:
    """How well the forces foretell the labels' own energies: no foundation plays a part.

    E_j − E_i is held against −½ (F_i + F_j)·ΔR over pairs of near structures of equal cells, or,
    of those whose cells differ, against that and the work of the stress ½ V (σ_i + σ_j):ε: part
    says which of the two is judged, the other being taken as right. among: (n,) mask; only pairs
    that hold one of these frames. least: pairs below which nothing is said.
    """
    found: list[tuple[float, float, float]] = []
    for group in same_atoms(view):
        for i, j in group[edges([view.frames[k].atoms for k in group])].tolist():
            if among is not None and not (among[i] or among[j]):
                continue
            if (one := _done(view, forces, part != "forces", i, j)) is not None:
                far, by_forces, by_stress = one
                rise = float(view.energy[j] - view.energy[i])
                if part == "stress":
                    found.append((far, by_stress, rise - by_forces))
                else:
                    found.append((far, by_forces, rise - by_stress))
    away, x, y = np.array(found, float).reshape(-1, 3).T
    size = np.linalg.norm(x) * np.linalg.norm(y)
    if len(x) < least or size == 0:
        return Work(np.nan, np.nan, np.nan)
    cosine = float(x @ y / size)
    moving = np.flatnonzero(x)  # pairs without work have no ratio
    nearer = moving[np.argsort(away[moving])][: max(FEW_PAIRS, len(moving) // 2)]
    x, y = x[nearer], y[nearer]
    order, weight = np.argsort(y / x), np.abs(x) / np.abs(x).sum()
    middle = np.searchsorted(np.cumsum(weight[order]), 0.5)  # the median, each by its work
    ratio = float((y / x)[order][min(middle, len(x) - 1)])
    telling = np.abs(x) > 0.1 * np.median(np.abs(x))
    like = (y / x / ratio)[telling] if ratio else np.zeros(1)
    return Work(cosine, ratio, float(np.mean((like > 1 / 1.5) & (like < 1.5))))


def agree(own: Work) -> bool:
    """Whether energies and forces are of the same calculations, and of one system of units."""
    one = _ONE[0] < own.ratio < _ONE[1]
    # a few far pairs over walls and barriers spoil the cosine, and nothing else
    return bool(one and (own.cosine > _AGREED or (own.cosine > 0.3 and own.share > _MOST)))


def confirmed(view: View, forces: list[np.ndarray], where: np.ndarray) -> bool:
    """Whether the energies of some frames (n,) are the work of their forces, in cells as they are
    or strained, from other frames."""
    parts: tuple[Part, ...] = ("forces", "forces of strained")
    return any(agree(work(view, forces, where, part=part, least=4)) for part in parts)


def _done(
    view: View, forces: list[np.ndarray], strained: bool, i: int, j: int
) -> tuple[float, float, float] | None:
    """How far frame j is from frame i (Å, rms; of strains without unit), and the work of forces and
    of stress between them in eV; None where they are too far apart to tell.

    strained: only frames of different cells, else only others.
    """
    one, other = view.frames[i].atoms, view.frames[j].atoms
    by_stress, strain, turn = 0.0, np.zeros((3, 3)), np.eye(3)
    if one.pbc.any():
        moved, strain, volume = crystal_step(one, other)
        if (np.abs(strain).max() > _STRAIN) != strained:
            return None
        if strained:
            tensors = [view.labels[k].stress for k in (i, j)]
            if tensors[0] is None or tensors[1] is None:
                return None
            by_stress = 0.5 * volume * float(np.sum((tensors[0] + tensors[1]) * strain))
    elif strained:
        return None
    else:
        moved, turn = molecule_step(one, other)
    far = float(np.sqrt(np.mean(np.sum(moved**2, axis=1))))
    if far > FAR:
        return None
    by_forces = -0.5 * float(np.sum((forces[i] + forces[j] @ turn) * moved))
    return (float(np.abs(strain).max()) if strained else far), by_forces, by_stress
