"""Hold a posterior's predictions against labels."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np

from tunesmith.contracts import Law, Posterior
from tunesmith.core import Frame, Quantities
from tunesmith.errors import ConfigError, DataError, ModelError
from tunesmith.report.evaluation import Compared, Evaluation, centred
from tunesmith.units import Quantity

__all__ = ["Compared", "Evaluation", "evaluate"]


def evaluate(
    posterior: Posterior,
    frames: list[Frame],
    *,
    thresholds: Mapping[str, float | Quantity] | None = None,
    relative_energies: bool = False,
    partial: bool = False,
    batch_size: int = 8,
) -> Evaluation:
    """Predict every labelled frame and compare.

    thresholds: error limits for "energy" (eV; per structure unless the `Quantity` says per atom)
    and "force" (eV/Å, length of an atom's error vector): how often they are exceeded, and how
    well the spread foretells it; without them AUC takes the median error as the limit.
    relative_energies: compare energies after removing each composition's mean error; frames alone
    with their composition then have no energy to compare. A posterior with ``e0s`` that leave a
    composition's energy open is refused (`DataError`) without it; the spread of one that has a
    ``calibration`` is judged as calibrated by it. partial: a label whose energy or whose forces are
    all NaN has none, and what is there is compared; else it is refused.

    Raises `DataError` for frames without a usable label, `ModelError` naming the frame for
    predictions that are not finite, `ConfigError` for thresholds that make no sense.
    """
    limits = _thresholds(thresholds or {})
    if batch_size < 1:
        raise ConfigError(f"batch_size: {batch_size} is too small; use 1 or more.")
    _require_labels(frames, partial)
    compositions = np.array([f.atoms.get_chemical_formula("hill") for f in frames])
    with_energy = np.array([bool(f.label and np.isfinite(f.label.energy)) for f in frames])
    there = {"energy": with_energy.any(), "force": any(_has_forces(f) for f in frames)}
    asked = [f"thresholds.{name}" for name in limits if not there[name]]
    asked += ["relative energies"] if relative_energies and not there["energy"] else []
    if asked:
        raise ConfigError(f"{asked[0]}: no frame has a label to compare with it; leave it out.")
    if not relative_energies and with_energy.any():
        rows = np.flatnonzero(with_energy)
        _require_fixed(posterior, [frames[i] for i in rows], compositions[rows])
    wanted = [_has_stress(frame) for frame in frames]
    laws = posterior.calibration
    means, stds, n_members = _predict(posterior, frames, wanted, batch_size)
    stds = [_calibrated(std, laws) for std in stds]
    labels = [f.label for f in frames if f.label is not None]
    reference = np.array([label.energy for label in labels])
    predicted = np.where(with_energy, np.concatenate([m.energy for m in means]), np.nan)
    forces = np.concatenate([label.forces for label in labels])
    judged = posterior.judged if stds else ()
    energy_std = np.concatenate([s.energy for s in stds]) if "energy" in judged else None
    # where the others are calibrated a raw spread would be taken for an error bar
    honest = not laws or "stress" in laws
    stress = _stress(frames, means, stds if honest and "stress" in judged else [], wanted)
    notes, removed = _not_there(frames), None
    if any(wanted) and stress is None:
        notes.append("Stress is not compared: the model predicts none.")
    if stress is not None and "stress" in judged and not honest:
        notes.append("The spread of stress has no calibration and is not judged.")
    if relative_energies:
        predicted, removed = _remove_mean_error(predicted, reference, compositions)
        notes.append(
            f"Energies are relative: each composition's mean error was removed, and "
            f"{int(np.isfinite(predicted).sum())} of {len(frames)} frames share their composition "
            "and are compared."
        )
        if energy_std is not None:
            # a spread of absolute energies says nothing of errors whose offset was taken off
            energy_std = None
            notes.append("The energy spread is of absolute energies and is not judged here.")
    return Evaluation(
        origins=tuple(f.origin for f in frames),
        config_types=np.array([f.config_type for f in frames]),
        compositions=compositions,
        n_atoms=np.array([len(f.atoms) for f in frames]),
        numbers=np.concatenate([f.atoms.numbers for f in frames]),
        energy=Compared(predicted, reference, energy_std),
        forces=Compared(
            np.where(np.isfinite(forces), np.concatenate([m.forces for m in means]), np.nan),
            forces,
            np.concatenate([s.forces for s in stds]) if "forces" in judged else None,
        ),
        stress=stress,
        removed=removed,
        n_members=n_members,
        calibrated=bool(laws),
        thresholds=limits,
        notes=tuple(notes),
    )


def _calibrated(std: Quantities, laws: Mapping[str, Law]) -> Quantities:
    """With the posterior's own calibration, of the quantities that have one."""
    raw = {f.name: getattr(std, f.name) for f in fields(std)}
    known = {k: v for k, v in raw.items() if v is not None and k in laws}
    return replace(std, **{name: laws[name].std(value) for name, value in known.items()})


def _has_stress(frame: Frame) -> bool:
    """Whether there is a stress to compare: labelled, and periodic in three directions."""
    return (
        frame.label is not None and frame.label.stress is not None and bool(frame.atoms.pbc.all())
    )


def _predict(
    posterior: Posterior, frames: list[Frame], wanted: list[bool], batch_size: int
) -> tuple[list[Quantities], list[Quantities], int | None]:
    """Means and stds per batch (no stds where there is no spread), and the number of members."""
    means, stds, n_members = [], [], None
    for start in range(0, len(frames), batch_size):
        batch = frames[start : start + batch_size]
        stress = any(wanted[start : start + batch_size])
        prediction = posterior.predict([f.atoms for f in batch], stress=stress)
        std = prediction.std()
        _require_finite(batch, prediction.mean, std, posterior.judged)
        means.append(prediction.mean)
        stds += [] if std is None else [std]
        n_members = None if prediction.members is None else len(prediction.members)
    return means, stds, n_members


def _thresholds(given: Mapping[str, float | Quantity]) -> dict[str, Quantity]:
    limits = {}
    for name, value in given.items():
        if name not in ("energy", "force"):
            raise ConfigError(f"thresholds: there is no {name!r}; use 'energy' or 'force'.")
        limit = value if isinstance(value, Quantity) else Quantity(float(value))
        if not (np.isfinite(limit.value) and limit.value > 0):
            raise ConfigError(f"thresholds.{name}: {limit.value} must be a positive number.")
        limits[name] = limit
    return limits


def _has_forces(frame: Frame) -> bool:
    return frame.label is not None and not np.isnan(frame.label.forces).all()


def _not_there(frames: list[Frame]) -> list[str]:
    """How many frames lack what others are compared by."""
    lacking = {
        "energy": sum(bool(f.label and np.isnan(f.label.energy)) for f in frames),
        "forces": sum(not _has_forces(f) for f in frames),
    }
    return [
        f"Without {what}, and compared by what they have: {n} of {len(frames)} frames."
        for what, n in lacking.items()
        if n
    ]


def _require_labels(frames: list[Frame], partial: bool) -> None:
    if not frames:
        raise DataError("There is no frame to evaluate; give at least one labelled structure.")
    for frame in frames:
        if frame.label is None:
            raise DataError(f"{frame.origin} has no label; label it first or leave it out.")
        if np.shape(frame.label.forces) != (len(frame.atoms), 3):
            raise DataError(
                f"{frame.origin} has forces of shape {np.shape(frame.label.forces)} for "
                f"{len(frame.atoms)} atoms; give one row of three per atom."
            )
        stress = 0.0 if frame.label.stress is None else frame.label.stress
        finite = [
            bool(np.isfinite(np.asarray(v, float)).all())
            for v in (frame.label.energy, frame.label.forces, stress)
        ]
        absent = [np.isnan(frame.label.energy), np.isnan(frame.label.forces).all(), False]
        allowed = absent if partial and absent[0] != absent[1] else [False] * 3
        if not all(ok or gone for ok, gone in zip(finite, allowed, strict=True)):
            raise DataError(
                f"{frame.origin} has a label that is not finite; label it again or leave it out."
            )


def _require_fixed(posterior: Posterior, frames: list[Frame], compositions: np.ndarray) -> None:
    e0s = posterior.e0s
    if e0s is None:
        return
    names, first = np.unique(compositions, return_index=True)
    loose = [i for i in sorted(first) if not e0s.fixes(frames[i].atoms.numbers)]
    if loose:
        shown = ", ".join(compositions[loose[:3]]) + (", …" if len(loose) > 3 else "")
        raise DataError(
            f"{frames[loose[0]].origin}: the labels this model was tuned on do not fix the total "
            f"energy of {shown} ({len(loose)} of {len(names)} compositions); add one labelled "
            "structure of that composition or isolated atoms to the training data, or compare "
            "energies within each composition only (--relative; relative_energies=True in Python)."
        )


def _require_finite(
    frames: list[Frame], mean: Quantities, std: Quantities | None, judged: Sequence[str]
) -> None:
    n_atoms = [len(f.atoms) for f in frames]
    if len(mean.energy) != len(frames) or len(mean.forces) != sum(n_atoms):
        raise ModelError("The model predicts for another number of structures or atoms than asked.")
    owner = np.repeat(np.arange(len(frames)), n_atoms)
    everything = ("energy", "forces", "stress")
    for what, values, names in (("", mean, everything), (" spread", std, judged)):
        if values is None:
            continue
        bad = np.zeros(len(frames), bool)
        if "energy" in names:
            bad |= ~np.isfinite(values.energy)
        if "forces" in names:
            bad[owner[~np.isfinite(values.forces).all(axis=1)]] = True
        # NaN is the convention for structures without a volume
        if "stress" in names and values.stress is not None:
            periodic = np.array([f.atoms.pbc.all() for f in frames])
            bad |= periodic & ~np.isfinite(values.stress).all(axis=(1, 2))
        if bad.any():
            raise ModelError(
                f"The model's{what} prediction for {frames[int(np.argmax(bad))].origin} is not "
                "finite; look for overlapping atoms in that structure, or for a training that "
                "diverged."
            )


def _remove_mean_error(
    predicted: np.ndarray, reference: np.ndarray, compositions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted energies less their composition's mean error (NaN for a frame alone), and that."""
    error, count = np.full(len(predicted), np.nan), np.zeros(len(predicted), int)
    there = np.isfinite(predicted)
    error[there], count[there] = centred((predicted - reference)[there], compositions[there])
    if not np.any(count > 1):
        raise DataError(
            "Relative energies need two frames of one composition, and here every composition "
            "occurs once; give more frames or compare absolute energies."
        )
    removed = predicted - reference - error
    return np.where(count > 1, predicted - removed, np.nan), removed


def _stress(
    frames: list[Frame], means: list[Quantities], stds: list[Quantities], wanted: list[bool]
) -> Compared | None:
    """(B, 3, 3) with NaN rows where a frame has no stress to compare; None where none has."""

    def joined(parts: list[Quantities]) -> np.ndarray:
        none = [np.full((len(q.energy), 3, 3), np.nan) for q in parts]
        found = np.concatenate(
            [n if q.stress is None else q.stress for q, n in zip(parts, none, strict=True)]
        )
        found[~np.array(wanted)] = np.nan
        return found

    predicted = joined(means)
    if not np.isfinite(predicted).any():
        return None
    missing = np.full((3, 3), np.nan)
    stresses = [f.label.stress if f.label is not None else None for f in frames]
    reference = np.array([missing if s is None else np.asarray(s) for s in stresses])
    return Compared(predicted, reference, joined(stds) if stds else None)
