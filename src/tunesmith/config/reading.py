"""Configurations from YAML and overrides, back to YAML, and the templates of all commands."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from tunesmith import settings, yamltext
from tunesmith.config.attack_config import AttackConfig
from tunesmith.config.cago_config import CagoConfig
from tunesmith.config.check_config import CheckConfig
from tunesmith.config.onthefly_config import RunConfig
from tunesmith.config.pool_config import PoolConfig
from tunesmith.config.select_config import SelectConfig
from tunesmith.config.tune_config import LabelConfig, TuneConfig
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import EXPLORERS, RUNS, SECTIONS, nearest
from tunesmith.settings import build, merged, plain

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
    "cago": (
        CagoConfig,
        {
            "reference": {"kind": "tblite"},
            "target": {"forces": "100 meV/Å"},
            "explore": {"kind": "cago", "start": ["start.xyz"]},
        },
    ),
    "attack": (
        AttackConfig,
        {"attack": {"target": "100 meV/Å"}, "reference": {"kind": "tblite"}},
    ),
    "select": (SelectConfig, {"acquire": {"batch": 100}}),
    "check": (CheckConfig, {"dynamics": {"time": "5 ps"}}),
}


def load(
    cls: type[settings.C],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    shortcuts: Mapping[str, Any] | None = None,
) -> settings.C:
    """A configuration from a YAML file (or defaults), changed by command-line settings.

    cls: that of a command, as `TuneConfig`. overrides: texts such as
    ``"tune.sampler.epochs=50"``. shortcuts: dotted path → value, of the options that have a name of
    their own. Both win over the file. Raises `ConfigError`.
    """
    raw = yamltext.read(path) if path is not None else {}
    return build(cls, merged(cls, raw, overrides, shortcuts or {}))


def kind_of(
    cls: type[Settings],
    section: str,
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    shortcuts: Mapping[str, Any] | None = None,
) -> str | None:
    """The kind that a section has in what `load` would read, whether there is such a kind or not;
    None where none is given and none is the default."""
    raw = yamltext.read(path) if path is not None else {}
    return settings.kind_at(cls, merged(cls, raw, overrides, shortcuts or {}), section)


def load_run(path: str | Path | None, overrides: Sequence[str] = ()) -> Any:
    """What `tunesmith run` is given, of the class that `RUNS` has for ``explore.kind``.

    As `load` otherwise.
    """
    raw = yamltext.read(path) if path is not None else {}
    changed = merged(RunConfig, raw, overrides, {})
    kind = settings.section(changed.get("explore"), "explore").get("kind", "md")
    if kind in RUNS.names():
        return load(RUNS.get(kind), path, overrides)
    if isinstance(kind, str):
        EXPLORERS.get(kind)  # what is none is said before other settings are looked at
    return load(RunConfig, path, overrides)


def dump(config: Settings) -> str:
    """The resolved configuration as YAML; loads back to an equal object."""
    return yamltext.write(plain(config))


def template(name: str, overrides: Sequence[str] = (), *, short: bool = False) -> str:
    """Every setting of a command with its default and what it means, as YAML; short: only what is
    needed.

    name: one of `TEMPLATES`, or of a run that another package brings. overrides: texts such as
    ``"reference.kind=cp2k"``. What has no default is marked as needed.
    """
    if name in (others := [kind for kind, _ in RUNS.others()]):
        cls, start = RUNS.get(name), {"explore": {"kind": name}}
        start |= {"reference": {"kind": "tblite"}} if "reference" in cls.model_fields else {}
    elif name in TEMPLATES:
        cls, start = TEMPLATES[name]
    else:
        known = [*TEMPLATES, *others]
        raise ConfigError(f"there is no template {name!r}; {nearest(name, known)}")
    least = merged(cls, start, overrides, {})
    raw = cls.filled(least)
    with contextlib.suppress(settings.NotGivenError):
        build(cls, raw)  # whatever else is wrong is said
    file = "FILE" if "explore" in cls.model_fields else "--config FILE"
    command = "run" if file == "FILE" else name
    if short:
        full = f"all settings: tunesmith template {name}"
        return f"# tunesmith {command} {file}: what is needed; {full}\n{yamltext.write(least)}"
    return "\n".join([f"# tunesmith {command} {file}: every setting", *_lines(cls, raw, ""), ""])


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
        absent = values.get(key) is None and settings.may_be_null(field)
        if not absent and (here in SECTIONS or (nested and not several)):
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
