"""Learning curves: areas, round gains, pairs of seeds; against numbers worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tunesmith.errors import DataError
from tunesmith.report.curves import (
    Curve,
    auc,
    compare,
    curve,
    figure,
    picture,
    read,
    round_gain,
    table,
)

FORCE = "force_rmse_meV_per_A"


def reaching(first: int, rounds: int, low: float = 1.0) -> np.ndarray:
    """Above the target until a round, at it from there on."""
    return np.where(np.arange(rounds) < first, 2.0 + np.linspace(1, 0, rounds), low)


def made(values: list[float], labels: list[int]) -> Curve:
    rows = [{"labels": n, "test": {FORCE: v}} for n, v in zip(labels, values, strict=True)]
    return curve(rows)


def test_the_area_is_the_sum_over_rounds() -> None:
    assert auc(np.array([3.0, 2.0, 1.5])) == 6.5


@pytest.mark.parametrize(
    ("method", "random", "published"),
    [(19, 13, "-31.6"), (3, 18, "83.3"), (10, 18, "44.4"), (17, 17, "0.0"), (17, 13, "-23.5")],
)
def test_the_gain_of_published_rounds(method: int, random: int, published: str) -> None:
    """−31.6 % is −6/19 and +83.3 % is 15/18 (Table 3 of the paper)."""
    gain = round_gain(reaching(method, 21), reaching(random, 21))
    assert f"{100 * gain:.1f}" == published


def test_the_target_is_what_both_reach() -> None:
    """The better one goes below it, and is judged by when it was there, not by its own minimum."""
    better, worse = np.array([9.0, 4.0, 2.0, 1.0]), np.array([9.0, 8.0, 6.0, 4.0])
    assert round_gain(better, worse) == pytest.approx((3 - 1) / 3)
    assert round_gain(worse, better) == pytest.approx((1 - 3) / 3)


def test_a_gain_against_itself_and_in_round_zero_is_none() -> None:
    values = np.array([5.0, 4.0, 3.0])
    assert round_gain(values, values) == 0
    assert round_gain(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0


def test_missing_values_have_no_gain() -> None:
    with pytest.raises(DataError, match="in every round"):
        round_gain(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


def test_the_untuned_model_counts_neither_in_area_nor_gain() -> None:
    """Round 0 without labels may be the best of all; it is no answer of either method."""
    method = made([1.0, 6.0, 2.0], [0, 5, 10])
    random = made([1.0, 7.0, 5.0], [0, 5, 10])
    rows = {r["method"]: r for r in compare({"m": [method], "random": [random]}, FORCE, "random")}
    assert rows["m"]["auc"] == 8
    assert rows["m"]["round_gain"] == 0, "target 5: both in round 2"
    start = {r["method"]: r for r in compare(
        {"m": [made([6.0, 2.0], [5, 10])], "random": [made([7.0, 6.0], [5, 10])]}, FORCE, "random"
    )}  # fmt: skip
    assert start["m"]["auc"] == 8
    assert start["m"]["round_gain"] == 1, "target 6: round 0 against round 1"


def test_seeds_are_pairs() -> None:
    runs = {
        "m": [made([4.0, 1.0], [5, 10]), made([8.0, 2.0], [5, 10])],
        "random": [made([4.0, 4.0], [5, 10]), made([9.0, 8.0], [5, 10])],
    }
    row = compare(runs, FORCE, "random")[0]
    assert row["seeds"] == 2
    assert row["auc_ratio"] == pytest.approx((5 / 8 + 10 / 17) / 2)
    assert row["auc_std"] == pytest.approx(5 / np.sqrt(2))
    assert row["final"] == 1.5
    shown = Console(record=True, width=100)
    shown.print(table(compare(runs, FORCE, "random"), FORCE, "random"))
    assert "force RMSE (meV/Å), against random" in shown.export_text()


@pytest.mark.parametrize(
    ("other", "what"),
    [([], "0 runs and random 1"), ([made([1.0], [5])], "compare runs of equal length")],
)
def test_unequal_runs_are_refused(other: list[Curve], what: str) -> None:
    with pytest.raises(DataError, match=what):
        compare({"m": other, "random": [made([2.0, 1.0], [5, 10])]}, FORCE, "random")
    with pytest.raises(DataError, match="no method 'chance'"):
        compare({"m": other}, FORCE, "chance")


def test_a_run_is_read_and_drawn(tmp_path: Path) -> None:
    rounds: list[dict[str, Any]] = [
        {"labels": n, "test": {FORCE: 10 / n, "energy_rmse_meV_per_atom": None}} for n in (5, 10)
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"rounds": rounds}))
    found = read(tmp_path)
    assert found.values[FORCE].tolist() == [2, 1]
    assert np.isnan(found.values["energy_rmse_meV_per_atom"]).all()
    picture({"m": [found, found], "random": [found, found]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
    with pytest.raises(DataError, match="no finished rounds"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match="no number to draw"):
        picture({"m": [found]}, tmp_path / "x.png", ["energy_rmse_meV_per_atom"])


def test_the_untuned_model_is_a_dashed_line_where_it_fits() -> None:
    def said(untuned: float) -> list[Any]:
        curve = made([untuned, 2.0, 1.0], [0, 5, 10])
        lines = figure({"m": [curve]}, [FORCE]).axes[0].lines
        return [(line.get_linestyle(), list(line.get_ydata())) for line in lines]

    assert said(3.0) == [("-", [2.0, 1.0]), ("--", [3.0, 3.0])]
    assert said(np.nan) == said(1000.0) == [("-", [2.0, 1.0])]
