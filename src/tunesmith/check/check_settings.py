"""What `tunesmith check` is asked, as parts and structure; refused where it contradicts itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from tunesmith import units
from tunesmith.check.stability import Stability
from tunesmith.config import CheckConfig
from tunesmith.config.check_config import USUAL
from tunesmith.contracts import Check
from tunesmith.data import checks
from tunesmith.data.formats import read_frames
from tunesmith.errors import ConfigError, DataError
from tunesmith.explore.md import MD
from tunesmith.registry import CHECKS
from tunesmith.settings import build

#: share of the time that is left out as equilibration where none is given
_EQUILIBRATION = 0.2
#: fewest samples of a replica that make averages with errors
_SAMPLES = 50
_TIME = "5 ps"


@dataclass(frozen=True)
class Simulation:
    """What ends a replica, its dynamics, and the fs of it that averages leave out."""

    stability: Stability
    md: MD
    equilibration: float


def simulation_of(config: CheckConfig) -> Simulation:
    """Without opening a file. Raises `ConfigError` for what makes no sense."""
    given = dict(config.settings.get("stability", {}))
    dynamics = {"time": _TIME} | config.dynamics
    if "max_temperature" in dynamics:  # who explores says it so, and here it is a criterion
        if "max_temperature" in given:
            raise ConfigError(
                "dynamics.max_temperature: also given as settings.stability.max_temperature; keep "
                "one."
            )
        given["max_temperature"] = dynamics.pop("max_temperature")
    stability = build(Stability, given, "settings.stability")
    md = stability.dynamics(replicas=config.replicas, **dynamics)
    total = md.total_steps * md.dt
    if config.equilibration is None:
        return Simulation(stability, md, _EQUILIBRATION * total)
    skip = units.parse(config.equilibration, "time", field="equilibration").value
    if not 0 <= skip < total:
        raise ConfigError(
            f"equilibration: {config.equilibration} must be at least 0 and shorter than the time "
            f"of {md.time}."
        )
    return Simulation(stability, md, skip)


def parts_of(config: CheckConfig, stability: Stability) -> list[Check]:
    """The checks that are asked for, in their order. Raises `ConfigError` for unknown ones and for
    settings without sense."""
    parts: list[Check] = []
    for name in config.checks:
        values: dict[str, Any] = {"species": config.species} if name in USUAL else {}
        values |= config.settings.get(name, {})
        path = f"settings.{name}"
        parts.append(stability if name == "stability" else build(CHECKS.get(name), values, path))
    return parts


def species_of(config: CheckConfig) -> tuple[str, ...]:
    """Elements that a check of tunesmith's own is to average."""
    given = [config.settings.get(name, {}).get("species", ()) for name in USUAL]
    return tuple(dict.fromkeys([*config.species, *(name for names in given for name in names)]))


@dataclass(frozen=True)
class Start:
    """A structure in a file; number: which, None: the only one."""

    path: Path
    number: int | None = None

    def read(
        self, species: Sequence[str], elements: Sequence[int], say: Callable[[str], None]
    ) -> Atoms:
        """The structure, with its constraints.

        species: it must have. elements: those the model knows. say: takes what people should know
        of the reading. Raises `DataError`.
        """
        frames, keys = read_frames(self.path, constraints=True)
        for note in keys.notes:
            say(f"{self.path.name}: {note}")
        number = self._number(len(frames))
        checks.check_structures([frames[number]], elements)
        atoms = frames[number].atoms
        there = sorted(set(atoms.get_chemical_symbols()))
        for name in species:
            if name not in there:
                raise DataError(
                    f"species: {name!r} is not in the structure; name some of {', '.join(there)}."
                )
        return atoms

    def _number(self, there: int) -> int:
        if self.number is None:
            if there != 1:
                raise DataError(
                    f"{self.path} holds {there} structures; choose one with --frame N, from 0 to "
                    f"{there - 1}."
                )
            return 0
        if not 0 <= self.number < there:
            raise DataError(f"--frame {self.number}: {self.path} holds 0 to {there - 1}.")
        return self.number


def require_samples(md: MD, equilibration: float) -> None:
    """Raise `ConfigError` where too few samples would be left to average, before they are made."""
    interval = md.write_steps * md.dt
    left = int((md.total_steps * md.dt - equilibration) / interval)
    if left < _SAMPLES:
        raise ConfigError(
            f"--time {md.time} with samples every {interval:g} fs leaves {left} of them after the "
            f"equilibration, but averages with errors need {_SAMPLES}; simulate longer, or set "
            "--md write_every."
        )
