"""Short runs of the real program leave what they left before the code was moved."""

import json
from pathlib import Path
from typing import Any

import pytest

from small_runs import CASES, RECORDED, differences, done, machine

KEPT = json.loads(RECORDED.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_same_as_recorded(name: str) -> None:
    same = KEPT["machine"] == machine()
    assert differences(done(name), KEPT["cases"][name], bits=same) == []


def test_a_killed_run_was_recorded_as_one_that_was_not() -> None:
    for name, kept in KEPT["cases"].items():
        if name.endswith(", killed"):
            whole = KEPT["cases"][name.removesuffix(", killed")]
            assert {k: v["bits"] for k, v in kept.items()} == {
                k: v["bits"] for k, v in whole.items()
            }


def test_what_differs_is_said() -> None:
    name = "tune naive"
    kept: dict[str, Any] = KEPT["cases"][name]
    (file,) = kept
    assert differences(kept, kept, bits=True) == []
    other = {file: {**kept[file], "bits": "0"}}
    assert differences(other, kept, bits=False) == []
    assert "other bytes" in differences(other, kept, bits=True)[0]
    moved = [x + 0.01 * abs(x) + 0.01 for x in kept[file]["numbers"]]
    assert "apart" in differences({file: {**kept[file], "numbers": moved}}, kept, bits=False)[0]
    fewer = {file: {**kept[file], "numbers": kept[file]["numbers"][1:]}}
    assert "recorded" in differences(fewer, kept, bits=False)[0]


def test_nothing_is_left_out() -> None:
    """Every case is recorded, and every file of it says something."""
    assert set(KEPT["cases"]) == set(CASES)
    for name, case in CASES.items():
        assert set(KEPT["cases"][name]) == set(case.left)
        assert all(kept["numbers"] for kept in KEPT["cases"][name].values()), name
    assert Path(RECORDED).stat().st_size < 200_000
