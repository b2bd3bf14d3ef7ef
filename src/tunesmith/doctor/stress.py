"""Is the stress in eV/Å³, with ASE's sign and order? Held against the foundation model.

Compared are the deviations from the mean over frames of one composition, without their trace: a
foundation with another lattice constant has another pressure, but its shear follows the atoms.
"""

from itertools import permutations

import numpy as np
from ase import units as u

from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.statistics import nearest_factor, spread
from tunesmith.doctor.view import View
from tunesmith.doctor.work import Work, agree

#: what 1 eV/Å³ reads in other units
STRESS_UNITS = {
    "eV/Å³": 1.0,
    "GPa": 1 / u.GPa,
    "kbar": 10 / u.GPa,
    "bar": 1e4 / u.GPa,
    "Pa": 1e9 / u.GPa,
    "Ha/Bohr³": u.Bohr**3 / u.Ha,
    "eV/Bohr³": u.Bohr**3,
    "Ry/Bohr³": u.Bohr**3 / u.Ry,
}
_KNOWN = 0.6
#: correlation with the foundation from which on sign and unit are claimed; of the work of the
#: stress with the energies, and share of its pairs; how far a ratio may be from a unit's (its log)
_SURE, _PLAIN, _MOST, _NEAR = 0.75, 0.9, 0.6, float(np.log(2.0))
#: correlation in another order, where strains vary and where not; how much ratios of one unit may
#: differ (logarithms)
_ORDERED, _SURELY, _TIGHT = 0.8, 0.97, 0.7
_BY_MODEL = ("the foundation's", "the foundation's")
_BY_WORK = ("what the energies ask for", "what the energies ask for")
#: of Voigt's six in ASE's order, (row, column)
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_NAMES = ("yz", "xz", "xy")


def judge_stress(
    view: View, own: Work, known: bool | None
) -> tuple[list[Finding], dict[str, object]]:
    """Unit, sign and order of the shear components.

    own: how well the stress foretells the labels' own energies. known: whether the foundation knows
    the forces of these; None: there are none to tell.
    """
    has = np.array([label.stress is not None for label in view.labels])
    if not has.any():
        return [], {}
    if np.isfinite(own.cosine):
        facts: dict[str, object] = {"stress_work_cosine": round(own.cosine, 3)}
        if agree(own):
            return [], facts
        if abs(own.cosine) > _PLAIN and own.share > _MOST:
            return _sign_and_unit(
                view, np.flatnonzero(has), own.cosine, 1 / own.ratio, _BY_WORK
            ), facts
    if known is False or (known is None and not np.isfinite(own.cosine)):
        return [], {"stress": "not judged: the foundation knows too little of these"}
    return _by_foundation(view)


def _by_foundation(view: View) -> tuple[list[Finding], dict[str, object]]:
    labels = [label.stress for label in view.labels]
    has = np.array([
        s is not None and bool(np.isfinite(m).all())
        for s, m in zip(labels, view.stress, strict=True)
    ])  # fmt: skip
    if not has.any():
        return [], {}
    groups = [g[has[g]] for g in view.groups]
    groups = [g for g in groups if len(g) >= 2]
    n = sum(len(g) - 1 for g in groups)
    where = np.concatenate(groups) if groups else np.array([], int)
    if 5 * n < 10:
        return [], {"stress": "not judged: too few frames of one composition"}
    x = np.concatenate([_deviations([view.stress[i] for i in g]) for g in groups])
    y = np.concatenate([_deviations([labels[i] for i in g]) for g in groups])
    if np.abs(x).max() < 1e-5:
        return [], {"stress": "not judged: the structures are hardly strained"}
    origins = view.origins(np.sort(where))
    order, as_it_is, best = _order(x[:, 3:], y[:, 3:])
    if (
        order != (0, 1, 2)
        and best > (_ORDERED if _varied(x) else _SURELY)
        and best > abs(as_it_is) + 0.25
    ):
        text = (
            f"the shear components fit the foundation's as {' '.join(_NAMES[k] for k in order)}, "
            f"not as yz xz xy (correlation {best:.2f} against {as_it_is:.2f})"
        )
        found = [finding("stress-voigt", text, origins)]
        y = np.concatenate([y[:, :3], y[:, 3:][:, np.argsort(order)]], 1)
    else:
        found = []
    correlation, ratio = _correlation(x, y), float(np.linalg.norm(y) / np.linalg.norm(x))
    facts: dict[str, object] = {
        "stress_correlation": round(correlation, 3),
        "stress_ratio": float(f"{ratio:.3g}"),
    }
    if abs(correlation) < _KNOWN:
        if abs(correlation) < 0.3 and n >= 4:
            text = f"the stress does not follow the structures (correlation {correlation:.2f})"
            found.append(finding("stress-unrelated", text, origins))
        return found, facts
    # one strained frame of a foundation that is lost there makes no unit of all
    each = np.log(np.linalg.norm(y, axis=1) / np.maximum(np.linalg.norm(x, axis=1), 1e-9))
    if abs(correlation) < _SURE or not spread(each) < _TIGHT:
        return found, facts
    return found + _sign_and_unit(view, np.sort(where), correlation, ratio, _BY_MODEL), facts


def _sign_and_unit(
    view: View, where: np.ndarray, correlation: float, ratio: float, by: tuple[str, str]
) -> list[Finding]:
    """by: whose sign it should have, and what it is a multiple of."""
    found = []
    if correlation < 0:
        text = f"the stress has the opposite sign of {by[0]} (correlation {correlation:.2f})"
        found.append(finding("stress-sign", text, view.origins(where)))
    volume = float(np.median([view.frames[i].atoms.get_volume() for i in where]))
    known = {**STRESS_UNITS, "a virial (eV)": volume}
    name, near = nearest_factor(abs(ratio), known)
    off = abs(np.log(abs(ratio) / known[name]))
    # a factor below ten (eV/Bohr³) may be that of a foundation that is stiff under pressure
    doubtful = abs(np.log(abs(ratio))) < np.log(10) and abs(correlation) < 0.95
    if off > _NEAR or (doubtful and by is _BY_MODEL and name != "eV/Å³"):
        return found if by is _BY_WORK else []
    if name != "eV/Å³":
        text = f"the stress is {abs(ratio):.3g} times {by[1]}: it looks like "
        text += " or ".join([name, *near])
        found.append(finding("unit-stress", text, view.origins(where)))
    return found


def _varied(x: np.ndarray) -> bool:
    """Whether shear components vary independently: multiples of one strain fit in any order."""
    sizes = np.linalg.svd(x[:, 3:], compute_uv=False)
    return bool(len(sizes) > 1 and sizes[1] > 0.2 * sizes[0])


def _deviations(stress: list[np.ndarray]) -> np.ndarray:
    """(k, 6) in Voigt's order: traceless, less their mean."""
    array = np.array([[s[a, b] for a, b in _VOIGT] for s in stress], float)
    array[:, :3] -= array[:, :3].mean(1, keepdims=True)
    return array - array.mean(0)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    norm = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.sum(x * y) / norm) if norm else 0.0


def _order(x: np.ndarray, y: np.ndarray) -> tuple[tuple[int, ...], float, float]:
    """In which order the label's shear columns fit the foundation's best, and both correlations.

    The order says what stands in each of the label's columns: (2, 0, 1) is VASP's xy yz zx.
    """
    now = _correlation(x, y)
    best = now
    order: tuple[int, ...] = (0, 1, 2)
    for perm in permutations(range(3)):
        value = _correlation(x[:, list(perm)], y)
        if abs(value) > abs(best):
            best, order = value, perm
    return order, now, best
