"""A committee's attack on structures, put together: law, attackers, objective, search.

Whoever attacks, the command, on-the-fly learning or rounds, does it by this; what differs is where
the structures come from, and what is done with those that are reached.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from tunesmith.attack.adversary import PerStructure, attackers, member_forces
from tunesmith.attack.attack_settings import Attack
from tunesmith.attack.search import Attacked, attack
from tunesmith.calibrate.few_members import followed
from tunesmith.contracts import Law, Posterior
from tunesmith.posterior.ensemble import Ensemble


@dataclass(frozen=True)
class Struck:
    """What came of every structure, and how many members attacked it."""

    results: list[Attacked]
    members: list[int]


def strike(
    posterior: Posterior,
    structures: Sequence[Atoms],
    settings: Attack,
    law: Law | None,
    drawn: Sequence[Sequence[int]] | None = None,
    *,
    forces: Sequence[np.ndarray] | None = None,
    ended: Callable[[int, Attacked], None] = lambda number, found: None,
) -> Struck:
    """Move structures, with their constraints, to the error that ``settings`` ask for.

    law: the calibration of what members' forces differ by, which the attack follows as far as so
    few members can tell (`followed`); None: their spread is taken as it is. drawn: for every
    structure the numbers of the members that attack it where its error is to grow (`attackers`);
    None: all. forces: as of `member_forces`, where they are known. ended: called as each structure
    is done. Raises `DataError`, naming the structure by its number, where an attack cannot start.
    """
    members: Ensemble = posterior.members
    law = followed(law, len(members))
    every: list[tuple[int, ...]] = [tuple(range(len(members)))] * len(structures)
    if drawn is not None:
        if forces is None:
            forces = member_forces(members, structures)
        every = attackers(forces, law, settings.error, drawn)
    adversaries = PerStructure(members, settings.objective(law), every, settings.batch)
    results = attack(structures, settings, adversaries.evaluate, ended)
    return Struck(results, adversaries.members)
