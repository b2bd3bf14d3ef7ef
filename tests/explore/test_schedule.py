"""Ramps and jumps, against NumPy's interpolation."""

import numpy as np
import pytest

from tunesmith.errors import ConfigError, UnitError
from tunesmith.explore.schedule import read


def test_ramps_are_linear_and_constant_outside() -> None:
    points = (("1 ps", "300 K"), ("3 ps", "800 K"), ("8 ps", "250 K"))
    schedule = read(points, "temperature", "temperature")
    times = np.linspace(0, 10_000, 301)
    expected = np.interp(times, [1000, 3000, 8000], [300, 800, 250])
    np.testing.assert_allclose([schedule.at(t) for t in times], expected, rtol=1e-14)


def test_equal_times_are_a_jump() -> None:
    points = (("0 fs", "1 GPa"), ("10 fs", "2 GPa"), ("10 fs", "-1 GPa"))
    schedule = read(points, "stress", "pressure")
    gpa = schedule.at(0)
    assert gpa == pytest.approx(0.00624150907)
    assert schedule.at(5) == pytest.approx(1.5 * gpa)
    assert schedule.at(9.999) == pytest.approx(2 * gpa, rel=1e-3)
    assert schedule.at(10) == schedule.at(1e9) == pytest.approx(-gpa)
    only_jumps = read((("5 fs", "1 K"), ("5 fs", "2 K")), "temperature", "temperature")
    assert [only_jumps.at(t) for t in (4.9, 5.0, 5.1)] == [1, 2, 2]


def test_one_value_is_constant() -> None:
    assert read("300 K", "temperature", "temperature").at(1e6) == 300


@pytest.mark.parametrize(
    ("points", "error", "says"),
    [
        ((), ConfigError, "no points"),
        ((("2 ps", "1 K"), ("1 ps", "2 K")), ConfigError, "go backwards at '1 ps'"),
        ((("2", "1 K"),), UnitError, "needs a number and a unit of time"),
        ((("2 ps", "1 bar"),), UnitError, "unknown unit 'bar' of temperature"),
    ],
)
def test_refusals(points: tuple, error: type, says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        read(points, "temperature", "temperature")
    assert str(caught.value).startswith("temperature: ")
