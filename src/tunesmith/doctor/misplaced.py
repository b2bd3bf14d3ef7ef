"""Forces that are unlike the foundation's: of another frame, order of atoms or orientation?"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from tunesmith.contracts import Posterior
from tunesmith.doctor.findings import Finding, finding
from tunesmith.doctor.likeness import KNOWN, UNRELATED, WELL, cosine_of, ratio_of
from tunesmith.doctor.paths import rotation
from tunesmith.doctor.view import View
from tunesmith.doctor.work import work

#: cosine of `work.work` that forces which belong to their structures always exceed
UNEXPLAINED, _HALF = 0.2, 0.5
#: of forces that no rearrangement explains
LITTLE = "have little to do with the foundation's"


def misplaced(
    view: View, labels: list[np.ndarray], where: np.ndarray, typical: float, alike: bool
) -> list[Finding]:
    """Why forces are unlike the foundation's: turned, reordered, or of another frame.

    typical: their cosine. alike: whether they are about as long as the foundation's.
    """
    chosen = np.flatnonzero(where)
    gains = {name: 0 for name in ("rotated", "reordered", "elsewhere")}
    for i in chosen:
        for name in explanations(view, labels, int(i), chosen):
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
    text = f"the forces {LITTLE} (cosine {typical:.2f})"
    # forces of other frames or atoms are as long as right ones, and explain no energies; those of
    # what the foundation knows nothing of may be of any length, and do
    own = work(view, labels, where).cosine
    unrelated = abs(typical) < UNRELATED and alike and not own > _HALF
    certain = (unrelated or own < UNEXPLAINED) and len(chosen) >= 3
    return [finding("forces-shuffled", text, origins, None if certain else "warning")]


def other_elements(view: View, posterior: Posterior, where: np.ndarray) -> Finding | None:
    """Element names in another order than positions: labels agree with each other all the same, but
    the foundation's forces fit only with the names reversed, or two of them exchanged."""
    where = where & np.array([len(_renamed(f.atoms.numbers)) > 0 for f in view.frames])
    chosen = np.flatnonzero(where)[:: max(1, int(where.sum()) // 6)][:6]
    best: list[float] = []
    for i in chosen:
        atoms = view.frames[i].atoms
        now = cosine_of(view.labels[i].forces, view.forces[i])
        fits = []
        for numbers in _renamed(atoms.numbers):
            other = atoms.copy()
            other.numbers = numbers
            forces = posterior.predict([other]).mean.forces
            fit, ratio = (f(view.labels[i].forces, forces) for f in (cosine_of, ratio_of))
            fits.append(fit if fit > now + 0.25 and abs(np.log(ratio)) < np.log(2) else 0.0)
        best.append(max(fits, default=0.0))
    if not best or np.median(best) < WELL:
        return None
    text = "forces fit the foundation's only with element names in another order than positions"
    return finding("elements-order", text, view.origins(where))


def _renamed(numbers: np.ndarray) -> list[np.ndarray]:
    """Reversed, and with each two elements exchanged."""
    kinds = sorted(set(numbers.tolist()))
    if (numbers == numbers[::-1]).all():  # of these no order but the reversed is likely
        return []
    found = [numbers[::-1].copy()]
    for k, a in enumerate(kinds):
        for b in kinds[k + 1 :]:
            found.append(np.where(numbers == a, b, np.where(numbers == b, a, numbers)))
    return found


def explanations(view: View, labels: list[np.ndarray], i: int, others: np.ndarray) -> list[str]:
    """Which rearrangements make the forces of frame i fit, though as they are they do not."""
    label, model = labels[i], view.forces[i]
    now = max(cosine_of(label, model), 0.0)
    enough = max(0.75, now + 0.25)
    found = []
    if len(label) > 4 and cosine_of(label @ rotation(label, model), model) > enough:
        found.append("rotated")
    if _reordered(label, model) > max(0.82, enough):
        found.append("reordered")
    same = [j for j in others if j != i and view.compositions[j] == view.compositions[i]]
    if any(cosine_of(label, view.forces[j]) > enough for j in same):
        found.append("elsewhere")
    return found


def _reordered(label: np.ndarray, model: np.ndarray) -> float:
    """The largest cosine over all orders of the atoms."""
    if len(label) < 4 or len(label) > 200:
        return 0.0
    rows, columns = linear_sum_assignment(-model @ label.T)
    return cosine_of(label[columns], model[rows])
