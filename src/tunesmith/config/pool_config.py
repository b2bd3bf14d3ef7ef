"""What `tunesmith run` needs to know of rounds from a pool."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from tunesmith.config.sections import (
    DEFAULT,
    ENERGY_KEY,
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
    require_fixed,
    require_part,
    require_spread,
    with_belief,
    with_strategy,
)
from tunesmith.contracts import Acquirer, PoolExplorer
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import OneOf, one_or_more


class PoolDataSettings(Settings):
    """Labelled structures there are, and where the labels of all files stand."""

    initial: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="files of labelled structures, or isolated atoms, to start from"
    )
    valid: str = Field(description="file of labelled structures that decide each round's model")
    test: str | None = Field(
        default=None,
        description="file of labelled structures that measure it; null: those of valid",
    )
    energy_key: str | None = Field(default=None, description=ENERGY_KEY)
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")


class RoundSettings(TuneSettings):
    """As for one fit, but by default as long as the number of labels asks for."""

    sampler: Annotated[Any, OneOf("tune.sampler", "by-size")] = DEFAULT


class PoolConfig(Settings):
    """Everything `tunesmith run` needs to know of rounds from a pool."""

    #: as of `TuneConfig`
    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        *("explore.rounds", "tune.sampler.checkpoint_every", "execute"),
        *("data.", "model.source", "explore.files", "strategy"),
    )
    model: ModelSettings = ModelSettings()
    reference: Annotated[Any, OneOf("reference")] = Field(description="who knows the answer")
    data: PoolDataSettings = Field(description="labelled structures there are")
    explore: Annotated[Any, OneOf("explore", "pool")] = Field(description="where to look")
    acquire: Annotated[Any, OneOf("acquire", "greedy")] = DEFAULT
    strategy: str | None = Field(
        default=None,
        description="fills what tune is not given (tunesmith strategies); null: by-size",
    )
    tune: RoundSettings = Field(default_factory=RoundSettings)
    calibrate: Annotated[Any, OneOf("calibrate", "gamma")] = DEFAULT
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The strategy's values beneath what ``tune`` was given, a belief beneath ``calibrate``."""
        return with_belief(with_strategy(values))

    @model_validator(mode="after")
    def _parts_fit(self) -> "PoolConfig":
        require_part(self.explore, "explore", PoolExplorer, "has no candidates; use pool")
        require_part(
            self.acquire, "acquire", Acquirer, "judges one structure at a time; use greedy"
        )
        require_fixed(self.tune)
        require_spread(self.calibrate, self.tune)
        if self.explore.rest is not None and self.reference.computes:
            raise ConfigError(
                f"explore.rest: {self.reference.kind} would have to label what nobody chose; leave "
                "it out, or use reference: hidden with a pool whose labels are known."
            )
        asks = self.acquire.asks_members
        if asks and self.tune.sampler.count < 2:
            raise ConfigError(
                f"acquire: {self.acquire.name} rests on how far members disagree, and "
                "tune.sampler gives one; set tune.sampler.members to 3."
            )
        if asks and not self.data.initial and not self.explore.start:
            raise ConfigError(
                "explore.start: the first committee needs labels to learn; give a number, as 5, or "
                "files as data.initial."
            )
        return self
