"""What a bench is made of: parts, each a plan of cells, one function that computes a cell, and a
table. Everything else is the runner's."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Record = dict[str, Any]
#: what a page is written from: ``machine``, ``conditions``, and of every part its records, each the
#: fields of a cell and of its result
Found = dict[str, Any]
Options = argparse.Namespace
#: heading → a format of a record's fields, or a function of the record
Columns = Mapping[str, str | Callable[[Any], str]]


@dataclass(frozen=True)
class Named:
    """A cell: frozen, of plain values."""

    @property
    def name(self) -> str:
        """For people and folders."""
        values = [str(value) for value in asdict(self).values()]
        return "-".join(re.sub(r"[ :/,]+", "_", value) for value in values if value)


def joined(cell: Any, result: Record) -> Record:
    """A cell and its result in one; ``asked``: its fields where the result has some of its own."""
    return {**asdict(cell), **result, "asked": asdict(cell)}


def nothing(_: Any) -> dict[str, Any]:
    """No conditions."""
    return {}


@dataclass(frozen=True)
class Part:
    """Cells of one kind.

    plan: every cell once. run: computes one, in a process of its own. cost: CPU seconds of one, as
    estimated. told: a result in some words. conditions: what results depend on beside their cell;
    those of other conditions are not seen. prepare: makes what cells share, in a process of its
    own, where some of them are left. ordered: whether the plan's order is the one they are worth
    having in; all others are run shortest first. again: whether a finished cell is to be done
    again; its result stands until there is a new one. columns: of a table with a row for every
    record, below ``title``; table: Markdown of the records, where that is more.
    """

    cell: type[Any]
    plan: Callable[[Options], list[Any]]
    run: Callable[[Any, Options], Record]
    cost: Callable[[Any, Options], float]
    title: str = ""
    columns: Columns | None = None
    table: Callable[[list[Record], Found], str] | None = None
    told: Callable[[Record], str] = lambda _: "done"
    conditions: Callable[[Options], dict[str, Any]] = nothing
    prepare: Callable[[list[Any], Options], object] | None = None
    again: Callable[[Record, Options], bool] | None = None
    ordered: bool = False


@dataclass(frozen=True)
class Bench:
    """A subject. name: of its files. packages: whose versions its numbers depend on.

    options: adds the options of its own. quick: what ``--quick`` sets. seeds: the default, where it
    has any. data: whether it cannot do without ``--data``. about: adds to what a page is written
    from. page: all of it as Markdown without a title; None: the parts' tables one after the other.
    pictures: drawn beside the page of ``--docs``, or in the work folder.
    """

    name: str
    packages: tuple[str, ...]
    parts: Mapping[str, Part]
    options: Callable[[Callable[..., Any]], None] | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    data: bool = False
    about: Callable[[Options, Found], dict[str, Any]] | None = None
    page: Callable[[Found], str] | None = None
    pictures: Callable[[Found, Any], None] | None = None


def of(*names: str) -> Callable[[Options], dict[str, Any]]:
    """Conditions that are options of these names."""
    return lambda options: {name: getattr(options, name) for name in names}
