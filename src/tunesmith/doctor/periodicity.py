"""Is the cell the one the labels were computed with? By trying others.

Forces of the labels are compared with the foundation's on the structure as it is, and on the same
atoms with another cell. A cell in Bohr, or a lost periodicity, shows where the other fits better.
"""

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase import units as u
from scipy.spatial import ConvexHull, QhullError

from tunesmith.contracts import Posterior
from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.likeness import size_of
from tunesmith.doctor.structure_checks import FURTHEST, bond_ratio
from tunesmith.doctor.view import View

_TWICE = "forces fit the foundation's with a cell 1.89 times as long"
_ALONE = "forces fit the foundation's without the cell: computed alone?"
_TRIES = 4  # frames
_CUT = 1.5  # errors of outer over those of inner atoms
_PLAINLY = 1.25  # times the best: no worse than that
_NOISE = 1e-4  # eV/Å, rms: of forces that symmetry makes zero
_LONG = 1.3  # times the sum of covalent radii: the shortest bonds there are, in Bohr
_BETTER = 0.6  # of the force error: what another cell must do better than this


def judge_periodicity(view: View, posterior: Posterior) -> list[Finding]:
    """Lengths in Bohr, all or of the cell alone, and periodicity that was lost or never was."""
    found: list[Finding] = []
    gains: dict[str, float] = {}
    for code, text, change in (
        ("pbc-lost", "forces fit the foundation's with the cell made periodic", _periodic),
        ("unit-cell", "forces fit the foundation's with the cell in Å taken as Bohr", _shorter),
        ("unit-cell", _TWICE, _longer),
        ("unit-positions", "forces fit the foundation's with all lengths taken as Bohr", _smaller),
        ("pbc-wrong", _ALONE, _open),
    ):
        where = [k for k, f in enumerate(view.frames) if change(f.atoms) is not None]
        if not where or (code == "unit-positions" and len(where) < 0.9 * len(view.frames)):
            continue
        chosen = [where[int(k)] for k in np.linspace(0, len(where) - 1, min(_TRIES, len(where)))]
        gain = float(np.median([_gain(view, posterior, k, change) for k in dict.fromkeys(chosen)]))
        gains[text] = gain
        strained = any(view.labels[k].stress is not None for k in where)
        if code == "pbc-wrong" and strained:  # a stress is that of a periodic calculation
            continue
        if gain < _BETTER:
            found.append(finding(code, text, view.origins(np.array(where))))
    # in a box too small any larger one does, and so does none, also where it is the foundation that
    # is lost (compression); of right cells only one fits best
    if gains.get(_ALONE, 1.0) < _PLAINLY * gains.get(_TWICE, 1.0):
        found = [f for f in found if f.message != _TWICE]
    found = [f for f in found if gains[f.message] < _PLAINLY * min(gains.values())]
    if len(found) > 1:
        found = [f for f in found if f.code == "pbc-wrong"] or found[:1]
    if not found and (cut := _cut(view)):
        found.append(cut)
    return found


def _cut(view: View) -> Finding | None:
    """Clusters whose outer atoms have the labels of inner ones: crystals without their cell."""
    where, ratios = [], []
    for k, frame in enumerate(view.frames):
        atoms = frame.atoms
        if atoms.pbc.any() or len(atoms) < 24:
            continue
        outer = _outer(atoms.positions)
        if outer is None or not 4 <= outer.sum() <= len(atoms) - 4:
            continue
        error = np.linalg.norm(view.labels[k].forces - view.forces[k], axis=1)
        size = np.linalg.norm(view.labels[k].forces, axis=1)
        where.append(k)
        far = np.sqrt(np.mean(error[outer] ** 2)), np.sqrt(np.mean(error[~outer] ** 2))
        ratios.append(far[0] / max(far[1], 1e-6) if far[0] > 0.8 * np.sqrt(np.mean(size**2)) else 0)
    if not where or np.median(ratios) < _CUT:
        return None
    text = (
        "the foundation disagrees with the forces of the outer atoms, which it takes for a surface "
        f"({np.median(ratios):.1f} times the error of the inner ones): pieces of a crystal?"
    )
    return finding("pbc-lost", text, view.origins(np.array(where)))


def _outer(positions: np.ndarray) -> np.ndarray | None:
    """(n,) atoms within 1 Å of the convex hull; None where there is none (all in a plane)."""
    try:
        hull = ConvexHull(positions)
    except QhullError:
        return None
    depth = -(positions @ hull.equations[:, :3].T + hull.equations[:, 3]).max(1)
    return np.asarray(depth < 1.0)


def _gain(
    view: View, posterior: Posterior, k: int, change: Callable[[Atoms], Atoms | None]
) -> float:
    """Force error with the other cell over that with this one, directions only."""
    other = change(view.frames[k].atoms)
    assert other is not None
    label = view.labels[k].forces
    forces = posterior.predict([other]).mean.forces
    if not np.isfinite(forces).all() or min(size_of(label), size_of(view.forces[k])) < _NOISE:
        return 1.0
    now, then = (_off(label, f) for f in (view.forces[k], forces))
    return then / now if now > 0.15 else 1.0


def _off(label: np.ndarray, model: np.ndarray) -> float:
    """Share of the label that no multiple of the model explains."""
    norm = np.linalg.norm(label) * np.linalg.norm(model)
    cosine = float(np.sum(label * model) / norm) if norm else 0.0
    return float(np.sqrt(1 - min(1.0, cosine**2)))


def _periodic(atoms: Atoms) -> Atoms | None:
    if atoms.pbc.all() or atoms.cell.rank < 3:
        return None
    other = atoms.copy()
    other.pbc = True
    return other if _sensible(other) else None


def _open(atoms: Atoms) -> Atoms | None:
    """Of molecules in a box that images of them share; a crystal without its cell is none."""
    if not atoms.pbc.any():
        return None
    other = atoms.copy()
    other.pbc = False
    near = bond_ratio(other)
    return other if np.isfinite(near) and near < FURTHEST else None


def _smaller(atoms: Atoms) -> Atoms | None:
    """Where bonds are long enough to be in Bohr."""
    if not bond_ratio(atoms) > _LONG:
        return None
    other = atoms.copy()
    other.set_cell(atoms.cell.array * u.Bohr)
    other.positions = atoms.positions * u.Bohr
    return other


def _shorter(atoms: Atoms) -> Atoms | None:
    return _scaled(atoms, u.Bohr)


def _longer(atoms: Atoms) -> Atoms | None:
    return _scaled(atoms, 1 / u.Bohr)


def _scaled(atoms: Atoms, factor: float) -> Atoms | None:
    if not atoms.pbc.all():
        return None
    other = atoms.copy()
    other.set_cell(atoms.cell.array * factor)
    return other if _sensible(other) else None


def _sensible(atoms: Atoms) -> bool:
    """No two atoms on top of each other in the other cell, and not mostly vacuum."""
    inverse = np.linalg.inv(atoms.cell.array)
    apart = atoms.positions[:, None] - atoms.positions[None]
    apart = apart - np.round(apart @ inverse) @ atoms.cell.array
    distance = np.linalg.norm(apart, axis=-1) + 10 * np.eye(len(atoms))
    return bool(distance.min() > 0.5) and atoms.get_volume() < 400 * len(atoms)
