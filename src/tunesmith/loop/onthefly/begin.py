"""How a run begins: the first labels, the energy alignment, the first posterior."""

from dataclasses import replace
from typing import Any

from ase import Atoms

from tunesmith.commands.training_data import align
from tunesmith.core import BY_MEMBERS, E0s, Failure, Frame, Members
from tunesmith.errors import DataError, LabellingError
from tunesmith.loop.labels import Labels
from tunesmith.loop.onthefly.learning import updated
from tunesmith.loop.onthefly.onthefly_prepare import DynamicsPrepared
from tunesmith.loop.onthefly.onthefly_standing import OnTheFlyStanding
from tunesmith.loop.tools import Tools


def first_labels(run: DynamicsPrepared, labels: Labels, tools: Tools) -> tuple[str, ...]:
    """Keys of the labels a run starts from, all of them in the store by then.

    Those of the initial data; and, of every composition that is not among them, the label of the
    first start structure. Raises `LabellingError` where the reference cannot label it.
    """
    keys = list(labels.imported(run.initial))
    known = {_composition(frame.atoms) for frame in run.initial}
    for number, atoms in enumerate(run.starts):
        if _composition(atoms) in known:
            continue
        known.add(_composition(atoms))
        keys.append(_label_start(run, labels, tools, number, atoms))
    return tuple(keys)


def _label_start(
    run: DynamicsPrepared, labels: Labels, tools: Tools, number: int, atoms: Atoms
) -> str:
    tools.screen.busy("labelling the start structure")
    with tools.interrupts.at_once():
        label = labels.get(atoms, origin=f"start structure {number}", failures_count=False)
    if isinstance(label, Failure):
        raise LabellingError(
            f"start structure {number} ({atoms.get_chemical_formula()}) cannot be labelled "
            f"({label.kind}: {label.reason}); correct it or the reference."
        )
    if run.config.explore.needs_stress and label.stress is None:
        raise DataError(
            f"explore: {run.config.explore.kind} as it is set needs a stress, but the reference "
            f"{run.config.reference.kind} gives none; use another reference or ensemble."
        )
    return labels.key(atoms)


def _composition(atoms: Atoms) -> str:
    return str(atoms.get_chemical_formula("hill"))


def alignment(run: DynamicsPrepared, frames: list[Frame]) -> E0s:
    """The run's isolated-atom energies. Raises `DataError` where they leave a structure open."""
    e0s = align(run.config.tune.e0, run.foundation, frames, run.isolated)
    for atoms in run.starts:
        if not e0s.fixes(atoms.numbers):
            raise DataError(
                f"the labels do not fix the total energy of {atoms.get_chemical_formula()} "
                f"({e0s.reason}); set tune.e0 to reestimate, or add isolated atoms of its elements."
            )
    return e0s


def untaught(run: DynamicsPrepared, e0s: E0s) -> Members:
    """The members before their first update."""
    members: Members = run.config.tune.sampler.start(replace(run.problem, e0s=e0s))
    return members


def first_standing(
    run: DynamicsPrepared, keys: tuple[str, ...], frames: list[Frame], e0s: E0s, tools: Tools
) -> OnTheFlyStanding:
    """Where a run stands before its first step: the members know the first labels."""
    law: Any = run.config.calibrate
    at = OnTheFlyStanding(
        explorer=run.state,
        good=(run.state, run.state),
        members=untaught(run, e0s),
        calibration=dict.fromkeys(("energy", "forces", BY_MEMBERS), law),
        keys=keys,
    )
    tools.screen.busy("the first posterior")
    return updated(run.config, run.problem, at, frames, tools)
