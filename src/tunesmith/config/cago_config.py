"""What `tunesmith run` needs to know of rounds that make their own structures (CAGO)."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from tunesmith import settings
from tunesmith.config import strategies
from tunesmith.config.sections import (
    DEFAULT,
    ENERGY_KEY,
    ExecuteSettings,
    ModelSettings,
    TuneSettings,
    forces_of,
    require_engine,
    require_fixed,
    require_part,
    with_attack_target,
    with_belief,
    with_strategy,
)
from tunesmith.contracts import FrameExplorer, FrameRule
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import ACQUIRERS
from tunesmith.settings import OneOf, one_or_more


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

    @property
    def goes_on(self) -> bool:
        return self.begin == "last"


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
        require_engine(self.reference)
        require_part(self.explore, "explore", FrameExplorer, "makes no rounds; use cago")
        if not isinstance(self.acquire, FrameRule):  # only then are all rules imported
            takers = [k for k in ACQUIRERS.entries if issubclass(ACQUIRERS.own(k), FrameRule)]
            why = f"takes no frames of dynamics; use one of {', '.join(takers)}"
            require_part(self.acquire, "acquire", FrameRule, why)
        _check_target(self.target)
        self._check_committee()
        attack = self.acquire.attacked
        if attack is not None and attack.target != self.target.forces:
            raise ConfigError(
                f"acquire.attack.target: is target.forces, {self.target.forces}; leave it out."
            )
        if self.acquire.beyond and not self.calibrate.has_range:
            raise ConfigError(
                f"acquire.beyond_calibration: {self.calibrate.kind} knows no range to be beyond; "
                "leave it out, or set calibrate.kind to power-law."
            )
        if self.acquire.hotter is not None:
            self.explore.dynamics(1, self.acquire.hotter)
        return self

    def _check_committee(self) -> None:
        sampler = self.tune.sampler
        require_fixed(self.tune)
        members = sampler.count
        if members < 2:
            raise ConfigError(
                f"tune.sampler: a single fit by {sampler.kind!r} has no spread, which rounds of "
                "cago need; set tune.sampler.kind to committee."
            )
        if not self.tune.spread.of_forces:
            raise ConfigError(
                f"tune.spread: {self.tune.spread.kind} knows no error of forces, by which rounds "
                "of cago choose and attack; set it to members."
            )
        self.acquire.check(members)
        if self.tune.goes_on and not sampler.begins_at_members:
            raise ConfigError(
                f"tune.begin: {sampler.kind} cannot go on from members; leave it at foundation, or "
                "set tune.sampler.kind to committee."
            )
        if self.tune.goes_on and self.data.valid is None:
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
    return {**values, "acquire": with_attack_target(acquire, target, "acquire.attack")}
