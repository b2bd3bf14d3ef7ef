"""Finished cells, a line of a file each, so that the same command goes on where it was stopped."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

#: a frozen dataclass of plain values with a ``name``
C = TypeVar("C", bound=Any)


class Lines(Generic[C]):
    """The cells of one part of a bench in a file of JSON objects, each with the conditions it was
    made in. Lines that name no part are of whoever has such a cell."""

    def __init__(
        self, path: Path, conditions: dict[str, Any], kind: type[C], part: str = ""
    ) -> None:
        self.path, self.conditions = path, json.loads(json.dumps(conditions))
        self.part = part
        self.found: dict[C, dict[str, Any]] = {}
        names = {f.name for f in fields(kind)}
        text = path.read_text() if path.exists() else ""
        self._begin = "\n" if text and not text.endswith("\n") else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a kill tore it; that cell is done again
            known = entry["conditions"] == self.conditions and set(entry["cell"]) == names
            if known and entry.get("part", part) == part:
                self.found[kind(**entry["cell"])] = entry["result"]

    def add(self, cell: C, result: dict[str, Any]) -> None:
        self.found[cell] = result
        entry: dict[str, Any] = {"part": self.part} if self.part else {}
        entry |= {"cell": asdict(cell), "conditions": self.conditions, "result": result}
        with self.path.open("a") as out:
            out.write(self._begin + json.dumps(entry) + "\n")
        self._begin = ""
