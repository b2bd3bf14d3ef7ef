"""Configurations: YAML and command-line overrides in, frozen objects out.

Each setting lives once, as a field of a `Settings` class with its default and description;
sections that hold a ``kind`` become the object registered under that name. What cannot be
understood is refused with the full path of the setting.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from tunesmith import settings, units, yamltext
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import SECTIONS, nearest
from tunesmith.settings import build, merged, plain

# --------------------------------------------------------------------------- sections


def _kind_of(section: str) -> Any:
    """Validator of a field that holds the object of a section with a ``kind``."""

    def convert(value: Any) -> Any:
        return value if isinstance(value, BaseModel) else build(Settings, value, section)

    return BeforeValidator(convert)


def _default(section: str) -> Any:
    return Field(default_factory=lambda: build(Settings, None, section))


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


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

    train: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = Field(
        min_length=1,
        description="files of labelled structures: extxyz, ASE db, traj, vasprun, OUTCAR",
    )
    valid: str | None = Field(
        default=None, description="file of structures that decide the best epoch"
    )
    valid_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of train held out instead where valid is null"
    )
    energy_key: str | None = Field(
        default=None, description="where energies stand in the files; null: REF_energy, then energy"
    )
    forces_key: str | None = Field(default=None, description="the same for forces")
    stress_key: str | None = Field(default=None, description="the same for stress")


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

    subspace: Annotated[Any, _kind_of("tune.subspace")] = _default("tune.subspace")
    anchor: Annotated[Any, _kind_of("tune.anchor")] = _default("tune.anchor")
    sampler: Annotated[Any, _kind_of("tune.sampler")] = _default("tune.sampler")
    loss: Annotated[Any, _kind_of("tune.loss")] = _default("tune.loss")
    e0: E0Settings = E0Settings()


class ExecuteSettings(Settings):
    """Where and how the work is done."""

    threads: int = Field(
        default=1, ge=1, description="threads of each process; part of exact repetition"
    )


class TuneConfig(Settings):
    """Everything `tunesmith tune` needs to know."""

    model: ModelSettings = ModelSettings()
    data: DataSettings
    tune: TuneSettings = Field(default_factory=TuneSettings)
    seed: int = Field(default=0, ge=0, description="the one source of every random number")
    execute: ExecuteSettings = ExecuteSettings()


class LabelConfig(Settings):
    """Everything `tunesmith label` needs to know."""

    reference: Annotated[Any, _kind_of("reference")] = Field(description="who knows the answer")


#: name of a template → its class, and a start for what has no default
TEMPLATES: dict[str, tuple[type[Settings], dict[str, Any]]] = {
    "tune": (TuneConfig, {"data": {"train": ["train.xyz"]}}),
    "label": (LabelConfig, {"reference": {"kind": "tblite"}}),
}


def load(
    cls: type[settings.C],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    shortcuts: Mapping[str, Any] | None = None,
) -> settings.C:
    """A configuration from a YAML file (or defaults), changed by command-line settings.

    cls: `TuneConfig` or `LabelConfig`. overrides: texts such as ``"tune.sampler.epochs=50"``.
    shortcuts: dotted path → value, of the options that have a name of their own. Both win over
    the file. Raises `ConfigError`.
    """
    raw = yamltext.read(path) if path is not None else {}
    return build(cls, merged(raw, overrides, shortcuts or {}))


def dump(config: Settings) -> str:
    """The resolved configuration as YAML; loads back to an equal object."""
    return yamltext.write(plain(config))


def template(name: str, overrides: Sequence[str] = ()) -> str:
    """Every setting of ``"tune"`` or ``"label"`` with its default and what it means, as YAML.

    overrides: texts such as ``"reference.kind=cp2k"``. What has no default is marked as needed.
    """
    if name not in TEMPLATES:
        raise ConfigError(f"there is no template {name!r}; {nearest(name, list(TEMPLATES))}")
    cls, start = TEMPLATES[name]
    raw = merged(start, overrides, {})
    with contextlib.suppress(settings.NotGivenError):
        build(cls, raw)  # whatever else is wrong is said
    return "\n".join(
        [f"# tunesmith {name} --config FILE: every setting", *_lines(cls, raw, ""), ""]
    )


def _lines(cls: type[Settings], value: Any, path: str) -> list[str]:
    indent = "  " * (path.count(".") + 1 if path else 0)
    values, lines = settings.section(value, path), []
    if path in SECTIONS:
        kind, known = values.get("kind", settings.DEFAULT_KINDS.get(path)), SECTIONS[path].names()
        lines.append(f"{indent}kind: {kind}  # one of {', '.join(known)}")
        cls = settings.class_of(cls, values, path)
    for key, field in cls.model_fields.items():
        here, nested = settings.join(path, key), settings.nested(field.annotation)
        if here in SECTIONS or nested:
            lines += [f"{indent}{key}:", *_lines(nested or Settings, values.get(key), here)]
            continue
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        comment = ("needed: " if field.is_required() else "") + (field.description or "")
        text = f"{indent}{key}: {yamltext.inline(plain(values.get(key, default)))}"
        one_line = f"{text}  # {comment}" if comment else text
        lines += [one_line] if len(one_line) <= 100 else [f"{indent}# {comment}", text]
    return lines
