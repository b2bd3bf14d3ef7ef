"""What is kept of a label that was asked for on the way, and what the records say together."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunesmith.acquire.threshold import Decision, Limits
from tunesmith.core import Label, Prediction, Quantities
from tunesmith.loop.onthefly.onthefly_standing import OnTheFlyStanding, Record


def record_of(
    key: str,
    walker: int,
    time: float,
    clock: float,
    at: OnTheFlyStanding,
    predicted: Prediction,
    untuned: Quantities,
    label: Label,
    limits: Limits,
    decision: Decision,
) -> Record:
    """The record of one label; the calibration of ``at`` is the one from before it."""
    std = predicted.std()
    assert std is not None
    raw, error = float(std.energy[0]), float(predicted.mean.energy[0]) - label.energy
    law = at.calibration["energy"]
    known = bool(np.isfinite([raw, error]).all())
    return Record(
        key=key,
        walker=walker,
        time=time,
        clock=clock,
        why=decision.reason,
        predicted=float(predicted.mean.energy[0]),
        labelled=label.energy,
        untuned=float(untuned.energy[0]),
        raw_std=raw if known else None,
        std=float(law.std(raw)) if known else None,
        probability=decision.probability,
        tail=float(law.exceedance(raw, abs(error))) if known else None,
        threshold=limits.energy,
        force_rmse=_rms(predicted.mean.forces - label.forces),
        untuned_force_rmse=_rms(untuned.forces - label.forces),
        by=decision.by,
        force_ratio=_ratio(predicted.mean.forces - label.forces, limits),
        untuned_force_ratio=_ratio(untuned.forces - label.forces, limits),
    )


def _ratio(off: np.ndarray, limits: Limits) -> float | None:
    """The largest error of an atom's force, in units of what is allowed there."""
    if limits.forces is None:
        return None
    ratio = float((np.linalg.norm(off, axis=1) / limits.forces).max())
    return ratio if np.isfinite(ratio) else None


def statistics(records: Sequence[Record], probability: float) -> dict[str, Any]:
    """What the interventions say of the run's accuracy; None where there is nothing to say.

    RMSE over the interventions, each model's mean error removed; and as they are (``_raw``). Over
    a threshold of forces is a structure with any atom whose force error is.
    """
    known = [r for r in records if r.tail is not None]
    tuned = np.array([r.error for r in known])
    untuned = np.array([r.untuned - r.labelled for r in known])
    tails = [r.tail for r in known if r.tail is not None]
    judged = [r for r in known if r.threshold is not None]
    forces = [r.force_ratio for r in records if r.force_ratio is not None]
    untaught = [r.untuned_force_ratio for r in records if r.untuned_force_ratio is not None]
    over = sum(abs(r.error) > r.threshold for r in judged if r.threshold is not None)

    def rmse(errors: np.ndarray, *, centred: bool) -> float | None:
        if len(errors) < 1 + centred:  # a single error less its own mean says nothing
            return None
        return 1e3 * _rms(errors - errors.mean() if centred else errors)

    return {
        "interventions": len(records),
        "interventions_over_threshold": over if judged else None,
        "interventions_by": dict(Counter(r.by for r in records)),
        "interventions_over_force_threshold": sum(x > 1 for x in forces) if forces else None,
        "untuned_over_force_threshold": sum(x > 1 for x in untaught) if forces else None,
        "probability": probability,
        "rmse_tuned_meV": rmse(tuned, centred=True),
        "rmse_untuned_meV": rmse(untuned, centred=True),
        "rmse_tuned_raw_meV": rmse(tuned, centred=False),
        "rmse_untuned_raw_meV": rmse(untuned, centred=False),
        "force_rmse_tuned_meV_per_A": _over([r.force_rmse for r in known]),
        "force_rmse_untuned_meV_per_A": _over([r.untuned_force_rmse for r in known]),
        "coverage_95": float(np.mean(np.array(tails) >= 0.05)) if tails else None,
    }


def _over(rms: list[float]) -> float | None:
    return 1e3 * _rms(np.array(rms)) if rms else None


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
