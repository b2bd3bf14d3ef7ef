"""Replicas of molecular dynamics: whether they stay in the world of structures, and where they go.

By the same explorer, integrators and explosions as the on-the-fly loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from tunesmith.check.stability import Stability
from tunesmith.check.trajectory import Trajectory
from tunesmith.errors import DataError
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.md import MD
from tunesmith.explore.start_checks import check_start
from tunesmith.explore.state import Answer, DynamicsState, Walker

#: (structure without constraints or calculator) → what drives the step
Ask = Callable[[Atoms], Answer]
#: called after every step
Seen = Callable[[], None]


@dataclass(frozen=True)
class Replica:
    """One trajectory and how it ended.

    wrong: which criterion it broke, as a clause; None: stable. time: fs until then, or to the end.
    trajectory: samples at equal intervals from the start on. temperatures: (T,) K, of the samples.
    """

    wrong: str | None
    time: float
    trajectory: Trajectory
    temperatures: np.ndarray

    @property
    def stable(self) -> bool:
        return self.wrong is None


def begin(md: MD, stability: Stability, atoms: Atoms, seed: int) -> tuple[Walker, ...]:
    """The start of ``md.walkers`` replicas of one structure, each with its own generator.

    Raises `DataError` for a structure that cannot be run or that is broken from the start.
    """
    check_start(atoms, md.ensemble, md.dt, md.limits)
    if (wrong := stability.what_is_wrong(atoms, _volume(atoms))) is not None:
        raise DataError(f"already at the start {wrong}; mend it, or change min_distance.")
    return md.init([atoms], seed).walkers


def run_replica(
    md: MD, stability: Stability, walker: Walker, ask: Ask, seen: Seen | None = None
) -> Replica:
    """Simulate ``md.time`` from one of `begin`'s walkers, or until a criterion is broken.

    md: from `Stability.dynamics`; the limits of any other one end a replica too. Whatever ``ask``
    raises passes through.
    """
    volume = _volume(walker.atoms())
    samples, temperatures, wrong = [walker], [md.temperature_of(walker)], None
    state = DynamicsState((walker,))
    try:
        for _ in range(md.total_steps):
            state = md.step(state, lambda _, atoms: ask(atoms))
            walker = state.walkers[0]
            if seen is not None:
                seen()
            if walker.steps % stability.every == 0 or walker.steps == md.total_steps:
                wrong = stability.what_is_wrong(walker.atoms(), volume)
            if wrong is not None:
                break
            if walker.steps % md.write_steps == 0:
                samples.append(walker)
                temperatures.append(md.temperature_of(walker))
    except ExplosionError as error:
        wrong = error.reason
    return Replica(wrong, md.time_of(walker), _trajectory(md, samples), np.array(temperatures))


def simulate(
    md: MD, stability: Stability, atoms: Atoms, ask: Ask, seed: int, seen: Seen | None = None
) -> tuple[Replica, ...]:
    """All replicas, one after another: one that breaks a criterion ends, the others go on."""
    walkers = begin(md, stability, atoms, seed)
    return tuple(run_replica(md, stability, walker, ask, seen) for walker in walkers)


def _volume(atoms: Atoms) -> float:
    """Å³; 0 where there is no density."""
    return float(atoms.cell.volume) if atoms.pbc.all() else 0.0


def _trajectory(md: MD, samples: list[Walker]) -> Trajectory:
    # no integrator folds positions back into the cell
    first = samples[0]
    return Trajectory(
        first.numbers,
        first.masses,
        first.pbc,
        np.array([w.positions for w in samples]),
        np.array([w.cell for w in samples]),
        md.write_steps * md.dt,
    )


def of_calculator(calculator: Calculator, *, stress: bool) -> Ask:
    """Driven by an ASE calculator; stress: whether the ensemble needs one (`MD.needs_stress`)."""

    def ask(atoms: Atoms) -> Answer:
        atoms = atoms.copy()
        atoms.calc = calculator
        tensor = atoms.get_stress(voigt=False) if stress else None
        return Answer(atoms.get_potential_energy(), atoms.get_forces(), tensor)

    return ask


def equilibrated(replicas: Sequence[Replica], time: float) -> list[Trajectory]:
    """Trajectories of the stable replicas without their first ``time`` fs."""
    return [replica.trajectory.after(time) for replica in replicas if replica.stable]
