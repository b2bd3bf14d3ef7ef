"""What a run in one go is told."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from tunesmith.config.sections import (
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
    require_engine,
)
from tunesmith.core import Settings
from tunesmith.settings import OneOf, one_or_more


class OneGo(Settings):
    """Where to look: structures of files, drawn by lot."""

    kind: ClassVar[str] = "one-go"
    files: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        min_length=1, description="files of structures"
    )
    labels: int = Field(20, ge=2, description="structures drawn, labelled and learnt")


class OneGoConfig(Settings):
    """Everything that `tunesmith run` reads."""

    #: starts of the paths of settings that may differ when a run is resumed
    MAY_CHANGE: ClassVar[tuple[str, ...]] = ("execute", "model.source", "explore.files")
    model: ModelSettings = ModelSettings()
    reference: Annotated[Any, OneOf("reference")] = Field(description="who knows the answer")
    explore: Annotated[Any, OneOf("explore", "one-go")] = Field(description="where to look")
    tune: TuneSettings = Field(default_factory=TuneSettings)
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @model_validator(mode="after")
    def _parts_fit(self) -> "OneGoConfig":
        require_engine(self.reference)
        return self
