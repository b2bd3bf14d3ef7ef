"""The settings of molecular dynamics, and all that can be checked of them without a structure."""

from functools import cached_property
from math import ceil, inf
from typing import Any, ClassVar

from pydantic import Field, model_validator

from tunesmith import units
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.explore import integrators, schedule
from tunesmith.explore.explosion import Limits
from tunesmith.explore.schedule import Schedule
from tunesmith.explore.start_checks import LONGEST_STEP, LONGEST_STEP_H


class MDSettings(Settings):
    """What `MD` is told; refused in one sentence where it makes no sense.

    Temperature and pressure may change with time, as points ``[[time, value], …]`` with straight
    lines between them.
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
    max_volume_change: float | None = Field(
        None, gt=1, description="npt: largest factor of the volume, either way (3)"
    )
    max_restarts: int = Field(20, ge=0, description="explosions of one walker before giving up")

    @model_validator(mode="before")
    @classmethod
    def _fit_to_ensemble(cls, values: Any) -> Any:
        return cls.fitted(dict(values)) if isinstance(values, dict) else values

    @classmethod
    def fitted(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Write out the defaults of the ensemble's own settings; refuse those of others."""
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
    def _temperature(self) -> Schedule:
        return schedule.read(self.temperature, "temperature", "temperature")

    @cached_property
    def _pressure(self) -> Schedule | None:
        if self.pressure is None:
            return None
        return schedule.read(self.pressure, "stress", "pressure")

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
        middle = (steps + 0.5) * self.dt
        values = dict(self._times)
        if self._pressure is not None:
            values["pressure"] = self._pressure.at(middle)
        return integrators.Bath(self.dt, self._temperature.at(middle), **values)

    @cached_property
    def dt(self) -> float:
        """fs, of one step."""
        return self._parsed("timestep", "time")

    @cached_property
    def limits(self) -> Limits:
        """What a structure must keep to (separation in Å); beyond them it is an explosion."""
        apart = self._parsed("max_separation", "length")
        return Limits(self.min_distance, apart, self.max_volume_change or inf)

    @property
    def needs_stress(self) -> bool:
        """Whether `step` needs answers with a stress."""
        return integrators.ENSEMBLES[self.ensemble].stress

    @property
    def write_steps(self) -> int:
        """Steps between written frames."""
        return round(self._parsed("write_every", "time") / self.dt)

    @cached_property
    def total_steps(self) -> int:
        """Steps of one walker until `time`."""
        return ceil(self._parsed("time", "time") / self.dt * (1 - 1e-12))
