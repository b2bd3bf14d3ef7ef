"""Weights by the names settings give them: parts of a network, weights, patterns of weights."""

from fnmatch import fnmatchcase
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.registry import nearest


def weights_named(model: Any, names: tuple[str, ...], setting: str) -> tuple[str, ...]:
    """Weights that parts, weights, beginnings or patterns of them stand for, in the model's order.

    setting: where the names were given. Raises `ConfigError` for a name that fits none.
    """
    known = (*model.names.trainable(), *model.names.scale)
    found: set[str] = set()
    for name in names:
        found |= (here := _named(name, known, parts := _parts(model)))
        if not here:
            raise ConfigError(
                f"{setting}: no weight of {model.base.source} is meant by {name!r}; "
                + nearest(name, [*parts, *known] if "." in name else [*parts])
            )
    return tuple(n for n in known if n in found)


def _named(name: str, known: tuple[str, ...], parts: dict[str, tuple[str, ...]]) -> set[str]:
    """Weights that a name of a part, of weights, or a pattern stands for."""
    if name in parts:
        return set(parts[name])
    return {n for n in known if n.startswith(name + ".") or n == name or fnmatchcase(n, name)}


def _parts(model: Any) -> dict[str, tuple[str, ...]]:
    """Weights by the name of the part they are in, layers one by one and together."""
    names = model.names
    parts = {"embedding": names.embedding}
    for kind in ("interactions", "products"):
        layers = getattr(names, kind)
        parts[kind] = tuple(n for layer in layers for n in layer)
        parts |= {f"{kind}.{i}": layer for i, layer in enumerate(layers)}
    return {**parts, "readouts": names.readouts, "scale": names.scale}
