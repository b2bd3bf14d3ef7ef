"""After an explosion: learn from the structure if it can be labelled, and go back to a good one."""

from dataclasses import replace

import numpy as np

from tunesmith.core import Failure
from tunesmith.errors import TunesmithError
from tunesmith.explore.explosion import ExplosionError
from tunesmith.loop.onthefly.running import Running


def recover(course: Running, explosion: ExplosionError) -> None:
    """Raises `TunesmithError` after ``loop.max_explosions`` in a row."""
    at, settings = course.at, course.config.loop
    if at.explosions + 1 > settings.max_explosions:
        raise TunesmithError(
            f"walker {explosion.walker}: {explosion.reason}, and that was explosion "
            f"{at.explosions + 1} in a row; a shorter explore.timestep, a lower temperature or "
            "a tighter target may help."
        )
    learnt = "not labelled"
    if settings.max_labels is None or at.made < settings.max_labels:
        learnt = _learn_from(course, explosion)
    at = course.at
    course.at = replace(
        at,
        explorer=course.explorer.restart(at.explorer, explosion.walker, at.good[0]),
        since_good=0,
        explosions=at.explosions + 1,
        exploded=at.exploded + 1,
    )
    back = course.explorer.time_of(course.at.explorer.walkers[explosion.walker])
    course.tools.screen.say(
        f"walker {explosion.walker}: {explosion.reason}; {learnt}; back to {back:.0f} fs with "
        "new velocities"
    )
    course.save()


def _learn_from(course: Running, explosion: ExplosionError) -> str:
    """What came of it, in words."""
    atoms, walker = explosion.atoms, explosion.walker
    if not np.isfinite(atoms.positions).all():
        return "no structure to label"
    prediction = course.posterior.predict([atoms], spread="all")
    if not np.isfinite(prediction.mean.energy).all():
        return "no prediction to learn from"
    acquire, at = course.config.acquire, course.at
    limits = acquire.limits(course.config.target, atoms, len(at.records))
    decision = acquire.decide(limits, prediction, at.calibration)
    decision = replace(decision, label=True, reason=f"explosion: {explosion.reason}")
    origin = f"walker {walker}, explosion {at.exploded + 1}"
    with course.tools.interrupts.at_once():
        outcome = course.labels.get(
            atoms, origin=origin, extra={"why": decision.reason}, failures_count=True
        )
    if isinstance(outcome, Failure):
        return f"the reference cannot label it ({outcome.kind})"
    # what breaks the dynamics is far enough from what is known: it is not attacked
    course.learn(course.asked(walker, atoms, outcome, limits, decision, origin), attacked=False)
    return "labelled and learnt"
