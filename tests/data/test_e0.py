import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers

from tunesmith.core import Frame, Label
from tunesmith.data.e0 import choose_e0s, minimum_norm, needs_prediction, unidentified
from tunesmith.errors import ConfigError, DataError

FOUNDATION = {1: -13.6, 6: -1029.0, 7: -1485.0, 8: -2042.0}
TRUE = {1: -14.125, 6: -1020.5, 7: -1490.75, 8: -2050.0625}
FULL_RANK = ["H2O", "CH4", "CO2", "H2O2", "N2", "CH4O", "NH3"]


def frame(formula, energy, config_type="Default", **info):
    atoms = Atoms(formula, info=info)
    return Frame(atoms, Label(energy, np.zeros((len(atoms), 3))), formula, 1.0, config_type)


def total(e0s, formula):
    return sum(e0s[z] for z in Atoms(formula).numbers)


def problem(formulas, seed=0):
    """Labels that differ from the foundation's energies by exactly the difference of E0s."""
    binding = np.random.default_rng(seed).normal(size=len(formulas))
    frames = [frame(f, total(TRUE, f) + b) for f, b in zip(formulas, binding, strict=True)]
    predicted = np.array([total(FOUNDATION, f) for f in formulas]) + binding
    return frames, predicted


def isolated(names, energies=TRUE):
    return [frame(n, energies[atomic_numbers[n]], "IsolatedAtom") for n in names]


def test_reestimate_recovers_planted_shifts():
    frames, predicted = problem(FULL_RANK)
    e0s = choose_e0s("reestimate", frames=frames, foundation=FOUNDATION, predicted=predicted)
    assert e0s.method == "reestimate"
    assert e0s.values == pytest.approx(TRUE, abs=1e-10)
    assert "apart" not in e0s.reason
    assert e0s.fixes(Atoms("C6H5NO2").numbers)


def test_reestimate_is_the_minimum_norm_solution():
    formulas = ["CH4", "C2H6", "C3H8", "H2O"]  # three elements, rank 3; then drop to rank 2
    frames, predicted = problem([*formulas[:2], "C3H10", "H2"], seed=1)
    errors = np.array([f.label.energy for f in frames]) - predicted
    errors += [0.1, -0.2, 0.05, 0.3]  # not consistent with any shift
    frames = [frame(f.origin, p + e) for f, p, e in zip(frames, predicted, errors, strict=True)]
    counts = np.array([[4, 1], [6, 2], [10, 3], [2, 0]])
    expected = np.linalg.pinv(counts) @ errors
    e0s = choose_e0s("reestimate", frames=frames, foundation=FOUNDATION, predicted=predicted)
    shift = [e0s.values[z] - FOUNDATION[z] for z in (1, 6)]
    np.testing.assert_allclose(shift, expected, atol=1e-10)
    frames, predicted = problem(["C2H6O", "C4H12O2", "CH4"], seed=2)  # rank 2 of 3
    e0s = choose_e0s("reestimate", frames=frames, foundation=FOUNDATION, predicted=predicted)
    counts = np.array([[6, 2, 1], [12, 4, 2], [4, 1, 0]])
    errors = np.array([f.label.energy for f in frames]) - predicted
    shift = [e0s.values[z] - FOUNDATION[z] for z in (1, 6, 8)]
    np.testing.assert_allclose(shift, np.linalg.pinv(counts) @ errors, atol=1e-9)


def test_absent_elements_keep_their_value_and_are_named():
    frames, predicted = problem(["H2O", "H2", "O2"])
    e0s = choose_e0s("reestimate", frames=frames, foundation=FOUNDATION, predicted=predicted)
    assert (e0s.values[6], e0s.values[7]) == (FOUNDATION[6], FOUNDATION[7])
    assert set(e0s.values) == set(FOUNDATION)
    assert "For C and N, not in the data" in e0s.reason
    assert e0s.elements == (1, 8)
    assert not e0s.fixes(Atoms("CH4").numbers)


def test_one_composition_gives_a_constant_offset():
    frames, predicted = problem(["C2H6O"] * 5)
    e0s = choose_e0s("auto", frames=frames, foundation=FOUNDATION, predicted=predicted)
    offset = total(TRUE, "C2H6O") - total(FOUNDATION, "C2H6O")
    counts = {1: 6, 6: 2, 8: 1}
    for z, n in counts.items():  # along the composition, nothing across it
        assert e0s.values[z] - FOUNDATION[z] == pytest.approx(offset * n / 41, abs=1e-9)
    assert total(e0s.values, "C2H6O") == pytest.approx(total(TRUE, "C2H6O"), abs=1e-8)
    assert "energies of H, C and O apart" in e0s.reason
    assert e0s.compositions == ((6, 2, 1),)
    assert e0s.fixes(Atoms("C4H12O2").numbers)
    assert not e0s.fixes(Atoms("CH4O").numbers)


def test_only_the_elements_left_open_are_named():
    frames, predicted = problem(["CH4", "H2", "NO", "C2H6"])
    e0s = choose_e0s("reestimate", frames=frames, foundation=FOUNDATION, predicted=predicted)
    assert "energies of N and O apart" in e0s.reason
    assert e0s.values[1] == pytest.approx(TRUE[1], abs=1e-10)
    assert e0s.values[6] == pytest.approx(TRUE[6], abs=1e-10)
    assert e0s.fixes(Atoms("C3H8NO").numbers)
    assert not e0s.fixes(Atoms("NO2").numbers)
    np.testing.assert_array_equal(
        unidentified(np.array([[4, 1, 0, 0], [2, 0, 0, 0], [0, 0, 1, 1]])),
        [False, False, True, True],
    )


def test_large_energies_keep_their_digits():
    rng = np.random.default_rng(4)
    base = {1: -1e4, 6: -2.5e4, 8: -3e4}
    shift = {1: 0.1234567, 6: -7.6543211, 8: 3.1415927}
    formulas = [f"C{a}H{b}O{c}" for a, b, c in rng.integers(1, 6, size=(400, 3))]
    predicted = np.array([total(base, f) for f in formulas])
    assert np.abs(predicted).mean() > 1e5
    frames = [frame(f, p + total(shift, f)) for f, p in zip(formulas, predicted, strict=True)]
    e0s = choose_e0s("reestimate", frames=frames, foundation=base, predicted=predicted)
    for z in base:
        assert e0s.values[z] - base[z] == pytest.approx(shift[z], abs=1e-6)


def test_average():
    formulas = ["H2O", "CH4", "CO2", "C2H6O", "CH4"]
    frames, _ = problem(formulas)
    e0s = choose_e0s("average", frames=frames, foundation=FOUNDATION)
    counts = np.array([[2, 0, 1], [4, 1, 0], [0, 1, 2], [6, 2, 1], [4, 1, 0]])
    expected = np.linalg.pinv(counts) @ [f.label.energy for f in frames]
    np.testing.assert_allclose([e0s.values[z] for z in (1, 6, 8)], expected, atol=1e-8)
    assert e0s.values[7] == FOUNDATION[7]
    assert "comparison only" in e0s.reason


def test_isolated_and_auto():
    frames, predicted = problem(["CH4", "H2O"])
    atoms = isolated(["H", "C", "O"])
    for method in ("isolated", "auto"):
        e0s = choose_e0s(
            method, frames=frames, isolated=atoms, foundation=FOUNDATION, predicted=predicted
        )
        assert e0s.method == "isolated"
        assert e0s.values == {**TRUE, 7: FOUNDATION[7]}
        assert e0s.elements == (1, 6, 8)
        assert e0s.fixes(Atoms("C6H12O6").numbers)
        assert not e0s.fixes(Atoms("NH3").numbers)
    complete = isolated(["H", "C", "N", "O"])
    e0s = choose_e0s(
        "auto", frames=frames, isolated=complete, foundation=FOUNDATION, predicted=predicted
    )
    assert (e0s.values, e0s.compositions) == (TRUE, None)
    assert not needs_prediction("isolated")

    with pytest.raises(DataError, match="no isolated atom of O"):
        choose_e0s("isolated", frames=frames, isolated=atoms[:2], foundation=FOUNDATION)
    assert needs_prediction("auto")
    e0s = choose_e0s(
        "auto", frames=frames, isolated=atoms[:2], foundation=FOUNDATION, predicted=predicted
    )
    assert e0s.method == "reestimate"
    assert "no isolated atom of O (the others are not used)" in e0s.reason


@pytest.mark.parametrize(("off", "method"), [(0.25, "isolated"), (0.35, "reestimate")])
def test_isolated_atoms_of_another_kind_than_the_models_are_not_taken(off, method):
    """Where they would leave much to learn: atoms of a model without spin polarisation, say."""
    frames, predicted = problem(["CH4", "H2O"])
    sizes = np.array([5, 3])
    found = choose_e0s(
        "auto",
        frames=frames,
        isolated=isolated(["H", "C", "O"]),
        foundation=FOUNDATION,
        predicted=predicted - off * sizes,
    )
    assert found.method == method
    assert ("would leave 0.35 eV per atom" in found.reason) == (method == "reestimate")
    asked = choose_e0s(
        "isolated", frames=frames, isolated=isolated(["H", "C", "O"]), foundation=FOUNDATION
    )
    assert asked.method == "isolated"


def test_isolated_atoms_that_cannot_be():
    def choose(*bad):
        choose_e0s("isolated", frames=[frame("H2", -1.0)], isolated=bad, foundation=FOUNDATION)

    with pytest.raises(DataError, match="another energy"):
        choose(frame("H", -1.0), frame("H", -1.1))
    choose(frame("H", -1.0), frame("H", -1.0))
    with pytest.raises(DataError, match="neutral"):
        choose(frame("H", -1.0, charge=1))
    with pytest.raises(DataError, match="one atom"):
        choose(frame("H", -1.0), frame("HO", -1.0))
    with pytest.raises(DataError, match="Na"):
        choose(frame("H", -1.0), frame("Na", -1.0))


def test_foundation_and_table():
    frames, _ = problem(["CH4", "H2O"])
    e0s = choose_e0s("foundation", frames=frames, foundation=FOUNDATION)
    assert (e0s.values, e0s.compositions) == (FOUNDATION, None)
    table = {"H": -1.0, "C": -2.0, "O": -3.0}
    e0s = choose_e0s("table", frames=frames, foundation=FOUNDATION, table=table)
    assert e0s.values == {1: -1.0, 6: -2.0, 7: FOUNDATION[7], 8: -3.0}
    assert e0s.fixes(Atoms("CO").numbers)
    assert not e0s.fixes(Atoms("CN").numbers)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "guess"}, "no 'guess'"),
        ({"method": "table"}, "table"),
        ({"method": "auto", "table": {"H": 1.0}}, "only with it"),
        ({"method": "table", "table": {"H": 1.0, "C": 1.0, "O": 1.0, "Hx": 1.0}}, "'Hx'"),
        ({"method": "table", "table": {"H": 1.0, "C": 1.0, "O": 1.0, "Na": 1.0}}, "Na"),
        ({"method": "table", "table": {"H": 1.0, "C": 1.0}}, "O is in the data"),
    ],
)
def test_settings_that_contradict(settings, says):
    frames, _ = problem(["CH4", "H2O"])
    with pytest.raises(ConfigError, match=says):
        choose_e0s(**settings, frames=frames, foundation=FOUNDATION)


def test_data_that_cannot_be_fitted():
    frames, predicted = problem(["CH4", "H2O"])
    bare = Frame(frames[1].atoms, None, "b.xyz#3")
    with pytest.raises(DataError, match=r"b.xyz#3"):
        choose_e0s("average", frames=[frames[0], bare], foundation=FOUNDATION)
    with pytest.raises(DataError, match="no labelled frame"):
        choose_e0s("average", frames=[], foundation=FOUNDATION)
    with pytest.raises(DataError, match="O is in the data"):
        choose_e0s("average", frames=frames, foundation={1: 0.0, 6: 0.0})
    predicted[1] = np.nan
    with pytest.raises(DataError, match=r"H2O.*finite"):
        choose_e0s("reestimate", frames=frames, foundation=FOUNDATION, predicted=predicted)
    with pytest.raises(ValueError, match="every frame"):
        choose_e0s("reestimate", frames=frames, foundation=FOUNDATION)


def test_compositions_are_independent_and_from_the_data():
    formulas = ["CH4", "C2H8", "H2O", "CH6O", "CO2", "C3H8"]
    _, rows = minimum_norm([frame(f, 0.0) for f in formulas], np.zeros(6))
    assert np.linalg.matrix_rank(rows) == len(rows) == 3
    counts = [[4, 1, 0], [8, 2, 0], [2, 0, 1], [6, 1, 1], [0, 1, 2], [8, 3, 0]]
    assert all(row in counts for row in rows.tolist())
