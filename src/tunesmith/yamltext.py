"""YAML as configurations use it: YAML 1.2 scalars, duplicate keys refused, errors with a line.

PyYAML reads ``no`` as false, ``1e-3`` as a text and ``1:30`` as 90. Here only ``true`` and
``false`` are logical values, and a number is what looks like one.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import ConfigError

_INT = r"[-+]?[0-9]+"
_FLOAT = (
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)"
)
_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own protocol)


class _Dumper(yaml.SafeDumper):
    """Keeps PyYAML's resolvers too, so that it quotes what either reading would mistake."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        letters = ["" if letter == "\0" else letter for letter in _first]
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), letters
        )


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: dict[str, int] = {}
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"line {line}: the name of a setting must be a text, not {key!r}.")
        if key in seen:
            raise ConfigError(
                f"line {line}: {key!r} is given a second time (first in line {seen[key]}); "
                "keep one of the two."
            )
        seen[key] = line
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text: str, where: str) -> Any:
    """The value of a YAML text. Raises `ConfigError` with ``where`` (a file) and the line."""
    try:
        return yaml.load(text, _Loader)
    except ConfigError as error:
        raise ConfigError(f"{where}, {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {_said(error)}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML ({str(error).splitlines()[0]}).") from None


#: part of what PyYAML says → what is likely to be wrong, and the cure
_PROBLEMS = {
    "mapping values are not allowed": "a ':' where none can stand; look at the indentation of this "
    "line and the one before, and put a text that holds ': ' in quotes",
    "'\\t'": "a tab; indent with spaces",
    "expected <block end>": "this line is not indented as the lines it belongs to",
    "could not find expected ':'": "a line here has no ':'; write NAME: VALUE",
    "unexpected end of stream": "a quote or bracket is opened and never closed",
    "expected ',' or": "a bracket is opened and not closed, or a comma is missing",
    "found undefined alias": "a text that begins with * must stand in quotes",
    "cannot start any token": "a text that begins with this character must stand in quotes",
}


def _said(error: yaml.MarkedYAMLError) -> str:
    """What is wrong in words of a user, not of a parser."""
    problem = " ".join(str(error.problem or "cannot be read").split())
    return next((words for part, words in _PROBLEMS.items() if part in problem), problem)


def read(path: str | Path) -> dict[str, Any]:
    """The settings in a file; an empty file holds none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file, so not a configuration.") from None
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; check the path.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name the YAML file in it.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    value = parse(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a configuration starts with sections such as 'tune:'.")
    return value


def write(value: Any) -> str:
    """YAML that `parse` reads back as the same value, block style, order kept."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def inline(value: Any) -> str:
    """The same on one line."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6,
        default_flow_style=True,
    )  # fmt: skip
    return str(text).removesuffix("\n").removesuffix("\n...")
