"""What `tunesmith run` needs to know of dynamics that learn on the fly."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from tunesmith import settings
from tunesmith.config.sections import (
    DEFAULT,
    ENERGY_KEY,
    E0Settings,
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
    positive,
    require_engine,
    require_part,
    with_attack_target,
)
from tunesmith.contracts import Criterion, Dynamics
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import OneOf, one_or_more


class InitialDataSettings(Settings):
    """Labels there are before the run starts."""

    initial: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="files of labelled structures to start from; []: the start alone"
    )
    energy_key: str | None = Field(default=None, description=ENERGY_KEY)
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")

    @model_validator(mode="after")
    def _keys_are_used(self) -> "InitialDataSettings":
        given = [k for k in ("energy_key", "forces_key", "stress_key") if getattr(self, k)]
        if given and not self.initial:
            raise ValueError(f"{given[0]} is given but no initial file; give data.initial too.")
        return self


class PosteriorSettings(TuneSettings):
    """As for one fit, but every default is that of a posterior by sampling."""

    anchor: Annotated[Any, OneOf("tune.anchor", "gaussian")] = DEFAULT
    sampler: Annotated[Any, OneOf("tune.sampler", "sghmc")] = DEFAULT
    loss: Annotated[Any, OneOf("tune.loss", "gaussian")] = DEFAULT
    e0: E0Settings = E0Settings(method="reestimate")
    keep: int | None = Field(
        default=None,
        ge=2,
        description="labels learnt from at most, the newest and those that cover all best (LCMD); "
        "the others stay in the store; null: all",
    )

    @model_validator(mode="after")
    def _is_a_posterior(self) -> "PosteriorSettings":
        able = {"sampler": self.sampler.goes_on, "loss": self.loss.is_likelihood}
        for name, can in able.items():
            chosen = getattr(self, name)
            if not can:
                raise ConfigError(
                    f"tune.{name}: {chosen.kind!r} gives no posterior that learns on with every "
                    f"label, which a run needs; use {settings.default_kind(type(self), name)}."
                )
        return self


class LockOutSettings(Settings):
    """What answers errors that no error bar explains: longer sampling, twice, four times, …"""

    longer: float = Field(default=2.0, gt=1, description="sampling is made longer by this factor")
    most: float = Field(default=8.0, ge=1, description="but not more than this much longer")
    patience: int = Field(
        default=10, ge=0, description="labels in a row at the longest before the run gives up"
    )


class LoopSettings(Settings):
    """When a run ends, and what it does when something goes wrong."""

    max_labels: int | None = Field(
        default=None, ge=1, description="ends after so many labels, those of attacks included"
    )
    rare: Annotated[str | None, positive("time", "loop.rare")] = Field(
        default=None, description="ends after this time without a label, as 2 ps"
    )
    on_failure: Literal["stop", "skip", "retry"] = Field(
        default="stop", description="a reference call fails: stop, skip (go on) or retry (later)"
    )
    retry_after: Annotated[str, positive("time", "loop.retry_after")] = Field(
        default="50 fs", description="for skip and retry: no call before this time has passed"
    )
    max_failures: int = Field(default=5, ge=1, description="failed calls in a row that end a run")
    doubt: float = Field(
        default=1e-6,
        ge=0,
        lt=1,
        description="a label whose error is less probable is asked for once more; 0: none is",
    )
    max_explosions: int = Field(default=3, ge=1, description="explosions in a row that end a run")
    lock_out: LockOutSettings = LockOutSettings()
    checkpoint_every: Annotated[str, positive("wall time", "loop.checkpoint_every")] = Field(
        default="30 s", description="wall time between checkpoints"
    )


class RunConfig(Settings):
    """Everything `tunesmith run` needs to know."""

    #: as of `TuneConfig`
    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        *("explore.time", "loop.", "execute"),
        *("data.", "model.source", "explore.start"),
    )
    model: ModelSettings = ModelSettings()
    reference: Annotated[Any, OneOf("reference")] = Field(description="who knows the answer")
    data: InitialDataSettings = InitialDataSettings()
    target: Annotated[Any, OneOf("target", "error")] = Field(description="the accuracy wanted")
    explore: Annotated[Any, OneOf("explore", "md")] = Field(description="where to look")
    acquire: Annotated[Any, OneOf("acquire", "threshold")] = DEFAULT
    attack: Annotated[Any, OneOf("attack", "force-error", optional=True)] = Field(
        default=None, description="force-error: one more label with each, of an attack; null: none"
    )
    tune: PosteriorSettings = Field(default_factory=PosteriorSettings)
    calibrate: Annotated[Any, OneOf("calibrate", "gamma")] = DEFAULT
    loop: LoopSettings = LoopSettings()
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The force target beneath the attack's, where there is an attack."""
        if values.get("attack") is None:
            return values
        return with_attack_target(values, values.get("target"), "attack")

    @model_validator(mode="after")
    def _goes_step_by_step(self) -> "RunConfig":
        require_engine(self.reference)
        require_part(
            self.explore, "explore", Dynamics, "has no steps; see `tunesmith template pool`"
        )
        why = "chooses from many at once, not step by step; use threshold"
        require_part(self.acquire, "acquire", Criterion, why)
        spread, chains = self.tune.spread, self.tune.sampler.count
        if chains < spread.fewest:
            raise ConfigError(
                "tune.sampler.members: one chain has no spread to judge errors by; use 2 or more, "
                "or set tune.spread to ntk."
            )
        if not spread.of_forces and self.acquire.judges_forces(self.target):
            raise ConfigError(
                f"tune.spread: {spread.kind} knows no error of forces; leave target.forces and "
                "acquire.regions out, or set it to members."
            )
        if self.attack is not None and chains < 2:
            raise ConfigError(
                "attack: one chain never disagrees with itself, so that there is nothing "
                "to attack; set tune.sampler.members to 2 or more, or leave the attack out."
            )
        return self
