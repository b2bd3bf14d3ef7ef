"""The runner of the benches: every subject can be planned; plans, lines and tables are right."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.runner import command
from bench.runner.child import call
from bench.runner.command import SUBJECTS, opened, parsed, planned, written
from bench.runner.lines import Lines
from bench.runner.parts import Bench, Named, Options, Part, of
from bench.runner.tables import mean_error, table

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cell(Named):
    n: int


def squared(cell: Cell, options: Options) -> dict[str, Any]:
    return {"square": cell.n**2 + options.shift}


def bench() -> Bench:
    def part(**more: Any) -> Part:
        numbers = [Cell(3), Cell(1), Cell(2)]
        how: dict[str, Any] = {"title": "Squares", "columns": {"n": "{n}", "n²": "{square:.1f}"}}
        cost = lambda cell, _: float(cell.n)  # noqa: E731
        return Part(Cell, lambda _: numbers, squared, cost, conditions=of("shift"), **how, **more)

    parts = {"small": part(), "large": part(ordered=True)}
    quick = {"shift": 7}
    options = lambda add: add("--shift", type=int, default=0)  # noqa: E731
    return Bench("attack", ("numpy",), parts, options=options, quick=quick)


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_can_be_planned(name: str) -> None:
    one = opened(name)
    assert one.name == name
    for given in ([], ["--quick"]):
        options = parsed(one, given)
        assert vars(options).keys() >= one.quick.keys()
        for part in one.parts.values():
            cells = planned(part, options)
            assert len({cell.name for cell in cells}) == len(cells)
            assert all(part.cell(**asdict(cell)) == cell for cell in cells)
            assert all(part.cost(cell, options) > 0 for cell in cells)
            assert json.loads(json.dumps(part.conditions(options))) == part.conditions(options)


def test_plans_are_run_shortest_first_unless_their_order_is_worth_having(tmp_path: Path) -> None:
    one = bench()
    options = parsed(one, ["--out", str(tmp_path / "cells.jsonl")])
    assert [cell.n for cell in planned(one.parts["small"], options)] == [1, 2, 3]
    assert [cell.n for cell in planned(one.parts["large"], options)] == [3, 1, 2]
    options.only = ["n=1,3"]
    assert [cell.n for cell in planned(one.parts["large"], options)] == [3, 1]
    strategies = opened("strategies")
    options = parsed(strategies, ["--only", "seed=0"])
    untouched, every = strategies.parts["untouched"], strategies.parts.values()
    assert planned(untouched, options, every) == []  # no cell of it has a seed
    with pytest.raises(SystemExit, match="with a field of on"):
        planned(untouched, options)


def test_parts_of_a_file_and_other_conditions_are_told_apart(tmp_path: Path) -> None:
    path, one = tmp_path / "cells.jsonl", bench()
    for part, shift, square in (("small", 0, 1), ("large", 0, 2), ("small", 7, 3)):
        Lines(path, {"shift": shift}, Cell, part).add(Cell(1), {"square": square})
    with path.open("a") as out:  # as written before parts were named
        out.write('{"cell": {"n": 2}, "conditions": {"shift": 0}, "result": {"square": 4}}\n')
        out.write('{"cell": {"m": 2}, "conditions": {"shift": 0}, "result": {"square": 5}}\n')
    found: dict[str, Any] = {"machine": {"cpu": "x"}}
    text = written(one, parsed(one, ["--out", str(path)]), found)
    assert [(r["n"], r["square"]) for r in found["small"]] == [(1, 1), (2, 4)]
    assert [(r["n"], r["square"]) for r in found["large"]] == [(1, 2), (2, 4)]
    assert text.count("| 2 | 4.0 |") == 2
    quick = parsed(one, ["--out", str(path), "--quick"])
    written(one, quick, found)
    assert [r["square"] for r in found["small"]] == [3]


def test_a_bench_is_run_resumed_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def here(function: str, *, quiet: bool, **given: Any) -> dict[str, Any] | str:
        done.append(f"{given['part']} {given['cell']['n']}")
        return "broken" if done[-1] == "large 1" else command.one(**given)

    monkeypatch.setattr(command, "opened", lambda _: bench())
    monkeypatch.setattr(command, "call", here)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- python -m bench attack writes from here -->\n<!-- to here -->\n")
    given = ["--out", str(tmp_path / "cells.jsonl"), "--results", str(tmp_path / "results")]
    with pytest.raises(SystemExit, match="1 cells went wrong"):
        command.main("attack", [*given, "--docs", str(page)])
    assert done == ["small 1", "small 2", "small 3", "large 3", "large 1", "large 2"]
    assert "### Squares\n\n| n | n² |" in page.read_text()
    (table_file,) = (tmp_path / "results").glob("attack-*.md")
    assert "| 3 | 9.0 |" in table_file.read_text()
    capsys.readouterr()
    command.main("attack", [*given, "--list"])
    listed = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in listed if "CPU s" in line] == [*["done"] * 4, "    ", "done"]
    done.clear()
    with pytest.raises(SystemExit):
        command.main("attack", given)
    assert done == ["large 1"]


def test_a_process_of_its_own_answers_or_says_what_was_wrong() -> None:
    assert call("bench.runner.tables:machine", packages=["nowhere"])["nowhere"] == "absent"  # type: ignore[index]
    wrong = call("bench.runner.tables:machine", quiet=True, packages=3)
    assert isinstance(wrong, str)
    assert "TypeError" in wrong


def test_tables_are_of_formats_and_functions() -> None:
    columns = {"a": "{a:.1f}", "b": lambda r: str(r["b"] + 1)}
    assert table([{"a": 0.25, "b": 1}], columns).splitlines()[-1] == "| 0.2 | 2 |"
    assert mean_error([]) == "–"
    assert mean_error([2.0], ".2f") == "2.00"
    assert mean_error([1.0, 3.0]) == "2.0 ± 1.0"


def test_every_file_has_a_name_of_its_own_and_is_short() -> None:
    files = [path for path in (ROOT / "bench").rglob("*.py") if path.name != "__init__.py"]
    assert max(Counter(path.name for path in files).values()) == 1
    assert {p.name: n for p in files if (n := p.read_text().count("\n")) > 300} == {}


def test_data_that_is_needed_and_not_given_is_asked_for_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        command.main("stress", ["--out", str(tmp_path / "cells.jsonl")])
    assert refusal.value.code == 2
    assert capsys.readouterr().err.startswith("error: stress needs --data FOLDER")
    assert list(tmp_path.iterdir()) == []


def test_subjects_are_said_and_a_wrong_one_is_refused() -> None:
    said = {}
    for given in ([], ["no-such"]):
        done = [sys.executable, "-m", "bench", *given]
        found = subprocess.run(done, cwd=ROOT, capture_output=True, text=True, check=False)
        said[found.returncode] = found.stdout
    assert all(f"  {name} " in said[0] for name in SUBJECTS)
    assert "there is no bench 'no-such'" in said[2]
