"""What an evaluation holds, and the numbers people read off it.

Arrays are in eV, Å and their quotients; the summary is in meV/atom, meV/Å and GPa, and its keys
say so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import GPa

from tunesmith.calibrate import scores
from tunesmith.calibrate.recalibrate import rounding
from tunesmith.units import Quantity

COVERAGE_LEVELS = (0.5, 0.9, 0.95)
N_WORST = 5
#: of the quantities whose spread is judged, as keys say it
_UNITS = {"energy": "eV", "force": "eV_per_A", "stress": "eV_per_A3"}
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


@dataclass(frozen=True)
class Compared:
    """Predicted and reference values of one quantity, and the predicted std where there is one."""

    predicted: np.ndarray
    reference: np.ndarray
    std: np.ndarray | None = None

    @property
    def error(self) -> np.ndarray:
        return self.predicted - self.reference


def centred(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (B,) less the mean of their group, and how many share each one's group (B,)."""
    _, index = np.unique(groups, return_inverse=True)
    count = np.bincount(index)
    return values - (np.bincount(index, values) / count)[index], count[index]


@dataclass(frozen=True)
class Evaluation:
    """Predictions against labels for B frames with A atoms in all.

    energy: (B,) total, eV, NaN where a frame has none. forces: (A, 3) eV/Å, NaN rows where a frame
    has none. stress: (B, 3, 3) eV/Å³, NaN rows where a frame
    has no stress to compare; None when no frame has. removed: (B,) eV taken off each predicted
    energy (its composition's mean error), None when energies are compared as they are; a frame
    alone with its composition then has a predicted energy of NaN, because nothing is left to
    compare. calibrated: whether the stds are. thresholds: errors people care about, for "energy"
    (per "structure" or "atom") and "force" (length of an atom's error vector).
    """

    origins: tuple[str, ...]
    config_types: np.ndarray
    compositions: np.ndarray
    n_atoms: np.ndarray
    numbers: np.ndarray
    energy: Compared
    forces: Compared
    stress: Compared | None = None
    removed: np.ndarray | None = None
    n_members: int | None = None
    calibrated: bool = False
    thresholds: dict[str, Quantity] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def energy_error_per_atom(self) -> np.ndarray:
        """(B,) eV/atom."""
        return self.energy.error / self.n_atoms

    @property
    def force_error_norm(self) -> np.ndarray:
        """(A,) eV/Å: length of each atom's error vector."""
        return np.linalg.norm(self.forces.error, axis=1)

    @property
    def with_forces(self) -> np.ndarray:
        """(A,) whether there are forces to compare."""
        return np.isfinite(self.forces.error).all(axis=1)

    @property
    def frame_of_atom(self) -> np.ndarray:
        """(A,) index of the frame each atom belongs to."""
        return np.repeat(np.arange(len(self.n_atoms)), self.n_atoms)

    def summary(self) -> dict[str, Any]:
        """Every number of the report, as JSON values; what cannot be said is absent, never 0.

        ``within_composition`` marks energies after each composition's mean is taken off both
        predicted and reference ones, over the compositions with two frames or more: what is left
        of errors and of R² when the constant that no dynamics feels is gone.
        """
        everything = np.ones(len(self.n_atoms), bool)
        out: dict[str, Any] = {"n_frames": len(self.n_atoms), "n_atoms": int(self.n_atoms.sum())}
        if self.n_members is not None:
            out["n_members"] = self.n_members
        out |= {"energies": "absolute" if self.removed is None else "relative"}
        out |= _energy(self, everything) | _within_composition(self) | _forces(self, everything)
        known = self.with_forces
        if known.any():
            reference = self.forces.reference[known]
            out["force_rms_reference_meV_per_A"] = 1e3 * scores.rmse(reference)
            out |= _finite("force_r2", scores.r2(self.forces.predicted[known], reference))
        out |= _stress(self)
        out["per_element"] = {
            chemical_symbols[z]: _force_errors(self, self.numbers == z)
            for z in np.unique(self.numbers[known])
        }
        out["per_config_type"] = {
            str(name): {"n_frames": int(np.sum(rows))} | _energy(self, rows) | _forces(self, rows)
            for name in np.unique(self.config_types)
            if np.any(rows := self.config_types == name)
        }
        out["worst_frames"] = _worst(self)
        if over := _over_threshold(self):
            out["over_threshold"] = over
        if with_spread(self):
            out["spread"] = _spread(self)
            out["spread_calibrated"] = self.calibrated
        if self.notes:
            out["notes"] = list(self.notes)
        return out


def _finite(key: str, value: float) -> dict[str, float]:
    return {key: value} if np.isfinite(value) else {}


def _energy(evaluation: Evaluation, frames: np.ndarray) -> dict[str, float]:
    error = 1e3 * evaluation.energy_error_per_atom[frames]
    error = error[np.isfinite(error)]
    if not error.size:
        return {}
    out = {
        "energy_rmse_meV_per_atom": scores.rmse(error),
        "energy_mae_meV_per_atom": scores.mae(error),
    }
    if evaluation.removed is None:
        return out | {"energy_mean_error_meV_per_atom": float(error.mean())}
    # the mean error is 0 by construction here; what was taken off is the number that says something
    removed = 1e3 * (evaluation.removed / evaluation.n_atoms)[frames]
    return out | {"energy_removed_mean_error_meV_per_atom": float(np.nanmean(removed))}


def _within_composition(evaluation: Evaluation) -> dict[str, float]:
    keep = np.isfinite(evaluation.energy.predicted)
    groups, n = evaluation.compositions[keep], evaluation.n_atoms[keep]
    predicted, count = centred(evaluation.energy.predicted[keep] / n, groups)
    reference, _ = centred(evaluation.energy.reference[keep] / n, groups)
    rows = count > 1
    if not rows.any():
        return {}
    error = 1e3 * (predicted - reference)[rows]
    return {
        "energy_rmse_within_composition_meV_per_atom": scores.rmse(error),
        "energy_mae_within_composition_meV_per_atom": scores.mae(error),
    } | _finite("energy_r2_within_composition", scores.r2(predicted[rows], reference[rows]))


def _force_errors(evaluation: Evaluation, atoms: np.ndarray) -> dict[str, Any]:
    atoms = atoms & evaluation.with_forces
    if not atoms.any():
        return {}
    error = 1e3 * evaluation.forces.error[atoms]
    return {
        "n_atoms": int(np.sum(atoms)),
        "force_rmse_meV_per_A": scores.rmse(error),
        "force_mae_meV_per_A": scores.mae(error),
        "max_force_error_meV_per_A": 1e3 * float(evaluation.force_error_norm[atoms].max()),
    }


def _forces(evaluation: Evaluation, frames: np.ndarray) -> dict[str, Any]:
    return _force_errors(evaluation, frames[evaluation.frame_of_atom])


def _stress(evaluation: Evaluation) -> dict[str, Any]:
    """Over the six independent components; GPa."""
    if evaluation.stress is None:
        return {}
    error = evaluation.stress.error[:, *_VOIGT] / GPa
    error = error[np.isfinite(error).all(axis=1)]
    return {
        "stress_rmse_GPa": scores.rmse(error),
        "stress_mae_GPa": scores.mae(error),
        "n_frames_stress": len(error),
    }


def _worst(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """The frames with the largest errors, worst first, by energy per atom and by force."""
    largest = np.zeros(len(evaluation.n_atoms))
    known = evaluation.with_forces
    largest[np.unique(evaluation.frame_of_atom[~known])] = np.nan
    np.maximum.at(largest, evaluation.frame_of_atom[known], evaluation.force_error_norm[known])
    ranked = {
        "force": ("max_force_error_meV_per_A", 1e3 * largest),
        "energy": ("energy_error_meV_per_atom", 1e3 * evaluation.energy_error_per_atom),
    }
    out = {}
    for name, (key, values) in ranked.items():
        size = np.where(np.isfinite(values), np.abs(values), -np.inf)
        rows = [i for i in np.argsort(-size, kind="stable")[:N_WORST] if np.isfinite(size[i])]
        out[name] = [
            {
                "index": int(i),
                "origin": evaluation.origins[i],
                "composition": str(evaluation.compositions[i]),
                key: float(values[i]),
            }
            for i in rows
        ]
    return out


# -------------------------------------------------------------------- thresholds and spread


def _judged(evaluation: Evaluation, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """|error| that a threshold is held against, and the std that should foretell it."""
    if name == "force":
        std, known = evaluation.forces.std, evaluation.with_forces
        spread = None if std is None else np.linalg.norm(std[known], axis=1)
        return evaluation.force_error_norm[known], spread
    keep = np.isfinite(evaluation.energy.predicted)
    per_atom = name in evaluation.thresholds and evaluation.thresholds[name].per == "atom"
    scale = evaluation.n_atoms[keep] if per_atom else 1.0
    std = evaluation.energy.std
    error = np.abs(evaluation.energy.error[keep]) / scale
    return error, None if std is None else std[keep] / scale


def _over_threshold(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    out = {}
    for name, threshold in evaluation.thresholds.items():
        error, _ = _judged(evaluation, name)
        if not error.size:
            continue
        unit = "eV_per_A" if name == "force" else "eV_per_atom" if threshold.per == "atom" else "eV"
        out[name] = {
            f"threshold_{unit}": threshold.value,
            "fraction_over": float(np.mean(error > threshold.value)),
        }
    return out


def _spread(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """How well the std tells the errors, per quantity.

    NLL, coverage, ECE and ENCE look at total energies (eV), force components (eV/Å) and stress
    components (eV/Å³); AUC and the rank correlation look at what a threshold is held against, or at
    stress components.
    """
    found = {}
    for name, values in with_spread(evaluation).items():
        judged: tuple[np.ndarray, np.ndarray | None]
        judged = np.abs(values.error).ravel(), np.ravel(np.asarray(values.std))
        if name != "stress":
            judged = _judged(evaluation, name)
        limit = evaluation.thresholds.get(name)
        found[name] = _spread_scores(values, _UNITS[name], limit, *judged)
    return found


def with_spread(evaluation: Evaluation) -> dict[str, Compared]:
    """Every quantity that has a spread: energies, force components and, of the frames that have a
    stress, its six components, each once."""
    found = {
        "energy": _only(evaluation.energy, np.isfinite(evaluation.energy.error)),
        "force": _only(evaluation.forces, evaluation.with_forces),
    }
    if (stress := evaluation.stress) is not None and stress.std is not None:
        known = np.isfinite(stress.error).all(axis=(1, 2))
        predicted, reference, std = (
            part[known][:, *_VOIGT] for part in (stress.predicted, stress.reference, stress.std)
        )
        found["stress"] = Compared(predicted, reference, std)
    return {
        name: values for name, values in found.items() if values.std is not None and len(values.std)
    }


def _only(values: Compared, rows: np.ndarray) -> Compared:
    std = None if values.std is None else values.std[rows]
    return Compared(values.predicted[rows], values.reference[rows], std)


def _spread_scores(
    values: Compared,
    unit: str,
    threshold: Quantity | None,
    error: np.ndarray,
    std: np.ndarray | None,
) -> dict[str, Any]:
    raw, spread = values.error, values.std
    assert spread is not None
    assert std is not None
    out: dict[str, Any] = {f"rms_std_{unit}": scores.rmse(spread)}
    if raw.ndim > 1:  # components that symmetry makes zero: members agree and are right
        held = (spread <= rounding([spread])) & (np.abs(raw) <= rounding([raw]))
        if held.any() and not held.all():
            out["n_held_by_symmetry"] = int(held.sum())
            raw, spread = raw[~held], spread[~held]
    n_zero = int(np.sum(spread == 0))
    if n_zero:
        out["n_without_spread"] = n_zero  # the density of an error under N(0, 0) is not defined
    else:
        out[f"nll_nats_in_{unit}"] = scores.gaussian_nll(raw, spread)
    out["coverage"] = {str(p): scores.coverage(raw, spread, p) for p in COVERAGE_LEVELS}
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "ece": scores.ece,
        "ence": scores.ence,
    }
    for key, measure in measures.items():
        out |= _finite(key, measure(raw, spread))
    out |= _finite("spearman", scores.spearman(std, error))
    key = "auc_roc_over_median_error" if threshold is None else "auc_roc_over_threshold"
    limit = float(np.median(error)) if threshold is None else threshold.value
    return out | _finite(key, scores.auc_roc(std, error > limit))
