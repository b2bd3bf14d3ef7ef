"""Tables in Markdown, the numbers in them, and where they stand."""

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.runner.parts import Columns


def machine(packages: tuple[str, ...]) -> dict[str, str | int | float]:
    """What a result depends on: processor, cores, load, Python and package versions."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **found,
    }


def described(found: Mapping[str, Any]) -> str:
    """The machine in one line."""
    return ", ".join(f"{key} {value}" for key, value in found["machine"].items())


def markdown(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    headings = list(headings)
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(records: Iterable[Mapping[str, Any]], columns: Columns) -> str:
    """A row for every record."""
    rows = [
        [c.format_map(r) if isinstance(c, str) else c(r) for c in columns.values()] for r in records
    ]
    return markdown(columns, rows)


def grouped(records: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Records by what ``key`` says of them, in the order of their first."""
    found: dict[Any, list[Any]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found


def mean_error(values: Iterable[float], shown: str = ".1f", error: str = "") -> str:
    """Mean ± its standard error, as far as there are several; both in the format ``shown``."""
    values = list(values)
    if not values:
        return "–"
    if len(values) < 2:
        return f"{mean(values):{shown}}"
    return f"{mean(values):{shown}} ± {stdev(values) / math.sqrt(len(values)):{error or shown}}"


def number(value: float, shown: str = ".2f") -> str:
    return "–" if math.isnan(value) else f"{value:{shown}}"


def share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})"


def counts(of: Mapping[str, int]) -> str:
    """How often what, the most frequent first."""
    known = sorted(of.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {number}" for name, number in known) or "none"


def marks(bench: str) -> tuple[str, str]:
    """Lines between which a page's tables stand."""
    return f"<!-- python -m bench {bench} writes from here -->", "<!-- to here -->"


def into_docs(path: Path, text: str, bench: str) -> None:
    """Put tables between the marks of a page, one level of headings lower. Exits without marks."""
    first, last = marks(bench)
    before, start, rest = path.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise SystemExit(f"{path} has no lines {first!r} and {last!r} to write between.")
    lower = "\n".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines())
    path.write_text(f"{before}{start}\n\n{lower}\n\n{end}{after}")
