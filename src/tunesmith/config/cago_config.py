"""What `tunesmith run` needs to know of rounds that make their own structures (CAGO)."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from tunesmith import settings
from tunesmith.config import strategies
from tunesmith.config.sections import (
    DEFAULT,
    ENERGY_KEY,
    NEEDS_POOL,
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
    forces_of,
    require_part,
    with_attack_target,
    with_belief,
    with_strategy,
)
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.settings import OneOf, one_or_more

#: kinds of ``acquire`` that say what becomes of frames of dynamics
_TAKES_FRAMES = ("attack", "max-uncertainty", "hot-md")


class CagoDataSettings(Settings):
    """Labelled structures there are beside those the rounds make; none are needed."""

    initial: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="files of labelled structures, or isolated atoms, to start from"
    )
    valid: str | None = Field(
        default=None,
        description="file of labelled structures that calibrate error bars; null: of the labels",
    )
    test: str | None = Field(
        default=None, description="file of labelled structures that measure every round's model"
    )
    energy_key: str | None = Field(default=None, description=ENERGY_KEY)
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")


class CommitteeSettings(TuneSettings):
    """As for one fit, but by default a committee whose members split the labels for themselves."""

    sampler: Annotated[Any, OneOf("tune.sampler", "committee")] = DEFAULT
    begin: Literal["foundation", "last"] = Field(
        default="foundation",
        description="where a round's fit begins: foundation, or the last members",
    )


class CagoConfig(Settings):
    """Everything `tunesmith run` needs to know of rounds that make their own structures."""

    #: as of `TuneConfig`
    MAY_CHANGE: ClassVar[tuple[str, ...]] = (
        *("explore.rounds", "tune.sampler.checkpoint_every", "execute"),
        *("data.", "model.source", "explore.start", "strategy"),
    )
    model: ModelSettings = ModelSettings()
    reference: Annotated[Any, OneOf("reference")] = Field(description="who knows the answer")
    data: CagoDataSettings = CagoDataSettings()
    target: Annotated[Any, OneOf("target", "error")] = Field(
        description="forces: the error that structures are moved to"
    )
    explore: Annotated[Any, OneOf("explore", "cago")] = Field(description="where to look")
    acquire: Annotated[Any, OneOf("acquire", "attack")] = DEFAULT
    strategy: str | None = Field(
        default=None,
        description="fills what tune is not given (tunesmith strategies); null: a committee",
    )
    tune: CommitteeSettings = Field(default_factory=CommitteeSettings)
    calibrate: Annotated[Any, OneOf("calibrate", "power-law")] = DEFAULT
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The strategy's values and splits of each member's own beneath ``tune``, the target
        beneath the attack."""
        values = with_belief({"calibrate": "power-law"} | with_strategy(values))
        tune = values.get("tune")
        if not isinstance(tune, TuneSettings):
            tune = settings.section(tune, "tune")
            splits = {"kind": "committee", "vary": "bootstrap-splits"}
            tune["sampler"] = strategies.beneath("tune.sampler", splits, tune.get("sampler"))
            values["tune"] = tune
        return _with_target(values)

    @model_validator(mode="after")
    def _parts_fit(self) -> "CagoConfig":
        require_part(self.reference, "reference", "label", NEEDS_POOL)
        require_part(self.explore, "explore", "dynamics", "makes no rounds; use cago")
        if self.acquire.kind not in _TAKES_FRAMES:
            raise ConfigError(
                f"acquire.kind: {self.acquire.kind!r} takes no frames of dynamics; use one of "
                f"{', '.join(_TAKES_FRAMES)}."
            )
        _check_target(self.target)
        self._check_committee()
        if (attack := getattr(self.acquire, "attack", None)) and (
            attack.target != self.target.forces
        ):
            raise ConfigError(
                f"acquire.attack.target: is target.forces, {self.target.forces}; leave it out."
            )
        beyond = getattr(self.acquire, "beyond_calibration", False)
        if beyond and not self.calibrate.has_range:
            raise ConfigError(
                f"acquire.beyond_calibration: {self.calibrate.kind} knows no range to be beyond; "
                "leave it out, or set calibrate.kind to power-law."
            )
        if (hot := getattr(self.acquire, "temperature", None)) is not None:
            self.explore.dynamics(1, hot)
        return self

    def _check_committee(self) -> None:
        sampler = self.tune.sampler
        sampler.require_fixed()
        members = sampler.count
        if members < 2:
            raise ConfigError(
                f"tune.sampler: a single fit by {sampler.kind!r} has no spread, which rounds of "
                "cago need; set tune.sampler.kind to committee."
            )
        for name in ("attackers", "training_attackers"):
            if (getattr(self.acquire, name, None) or 0) > members:
                raise ConfigError(
                    f"acquire.{name}: {getattr(self.acquire, name)} of {members} members cannot "
                    "attack; ask for fewer, or for more tune.sampler.members."
                )
        if self.tune.begin == "last" and not sampler.begins_at_members:
            raise ConfigError(
                f"tune.begin: {sampler.kind} cannot go on from members; leave it at foundation, or "
                "set tune.sampler.kind to committee."
            )
        if self.tune.begin == "last" and self.data.valid is None:
            raise ConfigError(
                "tune.begin: the last members have seen all labels, so that none of them can say "
                "how far they err; give structures for that as data.valid, or leave it at "
                "foundation."
            )


#: said of any other target than one for all atoms
_ONE = "target.forces: rounds of cago want one force error for all atoms, as '100 meV/Å'."


def _check_target(target: Any) -> None:
    if not isinstance(target.forces, str):
        raise ConfigError(_ONE)
    usual = type(target).model_fields["probability"].default
    for name, given in (
        ("energy", target.energy is not None),
        ("probability", target.probability != usual),
    ):
        if given:
            raise ConfigError(f"target.{name}: rounds of cago have no use for it; leave it out.")


def _with_target(values: dict[str, Any]) -> dict[str, Any]:
    """``target.forces`` beneath ``acquire.attack.target``, where frames are attacked."""
    target, acquire = values.get("target"), values.get("acquire")
    if strategies.kind_of("acquire", acquire) not in (None, "attack"):
        return values
    if isinstance(acquire, Settings):
        return values
    if isinstance(forces_of(target), dict):
        raise ConfigError(_ONE)
    acquire = {"kind": "attack"} | settings.section(acquire, "acquire")
    return {**values, "acquire": with_attack_target(acquire, target)}
