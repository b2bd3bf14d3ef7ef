"""What `tunesmith attack` needs to know."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from tunesmith.config.sections import ModelSettings, require_engine
from tunesmith.core import Settings
from tunesmith.settings import OneOf


class AttackConfig(Settings):
    """Everything `tunesmith attack` needs to know."""

    model: ModelSettings = ModelSettings()
    attack: Annotated[Any, OneOf("attack", "force-error")]
    members: int | None = Field(
        default=None, ge=2, description="how many attack, drawn by seed; null: all"
    )
    reference: Annotated[Any, OneOf("reference", optional=True)] = Field(
        default=None, description="labels what comes out; null: nobody does"
    )
    uncalibrated: bool = Field(
        default=False, description="take the members' spread for their error, as it is"
    )
    beyond_calibration: bool = Field(
        default=False, description="take a target for which the calibration is not known to hold"
    )
    seed: int = Field(default=0, ge=0, description="the one source of every random number")

    @model_validator(mode="after")
    def _reference_computes(self) -> "AttackConfig":
        if self.reference is not None:
            require_engine(self.reference)
        return self
