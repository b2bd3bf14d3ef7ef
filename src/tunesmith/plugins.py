"""Parts that other installed packages offer, loaded when they are asked for and held to their law.

A package that cannot be used is refused where something of it is asked for, in one sentence with
its name and the cure; who asks for nothing of it never notices.
"""

import functools
import importlib
import inspect
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tunesmith.errors import PluginError, TunesmithError


def offered(group: str) -> tuple[EntryPoint, ...]:
    """What installed packages offer under an entry-point group; nothing is imported."""
    return _all(tuple(sys.path)).get(group, ())


@functools.cache
def _all(path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Of our groups, as ``sys.path`` stands: looking takes milliseconds, and all parts ask."""
    found = entry_points()
    return {g: tuple(found.select(group=g)) for g in found.groups if g.startswith("tunesmith.")}


def package_of(entry: EntryPoint) -> str:
    """Name and version of the package that offers it."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def load(entry: EntryPoint, contracts: tuple[str, ...], named: bool) -> Any:
    """What an entry point leads to, when it is what its group asks for.

    contracts: ``module:name`` of what it must be: a class to be derived from, or a protocol. named:
    whether its ``kind`` must be the name it is offered by. Raises `PluginError` for whatever
    keeps it from being used.
    """
    try:
        found = entry.load()
        wrong = _wrong(found, [_resolved(c) for c in contracts], entry.name if named else None)
    except TunesmithError:
        raise
    except Exception as error:  # a package's import can fail in any way
        said = (str(error).strip().splitlines() or [""])[0]
        wrong = f"cannot be imported ({type(error).__name__}: {said})"
    if wrong:
        raise PluginError(
            f"{entry.name!r} ({entry.group}) of the package {package_of(entry)} {wrong}; "
            "repair that package or uninstall it."
        )
    return found


def refuse_twice(name: str, group: str, entries: list[EntryPoint], own: bool) -> None:
    """Raise `PluginError` where a name means two things."""
    if len(entries) + own > 1:
        who = [*["tunesmith"] * own, *(f"the package {package_of(e)}" for e in entries)]
        raise PluginError(
            f"{name!r} ({group}) is offered by {' and by '.join(who)}; uninstall one, or have it "
            "renamed."
        )


def _resolved(contract: str) -> Any:
    module, _, name = contract.partition(":")
    return getattr(importlib.import_module(module), name)


def _wrong(found: Any, contracts: list[Any], name: str | None) -> str | None:
    """What keeps it from being used, as the rest of a sentence; None: nothing."""
    lacking: list[str] = []
    for contract in contracts:
        if getattr(contract, "_is_protocol", False):
            lacking += [n for n in members(contract) if not hasattr(found, n)]
        elif not (inspect.isclass(found) and issubclass(found, contract)):
            room = ".".join(contract.__module__.split(".")[:2])
            return f"is no {contract.__name__} ({room})"
    if inspect.isclass(found):
        lacking += sorted(getattr(found, "__abstractmethods__", ()))
    if lacking:
        return f"lacks {', '.join(dict.fromkeys(lacking))}"
    if name is not None and hasattr(found, "model_fields") and getattr(found, "kind", 0) != name:
        return f"has the kind {getattr(found, 'kind', None)!r}, which must be that name"
    return None


def members(protocol: type) -> list[str]:
    """Names of what a protocol asks for."""
    known = {**getattr(protocol, "__annotations__", {}), **vars(protocol)}
    return [name for name in known if not name.startswith("_")]
