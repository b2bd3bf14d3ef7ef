"""What `tunesmith select` needs to know."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from tunesmith.config.sections import DEFAULT, ModelSettings, require_part
from tunesmith.contracts import Acquirer
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.kernels import Kernel
from tunesmith.registry import ACQUIRERS, nearest
from tunesmith.settings import NotGivenError, OneOf, build

#: rules that ``--rule`` has a name for, and what of ``acquire`` makes each
_GREEDY = ("lcmd", "posterior-variance", "kcenter")
RULES: dict[str, dict[str, str]] = {
    **{rule: {"kind": "greedy", "rule": rule} for rule in _GREEDY},
    "top": {"kind": "committee"},
    "random": {"kind": "random"},
}


class SelectConfig(Settings):
    """Everything `tunesmith select` needs to know, but for files."""

    model: ModelSettings = ModelSettings()
    acquire: Annotated[Any, OneOf("acquire", "greedy")] = DEFAULT
    map: Annotated[Any, OneOf("map", optional=True)] = Field(
        default=None,
        description="what the map and the nearest labelled structure are by; null: what the rule "
        "compares by, ntk where it compares by nothing",
    )
    new_elements: bool = Field(
        default=False, description="take elements that no labelled structure has"
    )
    seed: int = Field(default=0, ge=0, description="the one source of every random number")

    @model_validator(mode="after")
    def _rule_chooses(self) -> "SelectConfig":
        require_part(
            self.acquire, "acquire", Acquirer, "judges one structure at a time; use greedy"
        )
        if "batch" not in self.acquire.model_fields_set:
            raise NotGivenError("acquire.batch: not given, but needed; say how many with --n N.")
        return self

    @property
    def rule(self) -> str:
        """What people call it: by its name as an option, else its kind."""
        for name, settings in RULES.items():
            if all(getattr(self.acquire, key) == value for key, value in settings.items()):
                return name
        return str(self.acquire.kind)

    @property
    def drawn_by(self) -> tuple[Any, Kernel]:
        """Representation and kernel of the map."""
        if self.map is not None:
            return self.map, self.map.kernel
        usual: Any = build(Settings, "ntk", "map")
        return self.acquire.compares_by or (usual, usual.kernel)

    @property
    def compared_by(self) -> tuple[Any, Kernel]:
        """Those of the rule; of the map where the rule compares by nothing."""
        return self.acquire.compares_by or self.drawn_by

    @property
    def asks_model(self) -> bool:
        """Whether rule or representations look at a model."""
        asks = any(by.needs_model for by, _ in (self.drawn_by, self.compared_by))
        return bool(self.acquire.asks_members or asks)


def settings_of_rule(name: str) -> dict[str, str]:
    """Dotted path → value of what ``--rule`` is short for. Raises `ConfigError`."""
    known = list(dict.fromkeys([*RULES, *ACQUIRERS.names()]))
    if name not in known:
        raise ConfigError(f"--rule: there is no {name!r}; {nearest(name, known)}")
    if name not in RULES and not issubclass(ACQUIRERS.get(name), Acquirer):
        raise ConfigError(f"--rule: {name!r} does not choose among candidates; use lcmd.")
    return {f"acquire.{key}": value for key, value in RULES.get(name, {"kind": name}).items()}
