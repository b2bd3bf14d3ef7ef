"""The foundation's energies of one composition, corrected by the labels' own forces and stress.

For two frames of the same atoms E_j − E_i ≈ −½ (F_i + F_j)·ΔR + V ½ (σ_i + σ_j):ε, the trapezoidal
rule, exact to third order in the displacement. Applied to the *difference* of label and foundation,
which is smooth, it gives what the foundation's own energy difference should have been. All such
differences and the foundation's energies together, each with the error it is likely to have, are
solved for one energy per frame. Labels' energies play no part in it: they are what is judged.
"""

from dataclasses import replace

import numpy as np
from ase import Atoms

from tunesmith.doctor.view import View

_NEIGHBOURS = 3
_MODEL_ERROR = 8e-3  # eV per atom, of a foundation's energies within one composition
FAR = 0.4  # Å, rms displacement of an atom where the trapezoidal rule says nothing any more


def corrected(view: View, forces: list[np.ndarray], stress: bool) -> View:
    """The view with energies of the foundation corrected within each composition.

    forces: the labels', eV/Å, right units and sign. stress: whether the labels' can be trusted.
    """
    energy = view.predicted.copy()
    for group in same_atoms(view):
        energy[group] = _solve(view, forces, stress, group)
    return replace(view, predicted=energy)


def same_atoms(view: View) -> list[np.ndarray]:
    """Indices of frames with the same elements in the same order, of each such kind with two."""
    kinds: dict[bytes, list[int]] = {}
    for k, frame in enumerate(view.frames):
        kind = frame.atoms.numbers.tobytes() + frame.atoms.pbc.tobytes()
        kinds.setdefault(kind, []).append(k)
    return [np.array(group) for group in kinds.values() if len(group) > 1]


def matched(view: View) -> bool:
    """Whether atoms of one composition correspond by their numbers: elements alone do not tell."""
    for g in view.groups:
        first = view.frames[g[0]].atoms
        apart = []
        for k in g[1:]:
            other = view.frames[k].atoms
            step = crystal_step(first, other) if first.pbc.any() else molecule_step(first, other)
            apart.append(np.sqrt(np.mean(np.sum(step[0] ** 2, axis=1))))
        if np.median(apart) > FAR:
            return False
    return True


def _solve(view: View, forces: list[np.ndarray], stress: bool, group: np.ndarray) -> np.ndarray:
    """Weighted least squares for the energies of frames of the same atoms: (k,) eV."""
    own = view.predicted[group]
    weight = np.full(len(group), 1 / (_MODEL_ERROR * len(view.frames[group[0]].atoms)) ** 2)
    matrix, right = np.diag(weight), weight * (own - own.mean())
    for a, b in edges([view.frames[k].atoms for k in group]):
        step, error = _step(view, forces, stress, int(group[a]), int(group[b]))
        w = 1 / error**2
        matrix[[a, b], [a, b]] += w
        matrix[[a, b], [b, a]] -= w
        right[a] -= w * step
        right[b] += w * step
    return np.asarray(np.linalg.solve(matrix, right) + own.mean())


def edges(atoms: list[Atoms]) -> list[tuple[int, int]]:
    """Each structure with its nearest others, and with the one in the middle of them all."""
    n = len(atoms[0])
    # distances between a fixed choice of atoms: no rotation matters, and they stay few
    a, b = np.triu_indices(n, 1)
    kept = np.linspace(0, len(a) - 1, min(len(a), 600)).astype(int)
    x = np.array([_distances(s, a[kept], b[kept]) for s in atoms])
    x -= x.mean(0)
    square = (x**2).sum(1)
    apart = square[:, None] + square[None] - 2 * x @ x.T
    np.fill_diagonal(apart, np.inf)
    found = {(i, int(j)) for i, row in enumerate(apart) for j in np.argsort(row)[:_NEIGHBOURS]}
    middle = int(np.argmin(square))
    found |= {(middle, i) for i in range(len(atoms))}
    return sorted({(min(e), max(e)) for e in found if e[0] != e[1]})


def _distances(atoms: Atoms, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    apart = atoms.positions[b] - atoms.positions[a]
    if atoms.pbc.any():
        cell = atoms.cell.complete().array
        apart = apart - (np.round(apart @ np.linalg.inv(cell)) * atoms.pbc) @ cell
    return np.asarray(np.linalg.norm(apart, axis=1))


def _step(
    view: View, forces: list[np.ndarray], stress: bool, i: int, j: int
) -> tuple[float, float]:
    """E_j − E_i in eV, and the error it may have."""
    one, other = view.frames[i].atoms, view.frames[j].atoms
    off = [forces[k] - view.forces[k] for k in (i, j)]
    step = float(view.predicted[j] - view.predicted[i])
    unknown = 0.0
    if one.pbc.any():
        moved, strain, volume = crystal_step(one, other)
        labels = [view.labels[k].stress for k in (i, j)]
        if stress and labels[0] is not None and labels[1] is not None:
            mean = 0.5 * (labels[0] + labels[1] - view.stress[i] - view.stress[j])
            step += volume * float(np.sum(mean * strain))
        else:  # no one knows the work of the strain
            unknown = volume * float(np.abs(strain).max()) * 0.3
    else:
        moved, turn = molecule_step(one, other)
        off[1] = off[1] @ turn
    step -= 0.5 * float(np.sum((off[0] + off[1]) * moved))
    length = float(np.linalg.norm(moved))
    rough = float(np.sqrt(np.mean(off[0] ** 2 + off[1] ** 2)))
    far = length / np.sqrt(len(one)) / FAR
    return step, rough * length * max(far**2, 0.02) + unknown + 1e-3


def crystal_step(one: Atoms, other: Atoms) -> tuple[np.ndarray, np.ndarray, float]:
    """Displacements (n, 3) at fixed strain, the strain (3, 3), the mean volume."""
    cells = one.cell.complete().array, other.cell.complete().array
    shift = other.positions @ np.linalg.inv(cells[1]) - one.positions @ np.linalg.inv(cells[0])
    shift -= np.round(shift) * one.pbc
    shift -= shift.mean(0)
    growth = np.linalg.solve(cells[0], cells[1]) - np.eye(3)
    strain = 0.5 * (growth + growth.T)
    volume = 0.5 * (abs(np.linalg.det(cells[0])) + abs(np.linalg.det(cells[1])))
    return shift @ (0.5 * (cells[0] + cells[1])), strain, float(volume)


def molecule_step(one: Atoms, other: Atoms) -> tuple[np.ndarray, np.ndarray]:
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
