"""One more label beside one that was asked for: of what an attack makes of the same structure.

Dynamics asks where it happens to come by. The posterior that has just asked moves the structure on
to where its expected force error is the target, and both labels are learnt in one update.

An adversary is no draw of what dynamics meets but an optimum of the spread, and its error is not
that of structures which dynamics brings to such a spread: it says nothing to the calibration, to
the statistics of errors when asked, or to whether the dynamics still needs labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from tunesmith.attack.adversary import real_error
from tunesmith.attack.reachable_target import aimed, said_of, within_reach
from tunesmith.attack.search import Attacked
from tunesmith.attack.strike import strike
from tunesmith.config import RunConfig
from tunesmith.contracts import Law, Posterior
from tunesmith.core import BY_MEMBERS, Failure, Frame
from tunesmith.errors import DataError, MissingDependencyError
from tunesmith.explore.cago import Filter
from tunesmith.loop.labels import Labels, bare
from tunesmith.loop.onthefly.onthefly_standing import AttackRecord, OnTheFlyStanding
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble


@dataclass(frozen=True)
class Beside:
    """What came of an attack. frames: labelled, to be learnt; one or none."""

    record: AttackRecord
    frames: tuple[Frame, ...] = ()


def on(config: RunConfig) -> bool:
    """Whether structures are attacked."""
    return config.attack is not None


def may_attack(config: RunConfig, at: OnTheFlyStanding) -> bool:
    """The same, where one more label may be made."""
    most = config.loop.max_labels
    return on(config) and (most is None or at.made < most)


def beside(
    config: RunConfig,
    at: OnTheFlyStanding,
    posterior: Posterior,
    start: Atoms,
    origin: str,
    labels: Labels,
    tools: Tools,
) -> Beside:
    """Attack a structure that was just labelled, and label what comes of it.

    at: with the record of that label, the last one, and the calibration that it led to. posterior:
    the one that asked, as it was. start: with the constraints that hold. A reference that fails is
    a result. Raises `MissingDependencyError` where its engine is not there.
    """
    settings = config.attack
    last, law = at.records[-1], law_of(posterior, at)
    members: Ensemble = posterior.members  # who attacks, and errs: their spread, no closed form's
    about = AttackRecord(last.walker, last.time, last.clock, settings.error, "not labelled")
    about = replace(about, calibration=said_of(law, settings.error))
    settings = aimed(settings, within_reach(settings.error, law))
    if settings.error != about.target:
        about = replace(about, aim=settings.error)
    tools.screen.busy("attacking the structure")
    try:
        with tools.watch.part("attack"), tools.interrupts.at_once():
            settings.space(start)  # in a sentence without the structure's number
            [found] = strike(members, [start], settings, law).results
    except DataError as error:
        return Beside(replace(about, why=str(error).removeprefix("structure 0: ")))
    about = _with(about, found)
    filters = Filter(min_distance=settings.min_distance)
    if (why := _not_worth_it(settings, found, members, filters)) is not None:
        return Beside(replace(about, why=why))
    atoms = _marked(found, about, origin)
    tools.screen.busy("asking the reference for the adversary")
    extra = {"walker": last.walker, "time_fs": last.time, "why": f"attack: {found.reason}"}
    with tools.interrupts.at_once():
        # a failure on record is an answer: a repeated run goes the same way
        label = labels.get(atoms, origin=f"{origin}, attacked", extra=extra, failures_count=True)
    if isinstance(label, Failure):
        if label.kind == "engine-missing":
            raise MissingDependencyError(label.reason)
        return Beside(replace(about, outcome="failed", why=f"{label.kind}: {label.reason}"))
    mean = members.predict([atoms]).mean
    about = replace(
        about,
        key=labels.key(atoms),
        error=real_error(members, atoms, label),
        mean_error=float(np.sqrt(np.mean(((mean.forces - label.forces) ** 2).sum(1)))),
    )
    if (why := filters.after(label.forces)) is not None:
        return Beside(replace(about, outcome="not learnt", why=why))
    frame = Frame(bare(atoms), label, f"{origin}, attacked")
    return Beside(replace(about, outcome="learnt"), (frame,))


def law_of(posterior: Posterior, at: OnTheFlyStanding) -> Law | None:
    """The calibration of what members' forces differ by; None: the spread is taken as it is.

    It learns from every label that dynamics asks for, also where only energies are judged; of a
    posterior that says nothing of forces it never does.
    """
    return at.calibration[BY_MEMBERS] if BY_MEMBERS in posterior.judged else None


def _with(about: AttackRecord, found: Attacked) -> AttackRecord:
    return replace(
        about,
        start_std=found.start_std,
        std=found.std,
        off=found.off,
        displacement=found.displacement,
        strain=found.strain,
        evaluations=found.evaluations,
        stopped=found.reason,
    )


def _not_worth_it(settings: Any, found: Attacked, members: Ensemble, filters: Filter) -> str | None:
    """Why no label is asked for; None where one is."""
    gained = found.std - found.start_std > settings.tolerance * settings.error
    if not gained and not settings.biased:
        return "hardly more uncertain than the structure it began at"
    mean = members.predict([found.atoms], spread="energy").mean
    return filters.before(found.atoms, mean.forces)


def _marked(found: Attacked, about: AttackRecord, origin: str) -> Atoms:
    """The adversary, with what `tunesmith attack` says of one."""
    names = {"start_std": "std_start", "largest_std": "std_largest"}
    marks = {names.get(k, k): v for k, v in found.facts().items()}
    atoms: Atoms = found.atoms
    said = {"origin": origin, "target": about.target} | marks
    atoms.info |= {f"attack_{k}": v for k, v in said.items()}
    return atoms


# ------------------------------------------------------------------- what they say together


def totals(attacks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts, and the root mean square of real errors of all that were labelled, eV/Å.

    attacks: records as the summary holds them. None where there is nothing to say.
    """

    def rms(name: str) -> float | None:
        found = [a[name] for a in attacks if a[name] is not None]
        return float(np.sqrt(np.mean(np.square(found)))) if found else None

    return {
        "attacked": len(attacks),
        "on_target": sum(a["stopped"] == "on target" for a in attacks),
        "labelled": sum(a["error"] is not None for a in attacks),
        "failed": sum(a["outcome"] == "failed" for a in attacks),
        "error": rms("error"),
        "mean_error": rms("mean_error"),
    }
