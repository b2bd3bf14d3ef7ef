"""Molecular dynamics as an explorer: `init` and `step`, with a state that is saved to the bit.

The integrators are ASE's own; one is built for every step from the walker's state, so nothing
lives between steps but what `DynamicsState` holds.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase import units as u

from tunesmith.contracts import Dynamics
from tunesmith.errors import DataError
from tunesmith.explore import integrators
from tunesmith.explore.answering import Answering, Asked
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.md_settings import MDSettings
from tunesmith.explore.start_checks import check_start
from tunesmith.explore.state import Answer, DynamicsState, Walker, generator, pack, saved, unpack

__all__ = ["MD", "Answer", "Asked", "DynamicsState", "ExplosionError", "Walker"]
#: what of a start structure's info decides its energy
_KEPT_INFO = ("charge", "multiplicity", "spin")


class MD(MDSettings, Dynamics):
    """Molecular dynamics of one or more walkers, each in its own structure and with its own
    generator. States are never changed: `step` returns a new one.
    """

    def time_of(self, walker: Walker) -> float:
        """Simulated time, fs."""
        return walker.steps * self.dt

    def time_at(self, walker: Walker, atoms: Atoms) -> float:
        """Simulated time, fs, of a structure that `step` asks about: the walker's own one before
        its first step, else the one its next step leads to."""
        first = np.array_equal(atoms.positions, walker.positions)
        return self.time_of(walker) + (0.0 if first else self.dt)

    def target_temperature(self, walker: Walker) -> float:
        """K, asked for at this time."""
        return self._temperature.at(self.time_of(walker))

    def temperature_of(self, walker: Walker) -> float:
        """K, of the kinetic energy now, over the degrees of freedom that can move."""
        free = 3 * len(walker.numbers) - 3
        if walker.constraints:
            free = integrators.degrees_of_freedom(self._bound(walker))
        kinetic = 0.5 * np.sum(walker.momenta**2 / walker.masses[:, None])
        return float(2 * kinetic / (free * u.kB))

    def finished(self, state: DynamicsState) -> bool:
        """Whether every walker has reached `time`."""
        return all(w.steps >= self.total_steps for w in state.walkers)

    def init(self, structures: list[Atoms], seed: int) -> DynamicsState:
        """Walkers at the start, with Maxwell–Boltzmann momenta and no net momentum.

        structures: the frames of `start`, in order. Momenta they hold are not used. seed: of all
        generators; walker k has its own. Raises `DataError` for a structure that cannot be run.
        """
        if not structures:
            raise DataError("explore.start: there is no structure to start from.")
        for number, atoms in enumerate(structures):
            try:
                check_start(atoms, self.ensemble, self.dt, self.limits)
            except DataError as error:
                raise DataError(f"explore.start, structure {number}: {error}") from None
        starts = [i for i in range(len(structures)) for _ in range(self.walkers)]
        return DynamicsState(
            tuple(self._new(structures[i], i, [seed, k]) for k, i in enumerate(starts)), turn=0
        )

    def _new(self, atoms: Atoms, start: int, seed: list[int]) -> Walker:
        walker = Walker(
            numbers=atoms.numbers.copy(),
            masses=atoms.get_masses(),
            positions=atoms.positions.copy(),
            momenta=np.zeros((len(atoms), 3)),
            cell=atoms.cell.array.copy(),
            pbc=atoms.pbc.copy(),
            rng=saved(np.random.default_rng(seed)),
            constraints=tuple(c.todict() for c in atoms.constraints),
            info={k: _number(atoms.info[k]) for k in _KEPT_INFO if k in atoms.info},
            start=start,
            start_volume=float(atoms.cell.volume) if self.needs_stress else 0.0,
        )
        return self._with_momenta(walker)

    def _bound(self, walker: Walker) -> Atoms:
        """The structure with its constraints."""
        return walker.constrained(walker.atoms())

    def _with_momenta(self, walker: Walker) -> Walker:
        """Momenta drawn at the target temperature, from the walker's own generator."""
        rng = generator(walker.rng)
        deviation = np.sqrt(walker.masses * u.kB * self.target_temperature(walker))
        atoms = self._bound(walker)
        momenta = deviation[:, None] * rng.standard_normal((len(atoms), 3))
        if not atoms.constraints:  # Maxwell–Boltzmann under the condition of no net momentum
            momenta -= walker.masses[:, None] * momenta.sum(0) / walker.masses.sum()
        atoms.set_momenta(momenta)
        return replace(walker, momenta=atoms.get_momenta(), rng=saved(rng))

    def step(self, state: DynamicsState, answer: Asked) -> DynamicsState:
        """Advance the walker whose turn it is by one step; then it is the turn of the one that is
        furthest behind.

        answer: called exactly once for every new structure (for a walker's first step also for
        the start), in the midst of the step: what it returns drives the rest of it. Whatever it
        raises passes through and ``state`` stays good. Raises `ExplosionError`.
        """
        index = state.turn
        walker = state.walkers[index]
        atoms, rng = self._bound(walker), generator(walker.rng)
        integrators.constrain(atoms, self.ensemble)
        answering = Answering(index, walker, answer, self.limits, self.needs_stress)
        atoms.calc = answering
        dynamics = integrators.ENSEMBLES[self.ensemble].build(atoms, self._bath(walker.steps), rng)
        integrators.restore(dynamics, walker.variables)
        dynamics.step()
        last = answering.at(atoms)
        moved = replace(
            walker,
            positions=atoms.get_positions(),
            momenta=atoms.get_momenta(),
            cell=atoms.cell.array.copy(),
            energy=last.energy,
            forces=last.forces,
            stress=last.stress,
            variables=integrators.variables(dynamics, self.ensemble),
            rng=saved(rng),
            steps=walker.steps + 1,
        )
        if not (temperature := self.temperature_of(moved)) <= self._hottest:
            reason = f"its temperature is {temperature:.4g} K, over {self.max_temperature}"
            raise ExplosionError(index, reason, moved.atoms())
        walkers = (*state.walkers[:index], moved, *state.walkers[index + 1 :])
        return DynamicsState(walkers, min(range(len(walkers)), key=lambda k: walkers[k].steps))

    def restart(self, state: DynamicsState, walker: int, good: DynamicsState) -> DynamicsState:
        """``walker`` goes back to where it is in ``good``, with new momenta from its own generator
        (as it is in ``state``, so that no two attempts are alike) and a fresh thermostat.

        Raises `ExplosionError` after `max_restarts` of them.
        """
        now, back = state.walkers[walker], good.walkers[walker]
        if now.restarts >= self.max_restarts:
            reason = (
                f"it has exploded {now.restarts + 1} times; use a shorter explore.timestep, a "
                "lower temperature or a tighter target"
            )
            raise ExplosionError(walker, reason, now.atoms())
        back = replace(back, variables={}, rng=now.rng, restarts=now.restarts + 1)
        walkers = list(state.walkers)
        walkers[walker] = self._with_momenta(back)
        return replace(state, walkers=tuple(walkers), turn=walker)

    def pack(self, state: DynamicsState) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by name and a JSON-able mapping that together are the state to the bit."""
        return pack(state)

    def unpack(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> DynamicsState:
        """What `pack` packed. Raises `KeyError` or `TypeError` where something is missing."""
        return unpack(arrays, info)


def _number(value: Any) -> Any:
    """NumPy's scalars as Python's, which JSON holds."""
    return value.item() if isinstance(value, np.generic) else value
