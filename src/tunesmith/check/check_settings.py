"""What is asked of `tunesmith check`, refused where it contradicts itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from tunesmith import units, yamltext
from tunesmith.check.stability import Stability
from tunesmith.config import ModelSettings
from tunesmith.contracts import Check
from tunesmith.core import Settings
from tunesmith.data import checks
from tunesmith.data.formats import read_frames
from tunesmith.errors import ConfigError, DataError
from tunesmith.explore.md import MD
from tunesmith.settings import MOST, build

#: share of the time that is left out as equilibration where none is given
_EQUILIBRATION = 0.2
#: checks where none are named, with options of their own
USUAL = ("stability", "density", "diffusion", "rdf")
#: fewest samples of a replica that make averages with errors
_SAMPLES = 50


@dataclass(frozen=True)
class Wanted:
    """What is asked for; None: not given.

    frame: number of the structure in the file. md: NAME=VALUE of settings of molecular dynamics.
    equilibration: time left out of averages. species: elements that averages are wanted of, none:
    all. mean: simulate the members' mean. seed: of all replicas. checks: by name. settings:
    CHECK.NAME=VALUE of those that have no options of their own.
    """

    model: ModelSettings
    start: Path
    frame: int | None = None
    md: tuple[str, ...] = ()
    time: str = "5 ps"
    replicas: int = 3
    equilibration: str | None = None
    min_distance: str = "0.5"
    every: int = 100
    species: tuple[str, ...] = ()
    mean: bool = False
    processes: int = 1
    seed: int = 0
    checks: tuple[str, ...] = USUAL
    settings: tuple[str, ...] = ()

    def parts(self, stability: Stability) -> list[Check]:
        """The checks that are asked for, in their order. Raises `ConfigError` for unknown ones and
        for settings without sense."""
        given: dict[str, dict[str, Any]] = {name: {} for name in self.checks}
        if len(given) < len(self.checks):
            raise ConfigError(f"--checks {','.join(self.checks)}: one is given twice; keep one.")
        for path, value in _named(self.settings, "--set", "dimer-wall.closest=0.5").items():
            name, dot, setting = path.partition(".")
            if not dot or name not in given or name in USUAL:
                own = [n for n in given if n not in USUAL]
                raise ConfigError(
                    f"--set {path}: write CHECK.NAME=VALUE, for a check of --checks that has no "
                    f"options of its own ({', '.join(own) or 'there is none'})."
                )
            given[name][setting] = value
        for name in {*USUAL} - {"stability"} & given.keys():
            given[name] = {"species": self.species}
        return [
            stability if name == "stability" else _built(name, values)
            for name, values in given.items()
        ]

    def check(self) -> tuple[Stability, MD, float]:
        """Criteria, dynamics and fs of equilibration, without opening a file. Raises `ConfigError`
        for what makes no sense."""
        for name in ("replicas", "processes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: give at least 1.")
            if getattr(self, name) > (most := MOST[name]):
                raise ConfigError(f"--{name} {getattr(self, name)}: give at most {most}.")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: give a number of at least 0.")
        given = {"min_distance": self.min_distance, "every": self.every}
        settings = _named(self.md)
        if "time" in settings:
            raise ConfigError("--md time: give it as --time.")
        if "max_temperature" in settings:
            given["max_temperature"] = settings.pop("max_temperature")
        stability = build(Stability, given, "stability")
        md = stability.dynamics(replicas=self.replicas, time=self.time, **settings)
        total = md.total_steps * md.dt
        if self.equilibration is None:
            return stability, md, _EQUILIBRATION * total
        skip = units.parse(self.equilibration, "time", field="--equilibration").value
        if not 0 <= skip < total:
            raise ConfigError(
                f"--equilibration {self.equilibration}: must be at least 0 and shorter than "
                f"--time {self.time}."
            )
        return stability, md, skip

    def structure(self, elements: Sequence[int], say: Callable[[str], None]) -> Atoms:
        """The start, with its constraints; elements: those the model knows; say: takes what
        people should know of its reading. Raises `DataError`."""
        frames, keys = read_frames(self.start, constraints=True)
        for note in keys.notes:
            say(f"{self.start.name}: {note}")
        number = self._number(len(frames))
        checks.check_structures([frames[number]], elements)
        atoms = frames[number].atoms
        there = sorted(set(atoms.get_chemical_symbols()))
        for name in self.species:
            if name not in there:
                raise DataError(
                    f"--species {name}: the structure has {', '.join(there)}; name those."
                )
        return atoms

    def _number(self, there: int) -> int:
        if self.frame is None:
            if there != 1:
                raise DataError(
                    f"{self.start} holds {there} structures; choose one with --frame N, from 0 to "
                    f"{there - 1}."
                )
            return 0
        if not 0 <= self.frame < there:
            raise DataError(f"--frame {self.frame}: {self.start} holds 0 to {there - 1}.")
        return self.frame


def _built(name: str, values: dict[str, Any]) -> Check:
    part: Check = build(Settings, {"kind": name, **values}, "check")  # type: ignore[assignment]
    return part


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


def _named(
    texts: Sequence[str], option: str = "--md", example: str = "temperature=300 K"
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and name):
            raise ConfigError(f"{option} {text}: write NAME=VALUE, as '{example}'.")
        if name in settings:
            raise ConfigError(f"{option} {name}: given twice; keep one.")
        settings[name] = yamltext.parse(value, f"{option} {name}")
    return settings
