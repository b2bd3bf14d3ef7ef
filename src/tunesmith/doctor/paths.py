"""Energy differences of neighbouring structures, from forces along the way between them.

For two frames of the same atoms, E_j − E_i ≈ −½ (F_i + F_j)·ΔR + ½ V (σ_i + σ_j):ε, the
trapezoidal rule: exact to third order in the displacement. Applied to the *difference* of label
and foundation, which is smooth, it corrects the foundation's own energy difference.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from tunesmith.doctor.view import View


@dataclass(frozen=True)
class Pairs:
    """Neighbours i, j (p,); step: label's energy difference; plain: the foundation's; corrected:
    with the labels' forces; strained: with forces and stress (NaN without stress). eV."""

    i: np.ndarray
    j: np.ndarray
    step: np.ndarray
    plain: np.ndarray
    corrected: np.ndarray
    strained: np.ndarray


def neighbours(view: View, forces: list[np.ndarray]) -> Pairs:
    """Every frame and its nearest of the same atoms in the same order.

    forces: the labels', in eV/Å (units already corrected where they were wrong).
    """
    rows = []
    by_atoms: dict[bytes, list[int]] = {}
    for k, frame in enumerate(view.frames):
        kind = frame.atoms.numbers.tobytes() + frame.atoms.pbc.tobytes()
        by_atoms.setdefault(kind, []).append(k)
    for members in by_atoms.values():
        for i, j in _nearest([view.frames[k].atoms for k in members]):
            rows.append(_row(view, forces, members[i], members[j]))
    columns = np.array(rows, float).reshape(-1, 6).T
    return Pairs(columns[0].astype(int), columns[1].astype(int), *columns[2:])


def _nearest(atoms: list[Atoms]) -> list[tuple[int, int]]:
    """Every structure and the one nearest to it, by the distances between atoms."""
    if len(atoms) < 2:
        return []
    n = len(atoms[0])
    # a fixed choice of pairs of atoms: no rotation matters, and no distance matrix grows too large
    a, b = np.triu_indices(n, 1)
    kept = np.linspace(0, len(a) - 1, min(len(a), 600)).astype(int)
    x = np.array([_distances(s, a[kept], b[kept]) for s in atoms])
    apart = ((x[:, None] - x[None]) ** 2).sum(-1) if len(x) <= 60 else _squared(x)
    np.fill_diagonal(apart, np.inf)
    return [(i, int(j)) for i, j in enumerate(apart.argmin(1))]


def _squared(x: np.ndarray) -> np.ndarray:
    square = (x**2).sum(1)
    return np.asarray(square[:, None] + square[None] - 2 * x @ x.T)


def _distances(atoms: Atoms, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    apart = atoms.positions[b] - atoms.positions[a]
    if atoms.pbc.any():
        cell = atoms.cell.complete().array
        turns = np.round(apart @ np.linalg.inv(cell)) * atoms.pbc
        apart = apart - turns @ cell
    return np.asarray(np.linalg.norm(apart, axis=1))


def _row(view: View, forces: list[np.ndarray], i: int, j: int) -> tuple[float, ...]:
    one, other = view.frames[i].atoms, view.frames[j].atoms
    off = [forces[k] - view.forces[k] for k in (i, j)]
    step = view.energy[j] - view.energy[i]
    plain = view.predicted[j] - view.predicted[i]
    strained = np.nan
    if one.pbc.any():
        moved, strain, volume = _crystal(one, other)
        corrected = plain - 0.5 * float(np.sum((off[0] + off[1]) * moved))
        stress = [view.labels[k].stress for k in (i, j)]
        if stress[0] is not None and stress[1] is not None:
            mean = 0.5 * (stress[0] + stress[1] - view.stress[i] - view.stress[j])
            strained = corrected + volume * float(np.sum(mean * strain))
    else:
        moved, turn = _molecule(one, other)
        corrected = plain - 0.5 * float(np.sum((off[0] + off[1] @ turn) * moved))
    return i, j, step, plain, corrected, strained


def _crystal(one: Atoms, other: Atoms) -> tuple[np.ndarray, np.ndarray, float]:
    """Displacements (n, 3) at fixed strain, the strain (3, 3), the mean volume."""
    cells = one.cell.complete().array, other.cell.complete().array
    shift = other.positions @ np.linalg.inv(cells[1]) - one.positions @ np.linalg.inv(cells[0])
    shift -= np.round(shift) * one.pbc
    shift -= shift.mean(0)
    growth = np.linalg.solve(cells[0], cells[1]) - np.eye(3)
    strain = 0.5 * (growth + growth.T)
    volume = 0.5 * (abs(np.linalg.det(cells[0])) + abs(np.linalg.det(cells[1])))
    return shift @ (0.5 * (cells[0] + cells[1])), strain, float(volume)


def _molecule(one: Atoms, other: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Displacements (n, 3) after turning the other onto the one, and that rotation (3, 3)."""
    x = one.positions - one.positions.mean(0)
    y = other.positions - other.positions.mean(0)
    turn = rotation(y, x)
    return y @ turn - x, turn


def rotation(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The rotation R that makes ``moving @ R`` nearest to ``fixed`` (Kabsch)."""
    u, _, vt = np.linalg.svd(moving.T @ fixed)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ vt)
