"""Learning curves: areas, round gains, pairs of seeds; against numbers worked out by hand."""

import itertools
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


def test_curves_are_averaged_before_they_are_compared() -> None:
    runs = {
        "m": [made([4.0, 1.0], [5, 10]), made([8.0, 2.0], [5, 10])],
        "random": [made([4.0, 4.0], [5, 10]), made([9.0, 8.0], [5, 10])],
    }
    row = compare(runs, FORCE, "random")[0]
    assert row["seeds"] == 2
    assert row["auc_std"] == pytest.approx(5 / np.sqrt(2))
    assert row["final"] == 1.5
    assert row["auc_ratio"] == 15 / 25
    assert row["auc_ratio_pairs"] == pytest.approx((5 / 8 + 10 / 17) / 2)
    assert row["final_ratio"] == 3 / 12
    assert row["final_ratio_pairs"] == 1 / 4
    assert row["auc_ratio_interval"] == pytest.approx((10 / 17, 5 / 8))


#: the first seed gains 2/3, the second −1/3; where both reach their means' larger minimum, the
#: baseline is first: [49.5, 45.5, 45.5, 25.5] and [49.5, 34.5, 24.5, 25.5]
APART = {
    "m": [[9.0, 1.0, 1.0, 1.0], [90.0, 90.0, 90.0, 50.0]],
    "random": [[9.0, 9.0, 9.0, 1.0], [90.0, 60.0, 40.0, 50.0]],
}


def several(runs: dict[str, list[list[float]]]) -> dict[str, list[Curve]]:
    return {
        name: [made(values, [5 * (i + 1) for i in range(len(values))]) for values in seeds]
        for name, seeds in runs.items()
    }


def test_the_gain_of_the_mean_and_the_mean_of_gains_may_differ_in_sign() -> None:
    row = compare(several(APART), FORCE, "random")[0]
    assert row["round_gain"] == pytest.approx(-1 / 3)
    assert row["round_gain_pairs"] == pytest.approx(1 / 6)
    assert row["round_gain_pairs_std"] == pytest.approx(1 / np.sqrt(2))
    # samples: the first seed twice (a quarter), both, the second twice
    assert row["round_gain_interval"] == pytest.approx((-1 / 3, 2 / 3))


def plain_gain(method: list[float], baseline: list[float]) -> float:
    """Round by round, in words of one syllable."""
    target = max(min(method), min(baseline))
    ours = next(r for r, v in enumerate(method) if v <= target)
    theirs = next(r for r, v in enumerate(baseline) if v <= target)
    return (theirs - ours) / max(ours, theirs) if max(ours, theirs) else 0.0


@pytest.mark.parametrize("n", [2, 3])
def test_intervals_are_those_of_every_sample_of_pairs(n: int) -> None:
    rng = np.random.default_rng(n)
    made_up = {
        name: (rng.random((n, 7)) + np.linspace(2, 1, 7)).tolist() for name in ("m", "random")
    }
    found = {"auc_ratio": [], "final_ratio": [], "round_gain": []}  # type: dict[str, list[float]]
    for sample in itertools.product(range(n), repeat=n):
        ours, theirs = (
            [sum(made_up[name][s][r] for s in sample) / n for r in range(7)]
            for name in ("m", "random")
        )
        found["auc_ratio"].append(sum(ours) / sum(theirs))
        found["final_ratio"].append(ours[-1] / theirs[-1])
        found["round_gain"].append(plain_gain(ours, theirs))
    row = compare(several(made_up), FORCE, "random")[0]
    for what, values in found.items():
        ends = np.quantile(values, [0.05, 0.95], method="inverted_cdf")
        assert row[f"{what}_interval"] == pytest.approx(tuple(ends)), what


def test_a_methods_seed_is_drawn_with_the_baselines() -> None:
    """A method twice as good on seeds of very different errors has no spread of its ratio."""
    baseline = [[8.0, 4.0], [80.0, 50.0], [800.0, 300.0]]
    half = [[v / 2 for v in values] for values in baseline]
    runs = several({"half": half, "other": baseline[::-1], "random": baseline})
    row, other, same = compare(runs, FORCE, "random")
    assert row["auc_ratio_interval"] == row["final_ratio_interval"] == (0.5, 0.5)
    assert other["auc_ratio_interval"][0] < 0.2
    assert (same["round_gain"], same["round_gain_interval"]) == (0, (0, 0))
    alone = compare({k: runs[k] for k in ("other", "random")}, FORCE, "random")
    assert alone[0] == other, "the same whoever else is compared"


def test_one_seed_has_no_spread() -> None:
    row = compare(several({k: v[:1] for k, v in APART.items()}), FORCE, "random")[0]
    assert row["round_gain"] == row["round_gain_pairs"] == pytest.approx(2 / 3)
    spreads = [row[k] for k in row if k.endswith(("_std", "_interval"))]
    assert spreads == [None] * 8


def test_the_table_says_both_gains() -> None:
    shown = Console(record=True, width=120)
    shown.print(table(compare(several(APART), FORCE, "random"), FORCE, "random"))
    said = shown.export_text()
    assert "force RMSE (meV/Å), against random" in said
    assert "-33.3 % [-33, +67]" in said
    assert "+16.7 % ± 70.7" in said
    shown.print(table(compare({"m": several(APART)["m"][:1]}, FORCE, "m"), FORCE, "m"))
    assert "[" not in shown.export_text().partition("against m")[2].partition("of the seeds'")[0]


@pytest.mark.parametrize(
    ("other", "what"),
    [([], "0 runs and random 1"), ([made([1.0], [5])], "compare runs of equal length")],
)
def test_unequal_runs_are_refused(other: list[Curve], what: str) -> None:
    with pytest.raises(DataError, match=what):
        compare({"m": other, "random": [made([2.0, 1.0], [5, 10])]}, FORCE, "random")
    with pytest.raises(DataError, match="no method 'chance'"):
        compare({"m": other}, FORCE, "chance")


def test_seeds_of_unequal_length_have_no_mean() -> None:
    unequal = several({"m": [[3.0, 2.0], [3.0, 2.0, 1.0]], "random": [[3.0, 2.0]] * 2})
    with pytest.raises(DataError, match="m and random have 1 and 2 rounds"):
        compare(unequal, FORCE, "random")


def test_what_was_not_measured_is_not_compared() -> None:
    with pytest.raises(DataError, match="in every round"):
        compare(several({"m": [[3.0, np.nan]], "random": [[3.0, 2.0]]}), FORCE, "random")
    untuned = {"m": [made([2.0], [0])]}
    with pytest.raises(DataError, match="in every round"):
        compare(untuned, FORCE, "m")


def test_rounds_count_once_all_models_have_learnt() -> None:
    """A first label that failed leaves one run's untuned model in round 0."""
    late, early = made([1.0, 6.0, 2.0], [0, 5, 10]), made([9.0, 7.0, 2.0], [5, 10, 15])
    row = compare({"m": [late], "random": [early]}, FORCE, "random")[0]
    assert row["auc_ratio"] == 8 / 9
    assert row["round_gain"] == 0


def test_a_curve_is_of_the_structures_that_are_asked_for(tmp_path: Path) -> None:
    rounds: list[dict[str, Any]] = [{"labels": 5, "test": {FORCE: 2.0}, "rest": {FORCE: 3.0}}]
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"rounds": rounds}))
    assert read(tmp_path).values[FORCE].tolist() == [2]
    assert read(tmp_path, on="rest").values[FORCE].tolist() == [3]
    path.write_text(json.dumps({"rounds": [{"labels": 5, "test": {FORCE: 2.0}}]}))
    with pytest.raises(DataError, match=r"not measured on the pool's rest.*explore\.rest"):
        read(tmp_path, on="rest")


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
