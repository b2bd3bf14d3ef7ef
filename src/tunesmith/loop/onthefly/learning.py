"""What a label changes: the calibration, how long is sampled, the members."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from tunesmith import units
from tunesmith.acquire.threshold import Decision, Limits
from tunesmith.calibrate.recalibrate import rounding
from tunesmith.config import RunConfig
from tunesmith.contracts import Posterior
from tunesmith.core import BY_MEMBERS, Frame, Label, Prediction
from tunesmith.engines.processes import unbroken
from tunesmith.loop.onthefly.onthefly_standing import OnTheFlyStanding
from tunesmith.loop.onthefly.records import record_of
from tunesmith.loop.onthefly.thinning import thinned
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.tune.problem import Problem


@dataclass(frozen=True)
class Asked:
    """One structure that was labelled on the way: where, when, why, and the answer.

    time: of the walker, and clock: of all walkers, at that structure, fs.
    """

    key: str
    walker: int
    time: float
    clock: float
    atoms: Atoms
    label: Label
    limits: Limits
    decision: Decision
    origin: str


def noted(
    config: RunConfig,
    at: OnTheFlyStanding,
    asked: Asked,
    posterior: Posterior,
    foundation: Posterior,
    tools: Tools,
) -> OnTheFlyStanding:
    """Where a run stands once one more label is known, and before it is learnt.

    posterior: the one that asked; its error *as it is* goes into the record and the calibration.
    foundation: the untuned model, to compare with.
    """
    before = posterior.predict([asked.atoms], spread="all")
    untuned = foundation.predict([asked.atoms]).mean
    record = record_of(
        asked.key,
        asked.walker,
        asked.time,
        asked.clock,
        at,
        before,
        untuned,
        asked.label,
        asked.limits,
        asked.decision,
    )
    at = replace(
        at,
        calibration=_calibrated(at.calibration, before, asked.label),
        records=(*at.records, record),
        labelled_at=at.clock,
        failures=0,
        owed=False,
    )
    return _answer_lock_out(config, at, asked.limits, tools)


def updated(
    config: RunConfig, problem: Problem, at: OnTheFlyStanding, frames: list[Frame], tools: Tools
) -> OnTheFlyStanding:
    """With members sampled further on all labels, or on as many as ``tune.keep`` allows.

    Raises `TrainingError` when a chain diverges, `TunesmithError` when a process of it is ended.
    """
    learnt = frames
    if (keep := config.tune.keep) is not None:
        learnt = thinned(frames, keep, Ensemble.of(problem.potential, at.members))
    with unbroken(), tools.watch.part("update"), tools.interrupts.at_once():
        members = config.tune.sampler.update(
            at.members,
            replace(problem, train=learnt, e0s=at.members.e0s),
            number=at.updates,
            executor=tools.executor,
            longer=at.longer,
        )
        closed = config.tune.spread.fitted(problem.potential, members, frames)
    members = replace(members, closed=closed)
    return replace(at, members=members, updates=at.updates + 1)


def resolved_loss(config: RunConfig) -> Any:
    """The likelihood, σ_E a tenth of the energy target where it is not given."""
    loss, target = config.tune.loss, config.target
    if loss.energy is not None or target.energy is None:
        return loss
    tenth = 0.1 * units.parse(target.energy, "energy").value
    return loss.model_copy(update={"energy": f"{tenth!r} eV"})


def _calibrated(calibration: dict[str, Any], raw: Prediction, label: Label) -> dict[str, Any]:
    """With one record more of each quantity whose prediction is a number."""
    std = raw.std()
    assert std is not None
    off = raw.mean.forces - label.forces
    errors = {
        "energy": (std.energy, raw.mean.energy - label.energy),
        "forces": (std.forces, off),
        BY_MEMBERS: _by_members(raw, std.forces, off),
    }
    return {
        name: law.update(*errors[name]) if _is_record(*errors[name]) else law
        for name, law in calibration.items()
    }


def _by_members(raw: Prediction, whole: np.ndarray, off: np.ndarray) -> tuple[Any, Any]:
    """What members' force components differ by, and the errors, where that is more than rounding:
    a lone atom has no forces, and a symmetric one none that differ."""
    if raw.var_model is None:
        return np.empty(0), np.empty(0)
    own = np.sqrt(raw.var_model.forces)
    says = ~(own <= rounding([whole]))  # what is no number makes no record
    return own[says], off[says]


def _is_record(std: np.ndarray, error: np.ndarray) -> bool:
    return bool(std.size and np.isfinite(std).all() and np.isfinite(error).all())


def _answer_lock_out(
    config: RunConfig, at: OnTheFlyStanding, limits: Limits, tools: Tools
) -> OnTheFlyStanding:
    """Longer sampling from now on where even σ_E as error bar would ask for a label."""
    loop, floor = config.loop.lock_out, resolved_loss(config).scale.energy
    if limits.energy is None or not at.calibration["energy"].locked_out(
        floor, limits.energy, limits.probability
    ):
        return replace(at, longer=1.0, locked=0)
    if at.longer >= loop.most:
        return replace(at, locked=at.locked + 1)
    longer = min(at.longer * loop.longer, loop.most)
    tools.screen.say(
        f"errors are larger than any error bar explains: sampling {longer:g} times longer from now "
        "on. If that goes on, allow larger errors (target), or more steps (tune.sampler.steps)."
    )
    return replace(at, longer=longer)
