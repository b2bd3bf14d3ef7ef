"""What `tunesmith tune` and `tunesmith label` need to know."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tunesmith import settings
from tunesmith.config import strategies
from tunesmith.config.sections import (
    DEFAULT,
    DataSettings,
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
    require_engine,
    require_fixed,
    require_spread,
    with_belief,
    with_strategy,
)
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import OneOf


class TuneConfig(Settings):
    """Everything `tunesmith tune` needs to know."""

    #: what may differ when a run is resumed: more work of the same kind, and where it is done;
    #: data and model are compared by content, not by the names of their files
    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        *("tune.sampler.epochs", "tune.sampler.checkpoint_every", "execute"),
        *("data.", "model.source", "strategy", "scope"),  # what a strategy decides stands in tune
    )
    model: ModelSettings = ModelSettings()
    data: DataSettings
    strategy: str | None = Field(
        default=None,
        description="fills what tune is not given (tunesmith strategies); null: by the data",
    )
    scope: Literal["narrow", "broad"] | None = Field(
        default=None,
        description="narrow: for structures like those learnt; broad: for any; null: narrow",
    )
    tune: TuneSettings = Field(default_factory=TuneSettings)
    calibrate: Annotated[Any, OneOf("calibrate", "gamma")] = DEFAULT
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The strategy's values beneath what ``tune`` was given, a belief beneath ``calibrate``."""
        return with_belief(with_strategy(values))

    @property
    def undecided(self) -> bool:
        """Whether no strategy was given, and nothing that one decides."""
        given = self.tune.model_fields_set
        sampler = self.tune.sampler
        own = sampler.model_fields_set & strategies.STRATEGIES["naive"].sampler.keys()
        usual = sampler.kind == settings.default_kind(TuneSettings, "sampler")
        return (
            self.strategy is None
            and not given & {"subspace", "anchor"}
            and ("sampler" not in given or (usual and not own))
        )

    @property
    def forces_only(self) -> bool:
        """Whether the loss does without energies, so that labels may, too."""
        return not self.tune.loss.wants_energy

    @model_validator(mode="after")
    def _all_labels_are_there(self) -> "TuneConfig":
        require_fixed(self.tune)
        require_spread(self.calibrate, self.tune)
        return self

    @model_validator(mode="after")
    def _scope_is_kept(self) -> "TuneConfig":
        anchor = self.tune.anchor
        if self.scope == "broad" and not self.undecided and not anchor.has_head:
            raise ConfigError(
                f"scope: only replay keeps it broad, and tune.anchor is {anchor.kind!r}; use "
                "strategy pseudolabel or multihead, or leave scope out."
            )
        return self


class LabelConfig(Settings):
    """Everything `tunesmith label` needs to know."""

    reference: Annotated[Any, OneOf("reference")] = Field(description="who knows the answer")

    @model_validator(mode="after")
    def _reference_computes(self) -> "LabelConfig":
        require_engine(self.reference)
        return self
