"""Conversions against CODATA constants, a route that does not pass through ASE's."""

import pytest
from scipy import constants as c

from tunesmith.errors import UnitError
from tunesmith.units import BASE_UNIT, UNITS, Quantity, parse

# eV from joules; ASE uses CODATA 2014, SciPy a later one: they agree to 1e-7
J = 1 / c.e
HARTREE = c.physical_constants["Hartree energy in eV"][0]
BOHR = c.physical_constants["Bohr radius"][0] * 1e10
EXPECTED = {
    ("1 kcal/mol", "energy"): 4184 * J / c.N_A,
    ("1 kJ/mol", "energy"): 1000 * J / c.N_A,
    ("1 Ha", "energy"): HARTREE,
    ("2 Ry", "energy"): HARTREE,
    ("250 meV", "energy"): 0.25,
    ("1 Ha/bohr", "force"): HARTREE / BOHR,
    ("1 kcal/mol/Å", "force"): 4184 * J / c.N_A,
    ("10 meV/A", "force"): 0.01,
    ("1 eV/nm", "force"): 0.1,
    ("1 GPa", "stress"): 1e9 * J * 1e-30,
    ("10 kbar", "stress"): 1e9 * J * 1e-30,
    ("1 atm", "stress"): c.atm * J * 1e-30,
    ("1 eV/Å³", "stress"): 1.0,
    ("2 bohr", "length"): 2 * BOHR,
    ("1 nm", "length"): 10.0,
    ("0.5 ps", "time"): 500.0,
    ("0.01 / fs", "rate"): 0.01,
    ("10 1/ps", "rate"): 0.01,
    ("10 ps^-1", "rate"): 0.01,
    ("300 K", "temperature"): 300.0,
    ("1.5 h", "wall time"): 5400.0,
    ("2 min", "wall time"): 120.0,
}


@pytest.mark.parametrize(("text", "dimension"), EXPECTED)
def test_values(text: str, dimension: str) -> None:
    got = parse(text, dimension)
    assert got.value == pytest.approx(EXPECTED[text, dimension], rel=1e-6)
    assert got.per is None


def test_every_unit_is_covered_or_follows_from_another() -> None:
    """1 GPa = 1000 MPa and so on: each unit against one that the table above fixes."""
    for dimension, units in UNITS.items():
        assert parse(f"1 {BASE_UNIT[dimension]}", dimension).value == 1.0
        for unit, value in units.items():
            assert parse(f"1 {unit}", dimension).value == value > 0
    stress = UNITS["stress"]
    assert stress["GPa"] == pytest.approx(1e3 * stress["MPa"])
    assert stress["kbar"] == pytest.approx(1e3 * stress["bar"])
    for energy, in_ev in UNITS["energy"].items():
        for length, in_a in UNITS["length"].items():
            assert UNITS["force"][f"{energy}/{length}"] == pytest.approx(in_ev / in_a)


@pytest.mark.parametrize(
    ("text", "per"),
    [
        ("5 meV/atom", "atom"),
        ("5 meV per atom", "atom"),
        ("5meV / atom", "atom"),
        ("5 meV per structure", "structure"),
        ("5 meV", None),
    ],
)
def test_per_what(text: str, per: str | None) -> None:
    assert parse(text, "energy") == Quantity(0.005, per)


@pytest.mark.parametrize(
    ("text", "value"), [("-1.5e-2 eV", -0.015), ("+.5 eV", 0.5), ("3. eV", 3.0), (" 1eV ", 1.0)]
)
def test_ways_to_write_a_number(text: str, value: float) -> None:
    assert parse(text, "energy").value == value


@pytest.mark.parametrize(
    ("text", "dimension", "says"),
    [
        ("5", "energy", "needs a number and a unit"),
        ("eV", "energy", "needs a number and a unit"),
        ("", "energy", "needs a number and a unit"),
        ("5 parsec", "length", "unknown unit 'parsec'"),
        ("5 eV", "force", "unknown unit 'eV'"),
        ("5 eV/Å per atom", "force", "unknown unit"),
        ("5 mev", "energy", "unknown unit 'mev'"),
        ("100 fs", "rate", "unknown unit 'fs' of rate"),
        ("nan eV", "energy", "needs a number and a unit"),
        ("1e999 ps", "time", "more than 1e+12 fs; give less"),
        ("-1e300 eV", "energy", "more than 1e+12 eV; give less"),
    ],
)
def test_refusals_name_the_field(text: str, dimension: str, says: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text, dimension, field="target.energy")
    assert str(caught.value).startswith("target.energy: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
