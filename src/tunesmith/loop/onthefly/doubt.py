"""Labels that are hardly right: errors the calibration holds impossible, forces that are not the
energy's gradient. Such a label is asked for once more before it is believed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from tunesmith.contracts import Posterior
from tunesmith.core import Failure, Frame, Label, Prediction
from tunesmith.loop.onthefly.onthefly_prepare import convergence
from tunesmith.loop.onthefly.running import Running

#: Å that any atom may have moved since a label that this one is compared with
_NEAR = 0.1
_LAST = 5  # labels that are looked at
#: of Σ|F||Δr|, the part that the trapezoidal rule may miss beyond what the model misses too
_MISSED = 0.25
#: eV; and eV per atom and eV/Å, by which two calls of a reference of unknown noise may differ
_FLOOR, _PER_ATOM, _FORCES = 5e-3, 1e-4, 0.02


def believed(
    course: Running, atoms: Atoms, prediction: Prediction, label: Label, origin: str
) -> Label | Failure:
    """The label, asked for once more where it is hardly right; a failure where it is not."""
    if not (least := course.config.loop.doubt):
        return label
    noise = convergence(course.labels.identity)
    chance = probability(course.at.calibration, prediction, label)
    gap = gradient_gap(course.frames, atoms, label, course.posterior, noise or 0.0)
    if chance >= least and gap is None:
        return label
    off = 1e3 * (label.energy - float(prediction.mean.energy[0]))
    why = gap or f"{off:+.0f} meV from what was predicted, an error of probability {chance:.0e}"
    key = course.labels.key(atoms)
    if not course.labels.asked_again(key):
        second = course.labels.ask(atoms)
        if isinstance(second, Failure):
            wrong: str | None = f"a second call failed ({second.kind}: {second.reason})"
        else:
            wrong = differ(label, second, noise)
        if wrong is not None:
            return course.labels.reject(key, Failure("not-reproducible", f"{why}; {wrong}"))
        course.labels.confirm(key, why)
    if gap is not None:
        return course.labels.reject(key, Failure("inconsistent", gap))
    course.tools.screen.say(f"{origin}: {why}; asked once more, the reference says the same")
    return label


def probability(calibration: Mapping[str, Any], prediction: Prediction, label: Label) -> float:
    """Of an error as large as the label's, by the calibration from before it was known.

    The least of that of the energy and that of any force component, times their number.
    """
    std = prediction.std()
    assert std is not None
    off = {
        "energy": (std.energy, prediction.mean.energy - label.energy),
        "forces": (std.forces, prediction.mean.forces - label.forces),
    }
    found = [1.0]
    for name, (spread, error) in off.items():
        says = np.isfinite(spread) & (spread > 0) & np.isfinite(error)
        if says.any():
            tails = calibration[name].exceedance(spread[says], np.abs(error[says]))
            found.append(float(np.min(tails)) * tails.size)
    return min(found)


def gradient_gap(
    frames: Sequence[Frame], atoms: Atoms, label: Label, posterior: Posterior, noise: float
) -> str | None:
    """What is wrong between a label's forces and its energy, by a label nearby; None: nothing.

    E₂ − E₁ is −½ (F₁ + F₂)·Δr but for the third order of Δr, of which the model knows most: its
    own difference is taken away where that helps. frames: labelled before. noise: of the reference,
    eV.
    """
    near = [f for f in frames[-_LAST:] if _moved(f.atoms, atoms) is not None]
    if not near:
        return None
    last = near[-1]
    assert last.label is not None
    step = atoms.positions - last.atoms.positions
    if not step.any():
        return None
    mean = [posterior.predict([a]).mean for a in (last.atoms, atoms)]
    rise = label.energy - last.label.energy
    work = _work(last.label.forces, label.forces, step)
    by_model = float(mean[1].energy[0] - mean[0].energy[0])
    missed = by_model - _work(mean[0].forces, mean[1].forces, step)
    gap = min(abs(rise - work), abs(rise - work - missed))  # a model may know nothing yet
    forces = [np.linalg.norm(f, axis=1) for f in (last.label.forces, label.forces)]
    size = float(np.minimum(*forces) @ np.linalg.norm(step, axis=1))
    if gap <= _FLOOR + 10 * noise + _MISSED * size:
        return None
    return (
        f"since {last.origin} its energy has risen by {1e3 * rise:.1f} meV, but by its forces by "
        f"{1e3 * work:.1f} meV"
    )


def differ(a: Label, b: Label, noise: float | None) -> str | None:
    """By what two calls for one structure differ, beyond the reference's noise; None: by nothing.

    noise: eV to which its energies are converged; None: not known.
    """
    energy, forces = abs(a.energy - b.energy), float(np.abs(a.forces - b.forces).max())
    allowed = _FLOOR + _PER_ATOM * len(a.forces) if noise is None else _FLOOR + 10 * noise
    if energy <= allowed and forces <= _FORCES:
        return None
    return f"two calls differ by {1e3 * energy:.1f} meV and {1e3 * forces:.1f} meV/Å"


def _work(first: np.ndarray, second: np.ndarray, step: np.ndarray) -> float:
    return -0.5 * float(((first + second) * step).sum())


def _moved(a: Atoms, b: Atoms) -> float | None:
    """How far the atom that moved most did, Å; None for other atoms, another cell, or too far."""
    same = len(a) == len(b) and (a.numbers == b.numbers).all() and (a.cell == b.cell).all()
    if not same:
        return None
    far = float(np.linalg.norm(a.positions - b.positions, axis=1).max())
    return far if far <= _NEAR else None
