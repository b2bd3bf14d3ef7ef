"""Molecular dynamics as an explorer: `init` and `step`, with a state that is saved to the bit.

The integrators are ASE's own; one is built for every step from the walker's state, so nothing
lives between steps but what `State` holds.
"""

from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase import units as u
from ase.constraints import dict2constraint
from pydantic import Field, model_validator

from tunesmith import units
from tunesmith.core import Settings
from tunesmith.errors import ConfigError, DataError
from tunesmith.explore import integrators, schedule
from tunesmith.explore.answering import Answering, Asked
from tunesmith.explore.checks import LONGEST_STEP, LONGEST_STEP_H, check_start
from tunesmith.explore.explosion import ExplosionError, Limits
from tunesmith.explore.schedule import Schedule
from tunesmith.explore.state import Answer, State, Walker, generator, pack, saved, unpack

__all__ = ["MD", "Answer", "Asked", "ExplosionError", "State", "Walker"]
#: what of a start structure's info decides its energy
_KEPT_INFO = ("charge", "multiplicity", "spin")


class MD(Settings):
    """Molecular dynamics of one or more walkers, each in its own structure and with its own
    generator. Temperature and pressure may change with time, as points ``[[time, value], …]``
    with straight lines between them.
    """

    kind: ClassVar[str] = "md"
    start: tuple[str, ...] = Field(min_length=1, description="files of start structures")
    walkers: int = Field(1, ge=1, description="trajectories per start structure")
    ensemble: str = Field("langevin", description=", ".join(integrators.ENSEMBLES))
    timestep: str = Field("0.5 fs", description="of one step")
    time: str = Field("1 ps", description="simulated time of each walker")
    temperature: str | tuple[tuple[str, str], ...] = Field(
        "300 K", description="one value, or points of time and value; nve: at the start"
    )
    pressure: str | tuple[tuple[str, str], ...] | None = Field(
        None, description="npt: one value, or points of time and value (1 bar)"
    )
    friction: str | None = Field(None, description="langevin: rate of damping (0.01 /fs)")
    thermostat_time: str | None = Field(None, description="of all other thermostats (100 fs)")
    barostat_time: str | None = Field(None, description="npt: of the barostat (1 ps)")
    write_every: str = Field("10 fs", description="time between frames of the trajectory")
    min_distance: float = Field(
        0.5, gt=0, lt=1, description="nearest distance, a fraction of the sum of covalent radii"
    )
    max_temperature: str = Field("5000 K", description="hotter is an explosion")
    max_separation: str = Field("10 Å", description="of the parts of a structure without a cell")
    max_volume_change: float = Field(3.0, gt=1, description="npt: largest factor, either way")
    max_restarts: int = Field(20, ge=0, description="explosions of one walker before giving up")

    @model_validator(mode="before")
    @classmethod
    def _fit_to_ensemble(cls, values: Any) -> Any:
        """Write out the defaults of the ensemble's own settings; refuse those of others."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if isinstance(values.get("start"), str):
            values["start"] = (values["start"],)
        name = values.get("ensemble", "langevin")
        chosen = integrators.ensemble(name if isinstance(name, str) else str(name))
        for setting in {k for e in integrators.ENSEMBLES.values() for k in e.settings}:
            if setting in chosen.settings:
                if values.get(setting) is None:
                    values[setting] = chosen.settings[setting]
            elif values.get(setting) is not None:
                takers = [k for k, e in integrators.ENSEMBLES.items() if setting in e.settings]
                raise ConfigError(
                    f"{setting}: ensemble {name!r} has no use for it; leave it out, or use one of "
                    f"{', '.join(takers)}."
                )
        return values

    def model_post_init(self, context: Any) -> None:
        dt = self._positive("timestep", "time")
        if dt > LONGEST_STEP:
            raise ConfigError(
                f"timestep: {self.timestep} is too long for any structure; use at most "
                f"{LONGEST_STEP:g} fs ({LONGEST_STEP_H:g} fs with hydrogen)."
            )
        for name in ("time", "write_every"):
            if self._positive(name, "time") < dt * (1 - 1e-9):
                raise ConfigError(f"{name}: {getattr(self, name)} is shorter than one timestep.")
        steps = self._parsed("write_every", "time") / dt
        if abs(steps - round(steps)) > 1e-6 * steps:
            raise ConfigError(
                f"write_every: {self.write_every} is no whole number of timesteps "
                f"({self.timestep}); give a multiple of it."
            )
        for name in ("thermostat_time", "barostat_time"):
            if getattr(self, name) is not None and self._positive(name, "time") < 10 * dt:
                raise ConfigError(
                    f"{name}: {getattr(self, name)} is under 10 timesteps, which makes the "
                    f"integrator unstable; give at least {10 * dt:g} fs."
                )
        if self.friction is not None and self._positive("friction", "rate") * dt > 1:
            raise ConfigError(
                f"friction: {self.friction} damps all motion within one timestep; give less than "
                f"{1 / dt:g} /fs (0.01 /fs is common)."
            )
        self._positive("max_separation", "length")
        self._check_temperatures()
        if self.pressure is not None:
            _ = self._pressure

    def _check_temperatures(self) -> None:
        hottest = self._positive("max_temperature", "temperature")
        values = self._temperature.values
        if min(values) <= 0:
            raise ConfigError("temperature: every temperature must be over 0 K.")
        if self.ensemble == "nve" and not isinstance(self.temperature, str):
            raise ConfigError(
                "temperature: 'nve' has no thermostat, so it only takes the temperature of the "
                "start; give one value, or use 'langevin'."
            )
        if max(values) > hottest / 2:
            raise ConfigError(
                f"max_temperature: {self.max_temperature} is under twice the hottest target, "
                f"{max(values):g} K, and small structures fluctuate; give at least "
                f"{2 * max(values):g} K."
            )

    # ------------------------------------------------------------------ what is asked for

    def _parsed(self, name: str, dimension: str) -> float:
        return units.parse(getattr(self, name), dimension, field=name).value

    def _positive(self, name: str, dimension: str) -> float:
        value = self._parsed(name, dimension)
        if value <= 0:
            raise ConfigError(f"{name}: {getattr(self, name)} was given, but must be positive.")
        return value

    @cached_property
    def _timestep(self) -> float:
        return self._parsed("timestep", "time")

    @cached_property
    def _temperature(self) -> Schedule:
        return schedule.read(self.temperature, "temperature", "temperature")

    @cached_property
    def _pressure(self) -> Schedule | None:
        if self.pressure is None:
            return None
        return schedule.read(self.pressure, "stress", "pressure")

    @cached_property
    def _limits(self) -> Limits:
        apart = self._parsed("max_separation", "length")
        return Limits(self.min_distance, apart, self.max_volume_change)

    @cached_property
    def _hottest(self) -> float:
        return self._parsed("max_temperature", "temperature")

    @cached_property
    def _times(self) -> dict[str, float]:
        """fs and 1/fs of the thermostat's and barostat's settings that are given."""
        dimensions = {"friction": "rate", "thermostat_time": "time", "barostat_time": "time"}
        return {k: self._parsed(k, d) for k, d in dimensions.items() if getattr(self, k)}

    def _bath(self, steps: int) -> integrators.Bath:
        """What acts during the step after ``steps``: the schedules in the middle of it."""
        middle = (steps + 0.5) * self._timestep
        values = dict(self._times)
        if self._pressure is not None:
            values["pressure"] = self._pressure.at(middle)
        return integrators.Bath(self._timestep, self._temperature.at(middle), **values)

    @property
    def needs_stress(self) -> bool:
        """Whether `step` needs answers with a stress."""
        return integrators.ENSEMBLES[self.ensemble].stress

    @property
    def write_steps(self) -> int:
        """Steps between written frames."""
        return round(self._parsed("write_every", "time") / self._timestep)

    @cached_property
    def total_steps(self) -> int:
        """Steps of one walker until `time`."""
        return ceil(self._parsed("time", "time") / self._timestep * (1 - 1e-12))

    def time_of(self, walker: Walker) -> float:
        """Simulated time, fs."""
        return walker.steps * self._timestep

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

    def finished(self, state: State) -> bool:
        """Whether every walker has reached `time`."""
        return all(w.steps >= self.total_steps for w in state.walkers)

    # ----------------------------------------------------------------------- the run

    def init(self, structures: list[Atoms], seed: int) -> State:
        """Walkers at the start, with Maxwell–Boltzmann momenta and no net momentum.

        structures: the frames of `start`, in order. Momenta they hold are not used. seed: of all
        generators; walker k has its own. Raises `DataError` for a structure that cannot be run.
        """
        if not structures:
            raise DataError("explore.start: there is no structure to start from.")
        for number, atoms in enumerate(structures):
            try:
                check_start(atoms, self.ensemble, self._timestep, self._limits)
            except DataError as error:
                raise DataError(f"explore.start, structure {number}: {error}") from None
        starts = [i for i in range(len(structures)) for _ in range(self.walkers)]
        return State(
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
        atoms = walker.atoms()
        if walker.constraints:
            atoms.set_constraint([dict2constraint(c) for c in walker.constraints])
        return atoms

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

    def step(self, state: State, answer: Asked) -> State:
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
        answering = Answering(index, walker, answer, self._limits, self.needs_stress)
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
        return State(walkers, min(range(len(walkers)), key=lambda k: walkers[k].steps))

    def restart(self, state: State, walker: int, good: State) -> State:
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

    def pack(self, state: State) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by name and a JSON-able mapping that together are the state to the bit."""
        return pack(state)

    def unpack(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> State:
        """What `pack` packed. Raises `CheckpointError` where something is missing."""
        return unpack(arrays, info)


def _number(value: Any) -> Any:
    """NumPy's scalars as Python's, which JSON holds."""
    return value.item() if isinstance(value, np.generic) else value
