"""What `tunesmith check` needs to know."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from tunesmith.config.sections import ModelSettings
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import one_or_more

#: checks where none are named, which look at the dynamics
USUAL = ("stability", "density", "diffusion", "rdf")


class CheckConfig(Settings):
    """Everything `tunesmith check` needs to know, but for the structure."""

    model: ModelSettings = ModelSettings()
    dynamics: dict[str, Any] = Field(
        default={},
        description="of each replica, as explore of a run on the fly; by default ensemble bussi, "
        "time 5 ps",
    )
    replicas: int = Field(default=3, ge=1, description="trajectories of each member")
    equilibration: str | None = Field(
        default=None, description="time left out of averages; null: a fifth"
    )
    mean: bool = Field(default=False, description="simulate the members' mean, not each member")
    species: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="elements to average; none: molecules, and all pairs of elements"
    )
    checks: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=USUAL, min_length=1, description="which, by name"
    )
    settings: dict[str, dict[str, Any]] = Field(
        default={}, description="of checks by their names, as {stability: {every: 50}}"
    )
    processes: int = Field(default=1, ge=1, description="that share the replicas")
    seed: int = Field(default=0, ge=0, description="of all replicas")

    @model_validator(mode="after")
    def _checks_are_named(self) -> "CheckConfig":
        names = ", ".join(self.checks)
        if len(set(self.checks)) < len(self.checks):
            raise ConfigError(f"checks: one of {names} is given twice; keep one.")
        for name in self.settings:
            # its criteria end every simulation, also where nobody asks what it has found
            if name not in (*self.checks, "stability"):
                raise ConfigError(
                    f"settings.{name}: is none of the checks ({names}); name it among them "
                    "(--checks), or leave its settings out."
                )
        return self
