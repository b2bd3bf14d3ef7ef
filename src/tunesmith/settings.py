"""How settings are built from mappings, changed by overrides, and turned back into mappings.

A section with a ``kind`` becomes the object registered under that name. What cannot be
understood is refused in one sentence that starts with the full path of the setting.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from tunesmith import yamltext
from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import SECTIONS, nearest

C = TypeVar("C", bound=Settings)
#: sections that may be written as one plain value, and which setting that value is
SHORTHAND = {"model": "source", "tune.e0": "method"} | dict.fromkeys(SECTIONS, "kind")


#: what is held in memory at once, or started at once, by the name of the setting
MOST = {
    **dict.fromkeys(("members", "together", "attackers", "training_attackers"), 1000),
    **{"walkers": 10_000, "replicas": 10_000, "processes": 1024, "threads": 1024, "rank": 4096},
    **{"columns": 2**17, "bits": 2**20, "n_max": 40, "radius": 20},
}
_MOST = 10**9  # of any other whole number, but the seed


class NotGivenError(ConfigError):
    """A setting without a default is absent."""


@dataclass(frozen=True)
class OneOf:
    """Annotation of a field that holds the object of a section with a ``kind``.

    section: its dotted path, which has a registry. default: the kind where none is named; None
    where one must be. optional: whether null means that there is no such object.
    """

    section: str
    default: str | None = None
    optional: bool = False

    def __call__(self, value: Any) -> Any:
        if isinstance(value, BaseModel) or (value is None and self.optional):
            return value
        return build(Settings, value, self.section, default=self.default)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self, handler(source))


def default_kind(cls: type[Settings], path: str) -> str | None:
    """The kind that a class of settings gives the section at ``path`` where none is named."""
    here: type[Settings] | None = cls
    *parents, last = path.split(".")
    for key in parents:
        field = here.model_fields.get(key) if here else None
        here = nested(field.annotation) if field else None
    field = here.model_fields.get(last) if here else None
    kinds = [one.default for one in _choices(field)]
    return kinds[0] if kinds else None


def may_be_null(field: FieldInfo) -> bool:
    """Whether a field holds the object of a section, or none."""
    return any(one.optional for one in _choices(field))


def _choices(field: FieldInfo | None) -> list[OneOf]:
    return [m for m in field.metadata if isinstance(m, OneOf)] if field else []


def kind_at(cls: type[Settings], raw: Mapping[str, Any], path: str) -> str | None:
    """The kind that the section at ``path`` has in a raw configuration of ``cls``."""
    here: type[Settings] | None = cls
    values, done = cls.filled(dict(raw)), ""
    *parents, last = path.split(".")
    for key in parents:
        field, done = (here.model_fields.get(key) if here else None), join(done, key)
        here = nested(field.annotation) if field else None
        values = section(values.get(key), done)
        values = here.filled(values) if here else values
    given: str | None = section(values.get(last), path).get("kind")
    return given or default_kind(cls, path)


# ------------------------------------------------------------------ mappings to objects


def join(*parts: object) -> str:
    """A dotted path."""
    return ".".join(str(p) for p in parts if p != "")


def _show(value: Any) -> str:
    if isinstance(value, bool | int | float | list | dict | None):
        return yamltext.inline(value)[:60]
    return repr(value)


def section(value: Any, path: str) -> dict[str, Any]:
    """The settings of one section, with its shorthand written out."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str) and path in SHORTHAND:
        return {SHORTHAND[path]: value}
    raise ConfigError(f"{path}: {_show(value)} was given, but a section with settings is needed.")


def class_of(
    cls: type[C], values: dict[str, Any], path: str, default: str | None = None
) -> type[C]:
    """The class that describes a section: the registered one where there is a ``kind``."""
    if path not in SECTIONS:
        return cls
    kind = values.pop("kind", default)
    if not isinstance(kind, str):
        said = "not given" if kind is None else f"{_show(kind)} was given"
        raise ConfigError(f"{path}.kind: {said}; use one of {', '.join(SECTIONS[path].names())}.")
    registered: type[C] = SECTIONS[path].get(kind)
    return registered


def types_in(annotation: Any) -> set[Any]:
    """An annotation and everything it is made of."""
    return {annotation}.union(*(types_in(a) for a in get_args(annotation)))


def nested(annotation: Any) -> type[Settings] | None:
    """The class of settings a field holds, where it holds one."""
    found = [t for t in types_in(annotation) if isinstance(t, type) and issubclass(t, Settings)]
    return found[0] if len(found) == 1 else None


def build(cls: type[C], value: Any, path: str = "", *, default: str | None = None) -> C:
    """The frozen object a section describes.

    value: the section as read from YAML (a mapping, its shorthand or nothing). path: its dotted
    path, used in messages and to find its registry, in which case ``cls`` may be `Settings`.
    default: the kind where the section names none. Raises `ConfigError` in one sentence that
    starts with the path of the culprit.
    """
    values = section(value, path) if path else dict(value)
    cls = class_of(cls, values, path, default)
    values = cls.filled(values)
    fields = cls.model_fields
    for key, field in fields.items():  # an absent section is an empty one: it names what it lacks
        if field.is_required() and (join(path, key) in SECTIONS or nested(field.annotation)):
            values.setdefault(key, None)
    for key, given in values.items():
        here = join(path, key)
        if key not in fields:
            raise ConfigError(f"{here}: no such setting{_instead(cls, path, str(key))}")
        types = types_in(fields[key].annotation)
        if isinstance(given, bool) and types & {int, float} and bool not in types:
            raise ConfigError(f"{here}: {_show(given)} was given, but a number is needed.")
        most = math.inf if key == "seed" else MOST.get(key, _MOST)
        if isinstance(given, int) and given > most:
            raise ConfigError(f"{here}: {given} was given, but at most {most} is possible.")
        below = nested(fields[key].annotation)
        if (
            below
            and get_origin(fields[key].annotation) is tuple
            and isinstance(given, list | tuple)
        ):
            values[key] = tuple(build(below, v, join(here, i)) for i, v in enumerate(given))
        elif below and not (given is None and type(None) in types):
            values[key] = build(below, given, here)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise _explained(error, cls, path) from None
    except ConfigError as error:
        if not path or str(error).startswith((f"{path}.", f"{path}:")):
            raise
        raise type(error)(f"{path}.{error}") from None


def _instead(cls: type[Settings], path: str, key: str) -> str:
    """What a setting that a section lacks may have been meant for, as the rest of a sentence: one
    of another name, or of another kind that can stand in for this one."""
    known = [*cls.model_fields, "kind"] if path in SECTIONS else list(cls.model_fields)
    said = nearest(key, known)
    if path not in SECTIONS or not said.startswith("known"):
        return f"; {said}"
    role = next((c for c in cls.__mro__ if c.__module__.startswith("tunesmith.contracts.")), cls)
    others = {kind: SECTIONS[path].own(kind) for kind in SECTIONS[path].entries}
    able = [k for k, c in others.items() if issubclass(c, role) and key in c.model_fields]
    if not able:
        return f"; {said}"
    choice, has = (able[0], "has") if len(able) == 1 else (f"one of {', '.join(able)}", "have")
    return f" of this kind; set {path}.kind to {choice}, which {has} it."


#: a number and its unit, as a default or an example of a description
_QUANTITY = re.compile(r"(?:^|as |as '|\()-?\d[\d.e+-]* ([^')\s,;]+)")
#: type of pydantic error, by its start → what was wanted
_WANTED = {
    "int_": "a whole number",
    "float_": "a number",
    "finite_number": "a finite number",
    "bool_": "true or false",
    "string_": "a text (a quantity with its unit, as '{given} {unit}'; a word in quotes, as "
    "'{given}')",
    "tuple_": "a list",
    "list_": "a list",
    "dict_": "a table of names and values",
    "greater_than_equal": "a value of at least {ge}",
    "greater_than": "a value greater than {gt}",
    "less_than_equal": "a value of at most {le}",
    "less_than": "a value less than {lt}",
    "literal_error": "one of {expected}",
    "too_short": "a list of at least {min_length}",
}


def _explained(error: ValidationError, cls: type[Settings], path: str) -> ConfigError:
    """The first complaint of pydantic as one sentence."""
    first = error.errors(include_url=False)[0]
    place = list(first["loc"])
    if len(place) > 1 and place[-1] in ("int", "float", "str", "bool"):  # branch of a union
        place.pop()
    here, kind, context = join(path, *place), first["type"], first.get("ctx", {})
    if kind == "missing":
        field = cls.model_fields.get(str(place[0])) if place else None
        what = f" ({field.description})" if field and field.description else ""
        return NotGivenError(f"{here}: not given, but needed{what}.")
    if kind in ("value_error", "assertion_error"):
        return ConfigError(f"{here}: {context['error']}")
    wanted = next((w for start, w in _WANTED.items() if kind.startswith(start)), None)
    given = _show(first["input"])
    unit = _unit(cls.model_fields.get(str(place[-1])) if place else None)
    wanted = wanted.format(**context, given=given, unit=unit) if wanted else first["msg"]
    return ConfigError(f"{here}: {given} was given, but {wanted} is needed.")


def _unit(field: FieldInfo | None) -> str:
    """That of a quantity's default, else of the example in its description; eV where none is."""
    texts = () if field is None else (field.default, field.description)
    for text in texts:
        if isinstance(text, str) and (found := _QUANTITY.search(text)):
            return found[1]
    return "eV"


def one_or_more(value: Any) -> Any:
    """A text alone as a tuple of one, for settings that take several."""
    return (value,) if isinstance(value, str) else value


# ----------------------------------------------------------------- objects to mappings


def plain(value: Any) -> Any:
    """Settings as mappings, lists, numbers and texts, every default written out."""
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        start = {"kind": kind} if isinstance(kind, str) else {}
        return start | {k: plain(getattr(value, k)) for k in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


# -------------------------------------------------------------------------- overrides


def named_values(
    texts: Sequence[str],
    option: str = "--set",
    form: str = "PATH=VALUE",
    example: str = "tune.sampler.epochs=50",
) -> dict[str, Any]:
    """What texts of an option say, each ``form`` and its value YAML. Raises `ConfigError`."""
    result: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not all(path.split(".")):
            raise ConfigError(f"{option} {text}: write {form}, as {example}.")
        if path in result:
            raise ConfigError(f"{option} {path}: given twice; keep one.")
        result[path] = yamltext.parse(value, f"{option} {path}")
    return result


def _place(cls: type[Settings], raw: dict[str, Any], path: str, value: Any) -> None:
    """Write one override into ``raw``; a change of ``kind`` starts its section afresh."""
    *parents, last = path.split(".")
    node, here = raw, ""
    for key in parents:
        here = join(here, key)
        node[key] = section(node.get(key), here)
        node = node[key]
    if here in SECTIONS and last == "kind":
        before = kind_at(cls, raw, here)
        if before not in (None, value):
            node.clear()
    node[last] = value


def merged(
    cls: type[Settings],
    raw: Mapping[str, Any],
    overrides: Sequence[str],
    shortcuts: Mapping[str, Any],
) -> dict[str, Any]:
    """A raw configuration of ``cls`` with the changes of the command line written into it."""
    merged = dict(raw)
    given = named_values(overrides)
    for path in shortcuts:
        if path in given:
            raise ConfigError(f"--set {path}: also given by its own option; keep one of the two.")
    # sections before what stands in them, a kind before its settings: the order of options on a
    # command line then does not matter
    everything = {**shortcuts, **given}
    for path in sorted(everything, key=lambda p: (p.count("."), not p.endswith(".kind"))):
        _place(cls, merged, path, everything[path])
    return merged
