"""Molecular dynamics of a round, driven by the mean of a posterior, until it ends or explodes."""

from collections.abc import Callable
from dataclasses import dataclass

from ase import Atoms
from ase.constraints import dict2constraint

from tunesmith.check.replicas import Ask
from tunesmith.check.simulate_members import of_mean
from tunesmith.contracts import Posterior
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.md import MD
from tunesmith.explore.state import DynamicsState, Walker


@dataclass(frozen=True)
class Run:
    """One trajectory.

    frames: at equal intervals, the start left out, with constraints and without momenta. times: of
    each, fs. wrong: how it exploded first, as a clause; None: it did not. time: fs simulated until
    its end.
    """

    frames: list[Atoms]
    times: list[float]
    wrong: str | None
    time: float


def simulate(
    md: MD, posterior: Posterior, atoms: Atoms, seed: int, seen: Callable[[], None] = lambda: None
) -> list[Run]:
    """``md.walkers`` trajectories of one structure, one after another. seen: called at every step.

    Raises `DataError` for a structure that cannot be run.
    """
    ask = of_mean(posterior, stress=md.needs_stress)
    return [_run(md, walker, ask, seen) for walker in md.init([atoms], seed).walkers]


def _run(md: MD, walker: Walker, ask: Ask, seen: Callable[[], None]) -> Run:
    state = first = DynamicsState((walker,))
    found, times, wrong = [], [], None
    while not md.finished(state):
        try:
            state = md.step(state, lambda _, atoms: ask(atoms))
        except ExplosionError as error:
            wrong = wrong or error.reason
            if state.walkers[0].restarts >= md.max_restarts:
                break
            state = md.restart(state, 0, first)
            continue
        seen()
        if (now := state.walkers[0]).steps % md.write_steps == 0:
            found.append(_frame(now))
            times.append(md.time_of(now))
    return Run(found, times, wrong, md.time_of(state.walkers[0]))


def _frame(walker: Walker) -> Atoms:
    return Atoms(
        walker.numbers,
        walker.positions,
        cell=walker.cell,
        pbc=walker.pbc,
        info=dict(walker.info),
        constraint=[dict2constraint(c) for c in walker.constraints],
    )
