"""Configurations: YAML and command-line overrides in, frozen objects out.

Each setting lives once, as a field of a `Settings` class with its default and description;
sections that hold a ``kind`` become the object registered under that name. What cannot be
understood is refused with the full path of the setting.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_origin

from ase.data import atomic_numbers
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tunesmith import settings, units, yamltext
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import SECTIONS, nearest
from tunesmith.settings import OneOf, build, merged, one_or_more, plain
from tunesmith.tune import strategies

_NEEDS_POOL = "is of a pool (`tunesmith template pool`); use an engine such as tblite"
_KEY = "where energies stand in the files; null: REF_energy, then energy"
#: of a section whose settings all have defaults: the object of its default kind
_DEFAULT = Field(default=None, validate_default=True)

# --------------------------------------------------------------------------- sections


def _device(value: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", value):
        raise ValueError(f"there is no device {value!r}; use cpu, cuda, cuda:N or mps.")
    return value


def _isolated_energies(table: Any) -> Any:
    """Symbol → energy in eV; a text carries its unit, a number is in eV."""
    if not isinstance(table, Mapping):
        return table
    for symbol in table:
        if symbol not in atomic_numbers or symbol == "X":
            raise ValueError(f"there is no element {symbol!r}.")
    return {
        s: units.parse(e, "energy", field=f"table.{s}").value if isinstance(e, str) else e
        for s, e in table.items()
    }


def _positive(dimension: str, path: str) -> AfterValidator:
    """Validator of a text that is a quantity over zero."""

    def check(text: str | None) -> str | None:
        if text is not None and units.parse(text, dimension, field=path).value <= 0:
            raise ConfigError(f"{path}: {text!r} must be over zero.")
        return text

    return AfterValidator(check)


class ModelSettings(Settings):
    """The potential to start from."""

    source: str = Field(
        default="organic-xs", description="name of a known model, a model file or a run folder"
    )
    head: str | None = Field(default=None, description="head of a multi-head model")
    dtype: Literal["float32", "float64"] = Field(
        default="float32", description="precision of the compute"
    )
    device: Annotated[str, AfterValidator(_device)] = Field(
        default="cpu", description="cpu, cuda, cuda:N or mps"
    )


class DataSettings(Settings):
    """Labelled structures to learn from."""

    train: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        min_length=1,
        description="files of labelled structures: extxyz, ASE db, traj, vasprun, OUTCAR",
    )
    valid: str | None = Field(
        default=None, description="file of structures that decide the best epoch"
    )
    valid_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of train held out instead where valid is null"
    )
    energy_key: str | None = Field(default=None, description=_KEY)
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")
    accept: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="codes of the doctor's findings that are right as they are"
    )


class E0Settings(Settings):
    """How energies of isolated atoms align the labels with the model."""

    method: Literal["auto", "isolated", "reestimate", "foundation", "average", "table"] = Field(
        default="auto", description="auto, isolated, reestimate, foundation, average or table"
    )
    table: Annotated[dict[str, float] | None, BeforeValidator(_isolated_energies)] = Field(
        default=None,
        description="for method table: {H: -13.6, ...} in eV, or with a unit: '-0.5 Ha'",
    )

    @model_validator(mode="after")
    def _table_is_used(self) -> "E0Settings":
        if self.method == "table" and not self.table:
            raise ValueError("method 'table' needs table, as {H: -13.6, C: -1029.1}.")
        if self.method != "table" and self.table is not None:
            raise ValueError(f"table is given but method is {self.method!r}; set method to table.")
        return self


class TuneSettings(Settings):
    """Which weights move, what holds them, how they move, and towards what."""

    subspace: Annotated[Any, OneOf("tune.subspace", "all")] = _DEFAULT
    anchor: Annotated[Any, OneOf("tune.anchor", "none")] = _DEFAULT
    sampler: Annotated[Any, OneOf("tune.sampler", "adamw")] = _DEFAULT
    loss: Annotated[Any, OneOf("tune.loss", "huber")] = _DEFAULT
    e0: E0Settings = E0Settings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A sampler of posteriors has a likelihood and a prior, and a prior adapters that are
        linear in what moves, unless others are given."""

        def kind(name: str) -> Any:
            given = strategies.kind_of(f"tune.{name}", values.get(name))
            return given or settings.default_kind(cls, name)

        def beneath(name: str, **layer: str) -> None:
            values[name] = strategies.beneath(f"tune.{name}", layer, values.get(name))

        if kind("sampler") in strategies.POSTERIORS:
            for name in ("loss", "anchor"):
                beneath(name, kind="gaussian")
        if kind("anchor") == "gaussian" and kind("subspace") == "lora":
            beneath("subspace", kind="lora", factors="outer")
        return values

    @model_validator(mode="after")
    def _go_together(self) -> "TuneSettings":
        wrong = strategies.contradiction(self.subspace, self.anchor, self.sampler, self.loss)
        if wrong:
            raise ConfigError(wrong)
        return self


class ExecuteSettings(Settings):
    """Where and how the work is done."""

    threads: int = Field(
        default=1, ge=1, description="threads of each process; part of exact repetition"
    )
    processes: int = Field(
        default=2, ge=1, description="that share chains or a committee; changes no number"
    )


def _with_strategy(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values, those of its ``strategy`` beneath what ``tune`` was given."""
    if values.get("strategy") is None:
        return values
    layers, tune = strategies.named(values["strategy"]).settings, values.get("tune")
    if isinstance(tune, TuneSettings):
        tune = {name: getattr(tune, name) for name in tune.model_fields_set}
    tune = settings.section(tune, "tune")
    for name, layer in layers.items():
        tune[name] = strategies.beneath(f"tune.{name}", layer, tune.get(name))
    return {**values, "tune": tune}


def _require(chosen: Any, section: str, attribute: str, why: str) -> None:
    """Raise `ConfigError` for an object of a section that lacks what a kind of run needs."""
    if not hasattr(chosen, attribute):
        raise ConfigError(f"{section}.kind: {chosen.kind!r} {why}.")


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
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The strategy's values beneath what ``tune`` was given."""
        return _with_strategy(values)

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

    @model_validator(mode="after")
    def _all_labels_are_there(self) -> "TuneConfig":
        if require := getattr(self.tune.sampler, "require_fixed", None):
            require()
        return self

    @model_validator(mode="after")
    def _scope_is_kept(self) -> "TuneConfig":
        anchor = self.tune.anchor
        if self.scope == "broad" and not self.undecided and not getattr(anchor, "has_head", False):
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
        _require(self.reference, "reference", "label", _NEEDS_POOL)
        return self


# ----------------------------------------------------------------------- on the fly


class InitialDataSettings(Settings):
    """Labels there are before the run starts."""

    initial: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        default=(), description="files of labelled structures to start from; none: the start alone"
    )
    energy_key: str | None = Field(default=None, description=_KEY)
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

    anchor: Annotated[Any, OneOf("tune.anchor", "gaussian")] = _DEFAULT
    sampler: Annotated[Any, OneOf("tune.sampler", "sghmc")] = _DEFAULT
    loss: Annotated[Any, OneOf("tune.loss", "gaussian")] = _DEFAULT
    e0: E0Settings = E0Settings(method="reestimate")

    @model_validator(mode="after")
    def _is_a_posterior(self) -> "PosteriorSettings":
        for name, attribute in (("sampler", "update"), ("loss", "is_likelihood")):
            chosen = getattr(self, name)
            if not hasattr(chosen, attribute):
                raise ConfigError(
                    f"tune.{name}: {chosen.kind!r} gives no posterior that learns on with every "
                    f"label, which a run needs; use {settings.default_kind(type(self), name)}."
                )
        return self


class LockOutSettings(Settings):
    """What answers errors that no error bar explains: longer sampling, twice, four times, …"""

    longer: float = Field(default=2, gt=1, description="sampling is made longer by this factor")
    most: float = Field(default=8, ge=1, description="but not more than this much longer")
    patience: int = Field(
        default=10, ge=0, description="labels in a row at the longest before the run gives up"
    )


class LoopSettings(Settings):
    """When a run ends, and what it does when something goes wrong."""

    max_labels: int | None = Field(default=None, ge=1, description="ends after so many labels")
    rare: Annotated[str | None, _positive("time", "loop.rare")] = Field(
        default=None, description="ends after this time without a label, as 2 ps"
    )
    on_failure: Literal["stop", "skip", "retry"] = Field(
        default="stop", description="a reference call fails: stop, skip (go on) or retry (later)"
    )
    retry_after: Annotated[str, _positive("time", "loop.retry_after")] = Field(
        default="50 fs", description="for skip and retry: no call before this time has passed"
    )
    max_failures: int = Field(default=5, ge=1, description="failed calls in a row that end a run")
    max_explosions: int = Field(default=3, ge=1, description="explosions in a row that end a run")
    lock_out: LockOutSettings = LockOutSettings()
    checkpoint_every: Annotated[str, _positive("wall time", "loop.checkpoint_every")] = Field(
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
    acquire: Annotated[Any, OneOf("acquire", "threshold")] = _DEFAULT
    tune: PosteriorSettings = Field(default_factory=PosteriorSettings)
    calibrate: Annotated[Any, OneOf("calibrate", "gamma")] = _DEFAULT
    loop: LoopSettings = LoopSettings()
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @model_validator(mode="after")
    def _goes_step_by_step(self) -> "RunConfig":
        _require(self.reference, "reference", "label", _NEEDS_POOL)
        _require(self.explore, "explore", "init", "has no steps; see `tunesmith template pool`")
        why = "chooses from many at once, not step by step; use threshold"
        _require(self.acquire, "acquire", "decide", why)
        if getattr(self.acquire, "spread", "members") == "ntk" and (
            self.target.forces is not None or self.acquire.regions
        ):
            raise ConfigError(
                "acquire.spread: ntk knows no error of forces; leave target.forces and "
                "acquire.regions out, or set it to members."
            )
        return self


# ---------------------------------------------------------------------- from a pool


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
    energy_key: str | None = Field(default=None, description=_KEY)
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")


class RoundSettings(TuneSettings):
    """As for one fit, but by default as long as the number of labels asks for."""

    sampler: Annotated[Any, OneOf("tune.sampler", "by-size")] = _DEFAULT


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
    acquire: Annotated[Any, OneOf("acquire", "greedy")] = _DEFAULT
    strategy: str | None = Field(
        default=None,
        description="fills what tune is not given (tunesmith strategies); null: by-size",
    )
    tune: RoundSettings = Field(default_factory=RoundSettings)
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The strategy's values beneath what ``tune`` was given."""
        return _with_strategy(values)

    @model_validator(mode="after")
    def _parts_fit(self) -> "PoolConfig":
        _require(self.explore, "explore", "begin", "has no candidates; use pool")
        _require(self.acquire, "acquire", "choose", "judges one structure at a time; use greedy")
        if require := getattr(self.tune.sampler, "require_fixed", None):
            require()
        score = self.acquire.score
        if score is not None and getattr(self.tune.sampler, "members", 1) < 2:
            raise ConfigError(
                f"acquire.score: {score} is how far members disagree, and tune.sampler gives one; "
                "set tune.sampler.members to 3."
            )
        if score is not None and not self.data.initial and not self.explore.start:
            raise ConfigError(
                "explore.start: the first committee needs labels to learn; give a number, as 5, or "
                "files as data.initial."
            )
        return self


#: kind of explorer → what `tunesmith run` needs to know; `RunConfig` for all others
RUNS: dict[str, type[Settings]] = {"pool": PoolConfig}

#: name of a template → its class, and a start for what has no default
TEMPLATES: dict[str, tuple[type[Settings], dict[str, Any]]] = {
    "tune": (TuneConfig, {"data": {"train": ["train.xyz"]}}),
    "label": (LabelConfig, {"reference": {"kind": "tblite"}}),
    "run": (
        RunConfig,
        {
            "reference": {"kind": "pyscf"},
            "target": {"energy": "0.5 kcal/mol"},
            "explore": {"start": ["start.xyz"]},
        },
    ),
    "pool": (
        PoolConfig,
        {
            "reference": {"kind": "hidden"},
            "data": {"valid": "valid.xyz"},
            "explore": {"kind": "pool", "files": ["pool.xyz"]},
        },
    ),
}


def load(
    cls: type[settings.C],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    shortcuts: Mapping[str, Any] | None = None,
) -> settings.C:
    """A configuration from a YAML file (or defaults), changed by command-line settings.

    cls: `TuneConfig`, `LabelConfig`, `RunConfig` or `PoolConfig`. overrides: texts such as
    ``"tune.sampler.epochs=50"``. shortcuts: dotted path → value, of the options that have a name
    of their own. Both win over the file. Raises `ConfigError`.
    """
    raw = yamltext.read(path) if path is not None else {}
    return build(cls, merged(cls, raw, overrides, shortcuts or {}))


def load_run(path: str | Path | None, overrides: Sequence[str] = ()) -> Any:
    """What `tunesmith run` is given: a `RunConfig`, or a `PoolConfig` where ``explore`` is a pool.

    As `load` otherwise.
    """
    raw = yamltext.read(path) if path is not None else {}
    changed = merged(RunConfig, raw, overrides, {})
    kind = settings.section(changed.get("explore"), "explore").get("kind")
    return load(RUNS.get(str(kind), RunConfig), path, overrides)


def dump(config: Settings) -> str:
    """The resolved configuration as YAML; loads back to an equal object."""
    return yamltext.write(plain(config))


def template(name: str, overrides: Sequence[str] = ()) -> str:
    """Every setting of a command with its default and what it means, as YAML.

    name: ``"tune"``, ``"label"``, ``"run"`` or ``"pool"``. overrides: texts such as
    ``"reference.kind=cp2k"``. What has no default is marked as needed.
    """
    if name not in TEMPLATES:
        raise ConfigError(f"there is no template {name!r}; {nearest(name, list(TEMPLATES))}")
    cls, start = TEMPLATES[name]
    raw = cls.filled(merged(cls, start, overrides, {}))
    with contextlib.suppress(settings.NotGivenError):
        build(cls, raw)  # whatever else is wrong is said
    return "\n".join(
        [f"# tunesmith {name} --config FILE: every setting", *_lines(cls, raw, ""), ""]
    )


def _lines(
    cls: type[Settings], value: Any, path: str, default_kind: str | None = None
) -> list[str]:
    indent = "  " * (path.count(".") + 1 if path else 0)
    values, lines = settings.section(value, path), []
    if path in SECTIONS:
        kind, known = values.get("kind", default_kind), SECTIONS[path].names()
        cls = settings.class_of(cls, values, path, default_kind)
        if len(known) > 1 or hasattr(cls, "kind"):
            lines.append(f"{indent}kind: {kind}  # one of {', '.join(known)}")
    for key, field in cls.model_fields.items():
        here, nested = settings.join(path, key), settings.nested(field.annotation)
        several = get_origin(field.annotation) is tuple  # of sections: written as a list
        if here in SECTIONS or (nested and not several):
            kind = settings.default_kind(cls, key)
            given = settings.section(values.get(key), here)
            if nested:
                given = nested.filled(given)
            if nested and not field.is_required():  # a default of the field, not of its class
                given = plain(field.get_default(call_default_factory=True)) | given
            lines.append(f"{indent}{key}:")
            lines += _lines(nested or Settings, given, here, kind)
            continue
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        comment = ("needed: " if field.is_required() else "") + (field.description or "")
        text = f"{indent}{key}: {yamltext.inline(plain(values.get(key, default)))}"
        one_line = f"{text}  # {comment}" if comment else text
        lines += [one_line] if len(one_line) <= 100 else [f"{indent}# {comment}", text]
    return lines
