"""Tables: every number shown is the summary's, and 80 columns are enough."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from planted import Planted, committee, plant
from tunesmith.report import tables
from tunesmith.report.evaluate import evaluate


def _print(renderable):
    console = Console(width=80, file=io.StringIO())
    console.print(renderable)
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text.replace("…very", "")  # rich cuts what does not fit
    return text


def _row(text, label):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return line.strip().removeprefix(label).split()


def test_evaluation_shows_the_summary(water_and_methane, rng):
    posterior = committee(water_and_methane, rng)
    evaluation = evaluate(posterior, water_and_methane, thresholds={"energy": 0.05})
    summary = json.loads(json.dumps(evaluation.summary()))  # as read back from a file
    text = _print(tables.evaluation_table(summary, title="Test set"))
    assert "Test set (6 frames, 22 atoms, 4 members)" in text
    value = float(_row(text, "Energy RMSE  ")[0])
    assert value == pytest.approx(summary["energy_rmse_meV_per_atom"], abs=0.05)
    value = float(_row(text, "Force RMSE  ")[0])
    assert value == pytest.approx(summary["force_rmse_meV_per_A"], abs=0.05)
    assert _row(text, "O  ")[0] == "4"
    assert _row(text, "warm")[0] == "3"
    over = 100 * summary["over_threshold"]["energy"]["fraction_over"]
    assert f"{over:.1f} % of energy errors are over 0.05 eV per structure." in text
    inside = 100 * summary["spread"]["energy"]["coverage"]["0.9"]
    assert _row(text, "errors inside the 90 % interval")[:2] == [f"{inside:.1f}", "%"]


def test_one_config_type_and_one_member_have_no_table(water_and_methane):
    frames = water_and_methane[::2]
    text = _print(tables.evaluation_table(evaluate(plant(frames, 0.1), frames).summary()))
    assert "config_type" not in text
    assert "Spread" not in text
    assert "1 member)" in text


def test_relative_energies_are_said(water_and_methane):
    evaluation = evaluate(plant(water_and_methane, 0.3), water_and_methane, relative_energies=True)
    text = _print(tables.evaluation_table(evaluation.summary()))
    assert "Energies are relative" in text
    assert "Energy mean error removed" in text


def test_comparison_gives_the_ratio(water_and_methane):
    before = evaluate(plant(water_and_methane, 0.15, 0.4), water_and_methane).summary()
    after = evaluate(plant(water_and_methane, 0.03, 0.1), water_and_methane).summary()
    text = _print(tables.comparison_table(before, after))
    assert _row(text, "Force RMSE (meV/Å)") == ["400.0", "100.0", "4"]
    assert _row(text, "Force RMSE on C (meV/Å)") == ["400.0", "100.0", "4"]
    assert _row(text, "Energy MAE (meV/atom)")[2] == "5"
    assert _row(text, "Energy mean error (meV/atom)")[2] == "–"


def test_comparison_of_absolute_with_relative_energies_warns(water_and_methane):
    posterior = plant(water_and_methane, np.linspace(0, 1, 6))
    before = evaluate(posterior, water_and_methane, relative_energies=True).summary()
    after = evaluate(posterior, water_and_methane).summary()
    text = " ".join(_print(tables.comparison_table(before, after)).split())
    assert "relative before and absolute after" in text
    del after["energy_rmse_meV_per_atom"]
    assert _row(_print(tables.comparison_table(before, after)), "Energy RMSE (meV/atom)")[1:] == [
        "–",
        "–",
    ]


def test_long_names_and_huge_errors_fit(water_and_methane):
    from dataclasses import replace

    frames = [
        replace(
            f, origin=f"very/long/folder/{'x' * 60}.xyz#{i}", config_type="[bold]md" * 6 + str(i)
        )
        for i, f in enumerate(water_and_methane)
    ]
    force = [[np.full((len(f.atoms), 3), 12345.678) for f in frames]]
    s = evaluate(Planted(frames, np.full((1, 6), -1e7), force), frames).summary()
    console = Console(width=80, file=io.StringIO())
    console.print(tables.evaluation_table(s))
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "[bold]md" in text  # a name is a name, never markup
    assert "xxx.xyz#0" in text  # the end of a path is kept


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0.000"), (0.0123, "0.012"), (1.234, "1.23"), (123.45, "123.5"),
     (12345.6, "12345.6"), (1.5e7, "1.50e+07"), (-2e-5, "-2.00e-05")],
)  # fmt: skip
def test_numbers_keep_what_matters(value, shown):
    assert tables.number(value) == shown
