"""Targets in units, limits per atom, and decisions against the calibration's own probabilities."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from pydantic import ValidationError

from tunesmith.acquire.target import Target
from tunesmith.acquire.threshold import Region, Threshold
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import Prediction, Quantities, Settings
from tunesmith.errors import ConfigError, ModelError, UnitError
from tunesmith.settings import build, plain

ETHANOL = molecule("CH3CH2OH")
CALIBRATION = {
    "energy": GammaCalibration(3, 10).update(0.01, 0.02),
    "forces": GammaCalibration(3, 10).update(0.1, 0.3),
}


def prediction(energy_std=0.01, force_std=0.01, energy=-1.0, n=9) -> Prediction:
    """One structure with this spread, half of its variance predicted as noise."""
    std = np.broadcast_to(force_std, (n, 3))
    half = Quantities(np.array([energy_std**2 / 2]), std**2 / 2)
    mean = Quantities(np.array([energy]), np.zeros((n, 3)))
    return Prediction(mean, np.array([n]), half, half)


# ---------------------------------------------------------------------------------- target


def test_an_energy_target_is_of_the_whole_structure():
    for text in ("0.5 kcal/mol", "0.5 kcal/mol per structure", "0.5 kcal/mol/structure"):
        found = Target(energy=text).energy_of(ETHANOL)
        assert found == pytest.approx(0.5 * units.kcal / units.mol)
    assert Target(forces="1 eV/Å").energy_of(ETHANOL) is None


def test_a_target_per_atom_is_refused_with_both_values():
    with pytest.raises(ConfigError) as refused:
        Target(energy="2 meV per atom").energy_of(ETHANOL)
    assert str(refused.value) == (
        "target.energy: '2 meV per atom' is per atom, but the criterion is of the whole "
        "structure; for these 9 atoms write '18 meV per structure'."
    )


def test_force_targets_by_element():
    everywhere = Target(forces="100 meV/Å").forces_of(ETHANOL)
    np.testing.assert_allclose(everywhere, np.full(9, 0.1))
    named = Target(forces={"H": "50 meV/Å", "default": "0.1 eV/Å"}).forces_of(ETHANOL)
    np.testing.assert_allclose(named, np.where(ETHANOL.numbers == 1, 0.05, 0.1))
    only = Target(forces={"O": "50 meV/Å"}).forces_of(ETHANOL)
    np.testing.assert_allclose(only, np.where(ETHANOL.numbers == 8, 0.05, np.inf))
    assert Target(energy="1 eV").forces_of(ETHANOL) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"energy": "0.5"}, "target.energy: '0.5' needs a number and a unit of energy"),
        ({"energy": "0.5 eV/Å"}, "target.energy: unknown unit 'eV/Å' of energy"),
        ({"energy": "0 eV"}, "target.energy: '0 eV' must be over zero"),
        ({"energy": "1e999 eV"}, "target.energy: '1e999 eV' is more than"),
        ({"energy": 0.5}, "target.energy: 0.5 was given, but a text"),
        ({"forces": 0.1}, "target.forces: 0.1 was given, but a text"),
        ({"forces": "-1 eV/Å"}, "target.forces: '-1 eV/Å' must be over zero"),
        ({"forces": {"H": "50 meV"}}, "target.forces.H: unknown unit 'meV' of force"),
        ({"forces": {"H": 0.05}}, "target.forces.H: 0.05 needs a number and a unit"),
        ({"forces": {"h": "1 eV/Å"}}, "target.forces.h: there is no such element"),
        ({"forces": {"Xx": "1 eV/Å"}}, "target.forces.Xx: there is no such element"),
        ({"forces": {"X": "1 eV/Å"}}, "target.forces.X: there is no such element"),
        ({"forces": {}}, "target.forces: no element is named"),
        ({"energy": "1 eV", "probability": 1.0}, "target.probability: 1.0 was given"),
        ({"energy": "1 eV", "confidence": 0.9}, "target.confidence: no such setting"),
    ],
)
def test_targets_without_meaning_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError) as refused:
        build(Target, settings, "target", default="error")
    assert str(refused.value).startswith(message)
    assert str(refused.value).count("\n") == 0


def test_units_are_refused_as_such_from_python_too():
    with pytest.raises(UnitError, match=r"target\.energy"):
        Target(energy="3 apples")


# ---------------------------------------------------------------------------------- limits


def test_regions_win_over_the_target_tighter_or_looser():
    target = Target(energy="20 meV", forces="100 meV/Å", probability=0.1)
    criteria = Threshold(
        regions=(
            Region(atoms="0-1, 8", forces="50 meV/Å"),
            Region(atoms=(3,), forces="1 eV/Å"),
        )
    )
    limits = criteria.limits(target, ETHANOL, 0)
    expected = np.full(9, 0.1)
    expected[[0, 1, 8]], expected[3] = 0.05, 1.0
    np.testing.assert_allclose(limits.forces, expected)
    assert (limits.energy, limits.probability) == (pytest.approx(0.02), 0.1)


def test_a_region_may_be_all_that_is_judged_of_the_forces():
    criteria = Threshold(regions=(Region(atoms="2", forces="50 meV/Å"),))
    limits = criteria.limits(Target(), ETHANOL, 0)
    assert limits.energy is None
    assert np.flatnonzero(limits.forces < np.inf).tolist() == [2]
    assert criteria.judges_forces(Target())
    assert Threshold().judges_forces(Target(forces="1 eV/Å"))
    assert not Threshold().judges_forces(Target(energy="1 eV"))


def test_thresholds_start_wide_and_shrink_geometrically():
    criteria = Threshold(start_factor=8, start_labels=3)
    target = Target(energy="10 meV", forces="100 meV/Å")
    found = [criteria.limits(target, ETHANOL, labels) for labels in range(6)]
    np.testing.assert_allclose([x.energy for x in found], [0.08, 0.04, 0.02, 0.01, 0.01, 0.01])
    np.testing.assert_allclose(found[1].forces, np.full(9, 0.4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_factor": 4}, "acquire.start_factor: does nothing without acquire.start_labels"),
        ({"start_labels": 4}, "acquire.start_labels: does nothing without acquire.start_factor"),
        ({"start_factor": 0.5}, "acquire.start_factor: 0.5 was given, but a value of at least 1"),
        ({"max_gap": "500"}, "acquire.max_gap: '500' needs a number and a unit of time"),
        ({"max_gap": "0 fs"}, "acquire.max_gap: '0 fs' must be over zero"),
        (
            {
                "regions": [
                    {"atoms": "0-3", "forces": "1 eV/Å"},
                    {"atoms": [3], "forces": "2 eV/Å"},
                ]
            },
            "acquire.regions: atom 3 is named twice",
        ),
        (
            {"regions": [{"atoms": "0-3", "forces": "1 eV"}]},
            "acquire.regions.0.forces: unknown unit 'eV' of force",
        ),
        (
            {"regions": [{"atoms": "4-2", "forces": "1 eV/Å"}]},
            "acquire.regions.0.atoms: '4-2' is no index and no range",
        ),
        (
            {"regions": [{"atoms": [], "forces": "1 eV/Å"}]},
            "acquire.regions.0.atoms: () was given, but indices from 0 are needed",
        ),
        ({"regions": [{"atoms": "1"}]}, "acquire.regions.0.forces: not given"),
    ],
)
def test_criteria_without_meaning_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError) as refused:
        build(Threshold, settings, "acquire", default="threshold")
    assert str(refused.value).startswith(message)


def test_what_does_not_fit_the_structure_is_refused():
    water = molecule("H2O")
    target = Target(energy="1 eV")
    with pytest.raises(ConfigError, match=r"atom 8 is named, but a structure has 3 atoms, 0 to 2"):
        Threshold(regions=(Region(atoms="8", forces="1 eV/Å"),)).limits(target, water, 0)
    with pytest.raises(ConfigError, match="nothing of H2O is judged"):
        Threshold().limits(Target(forces={"C": "1 eV/Å"}), water, 0)
    with pytest.raises(ConfigError, match="nothing of H2O is judged"):
        Threshold().limits(Target(), water, 0)
    with pytest.raises(ConfigError, match=r"'6 meV per structure'"):
        Threshold().limits(Target(energy="2 meV/atom"), water, 0)


def test_settings_are_frozen_and_survive_their_own_mapping():
    target = Target(energy="1 eV", forces={"H": "50 meV/Å"})
    criteria = Threshold(regions=(Region(atoms="0-2", forces="1 eV/Å"),), max_gap="1 ps")
    for path, kind, settings in [("target", "error", target), ("acquire", None, criteria)]:
        saved = json.loads(json.dumps(plain(settings)))
        assert build(Settings, saved, path, default=kind) == settings
    with pytest.raises(ValidationError, match="frozen"):
        target.energy = "2 eV"


# -------------------------------------------------------------------------------- decisions


def decide(target, found, criteria=None, gap=0.0, atoms=ETHANOL):
    criteria = criteria or Threshold()
    return criteria.decide(criteria.limits(target, atoms, 0), found, CALIBRATION, gap)


@pytest.mark.parametrize(("energy_std", "label"), [(0.001, False), (0.03, True)])
def test_energy_alone(energy_std, label):
    decision = decide(Target(energy="20 meV"), prediction(energy_std))
    expected = CALIBRATION["energy"].exceedance(energy_std, 0.02)
    assert decision.label is label
    assert decision.probability == decision.energy_probability == pytest.approx(expected)
    assert decision.energy_std == pytest.approx(CALIBRATION["energy"].std(energy_std))
    assert decision.forces_probability is None
    assert decision.reason == f"P(|energy error| > 20 meV) = {100 * expected:.2g} %"


def test_forces_of_any_atom_and_which_one_is_likeliest():
    std = np.full((9, 3), 0.005)
    std[4] = 0.08
    decision = decide(Target(forces="200 meV/Å"), prediction(force_std=std))
    assert decision.label
    assert decision.energy_probability is None
    assert decision.reason.startswith("P(a force error > 200 meV/Å, likeliest at atom 4) = ")
    at_atom_4 = CALIBRATION["forces"].exceedance_any(std[4:5], np.array([0.2]))
    assert decision.probability == pytest.approx(at_atom_4, rel=0.01)
    blind = Threshold(regions=(Region(atoms=(4,), forces="20 eV/Å"),))
    assert not decide(Target(forces="200 meV/Å"), prediction(force_std=std), blind).label


def test_both_criteria_and_the_larger_probability_speaks():
    target = Target(energy="20 meV", forces="200 meV/Å")
    for energy_std, force_std, word in [(0.03, 0.001, "energy"), (0.001, 0.08, "force")]:
        decision = decide(target, prediction(energy_std, force_std))
        assert decision.label
        assert word in decision.reason
        both = (decision.energy_probability, decision.forces_probability)
        assert decision.probability == max(both)
    assert not decide(target, prediction(0.001, 0.001)).label


def test_the_probability_asked_for_decides():
    found = prediction(0.01)
    p = decide(Target(energy="20 meV"), found).probability
    assert decide(Target(energy="20 meV", probability=p * 0.99), found).label
    assert not decide(Target(energy="20 meV", probability=p * 1.01), found).label


def test_a_gap_without_labels_ends_at_its_length():
    criteria, sure = Threshold(max_gap="0.5 ps"), prediction(1e-4)
    assert not decide(Target(energy="20 meV"), sure, criteria, gap=499.5).label
    decision = decide(Target(energy="20 meV"), sure, criteria, gap=500.0 - 1e-9)
    assert decision.label
    assert decision.probability < 0.05
    assert decision.reason.startswith("no label for 0.5 ps (acquire.max_gap); P(|energy error|")


@pytest.mark.parametrize(
    "broken", [{"energy_std": np.nan}, {"energy": np.inf}, {"energy_std": np.inf}]
)
def test_a_prediction_that_is_no_number_is_labelled(broken):
    decision = decide(Target(energy="20 meV"), prediction(**broken))
    assert decision.label
    assert decision.probability == 1.0
    assert decision.reason == "the prediction is not a finite number"


def test_forces_spread_that_was_not_asked_for_may_be_missing():
    unknown = prediction(0.001, np.nan)
    assert not decide(Target(energy="20 meV"), unknown).label
    assert decide(Target(forces="200 meV/Å"), unknown).label
    std = np.full((9, 3), np.nan)
    std[8] = 0.001
    only_oxygen = Target(forces={"O": "200 meV/Å"})
    oxygen_last = Atoms("C2H6O", positions=np.arange(27).reshape(9, 3))
    assert not decide(only_oxygen, prediction(force_std=std), atoms=oxygen_last).label


def test_a_single_member_is_refused():
    lonely = Prediction(Quantities(np.zeros(1), np.zeros((9, 3))), np.array([9]))
    with pytest.raises(ModelError, match="use a committee"):
        decide(Target(energy="20 meV"), lonely)
