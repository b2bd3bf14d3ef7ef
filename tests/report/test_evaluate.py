"""Evaluations of posteriors with planted errors."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa
from rich.console import Console

from planted import Planted, committee, frame, plant
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import E0s
from tunesmith.errors import ConfigError, DataError, ModelError
from tunesmith.report.evaluate import evaluate
from tunesmith.report.plots import parity
from tunesmith.report.reliability import of_evaluation
from tunesmith.report.tables import evaluation_table
from tunesmith.units import Quantity


def test_planted_errors_come_back_in_report_units(water_and_methane):
    # +6 meV/atom on water (3 atoms), −10 meV/atom on methane (5 atoms); every force off by 0.1
    planted = plant(water_and_methane, [0.018] * 4 + [-0.05] * 2, 0.1)
    s = evaluate(planted, water_and_methane, batch_size=4).summary()
    assert (s["n_frames"], s["n_atoms"]) == (6, 22)
    assert s["energy_rmse_meV_per_atom"] == pytest.approx(np.sqrt((4 * 36 + 2 * 100) / 6))
    assert s["energy_mae_meV_per_atom"] == pytest.approx((4 * 6 + 2 * 10) / 6)
    assert s["energy_mean_error_meV_per_atom"] == pytest.approx((4 * 6 - 2 * 10) / 6)
    assert s["force_rmse_meV_per_A"] == pytest.approx(100.0)
    assert s["force_mae_meV_per_A"] == pytest.approx(100.0)
    assert s["max_force_error_meV_per_A"] == pytest.approx(100.0 * np.sqrt(3))
    reference = np.concatenate([f.label.forces for f in water_and_methane])
    assert s["force_rms_reference_meV_per_A"] == pytest.approx(1e3 * np.sqrt((reference**2).mean()))
    expected = 1 - 0.01 * reference.size / np.sum((reference - reference.mean()) ** 2)
    assert s["force_r2"] == pytest.approx(expected)
    # a constant per composition is all that is wrong, so nothing is left within compositions
    assert s["energy_rmse_within_composition_meV_per_atom"] == pytest.approx(0.0, abs=1e-6)
    assert s["energy_r2_within_composition"] == pytest.approx(1.0)
    assert planted.batches == [(4, False), (2, False)]


def test_a_frame_alone_says_nothing_within_its_composition(water_and_methane):
    frames = water_and_methane[:5]
    s = evaluate(plant(frames, [0.003, -0.003, 0.003, -0.003, 9.0]), frames).summary()
    assert s["energy_rmse_within_composition_meV_per_atom"] == pytest.approx(1.0, rel=1e-6)


def test_summary_is_strict_json_and_has_no_spread_for_one_member(water_and_methane):
    s = evaluate(plant(water_and_methane, 0.01, 0.1), water_and_methane).summary()
    assert json.loads(json.dumps(s, allow_nan=False)) == s
    assert s["n_members"] == 1
    assert not {"spread", "over_threshold", "stress_rmse_GPa", "notes"} & set(s)


def test_errors_per_element_and_per_config_type(water_and_methane):
    forces = [[np.zeros((len(f.atoms), 3)) for f in water_and_methane]]
    forces[0][0][water_and_methane[0].atoms.numbers == 8] = [0.3, 0.0, -0.4]  # "cold"
    posterior = Planted(water_and_methane, np.zeros((1, 6)), forces)
    s = evaluate(posterior, water_and_methane).summary()
    oxygen = s["per_element"]["O"]
    assert list(s["per_element"]) == ["H", "C", "O"]
    assert oxygen["n_atoms"] == 4
    assert oxygen["force_rmse_meV_per_A"] == pytest.approx(500 / np.sqrt(12))
    assert oxygen["force_mae_meV_per_A"] == pytest.approx(700 / 12)
    assert oxygen["max_force_error_meV_per_A"] == pytest.approx(500)
    assert s["per_element"]["H"]["force_rmse_meV_per_A"] == pytest.approx(0.0, abs=1e-9)
    assert s["per_config_type"]["warm"]["force_mae_meV_per_A"] == pytest.approx(0.0, abs=1e-9)
    # cold: two waters and one methane, 11 atoms, 33 components
    assert s["per_config_type"]["cold"]["force_mae_meV_per_A"] == pytest.approx(700 / 33)
    assert s["per_config_type"]["cold"]["n_frames"] == 3


def test_worst_frames_are_ranked_by_size(water_and_methane):
    posterior = plant(water_and_methane, np.array([0.0, -3.0, 0.3, 0, 0, 1.0]))
    posterior.forces[0][4][2] = [0.0, 2.0, 0.0]
    worst = evaluate(posterior, water_and_methane).summary()["worst_frames"]
    assert [row["index"] for row in worst["energy"][:3]] == [1, 5, 2]
    assert worst["energy"][0]["energy_error_meV_per_atom"] == pytest.approx(-1000.0)
    first = worst["force"][0]
    assert (first["origin"], first["composition"]) == ("t.xyz#4", "CH4")
    assert first["max_force_error_meV_per_A"] == pytest.approx(2000.0)


def test_stress_is_compared_where_labelled_and_periodic(salt, water_and_methane):
    frames = [water_and_methane[0], *salt]
    frames[2] = replace(salt[1], label=replace(salt[1].label, stress=None))
    error = np.zeros((3, 3))
    error[0, 1] = error[1, 0] = 0.6  # one of the six independent components
    posterior = plant(frames, 0.0, stress=np.array([[error * GPa] * 3]))
    result = evaluate(posterior, frames, batch_size=1)
    s = result.summary()
    assert s["stress_rmse_GPa"] == pytest.approx(0.6 / np.sqrt(6))
    assert s["stress_mae_GPa"] == pytest.approx(0.1)
    assert s["n_frames_stress"] == 1
    assert [stress for _, stress in posterior.batches] == [False, True, False]
    together = evaluate(posterior, frames)  # one call: salt#1 is then predicted, not compared
    assert together.summary() == s
    assert np.isnan(together.stress.predicted[[0, 2]]).all()


def test_the_spread_of_stress_is_judged_each_component_once(salt):
    """Members that err by ±a and ±3a: std 2√2·a over two, error of the mean as planted."""
    rng = np.random.default_rng(0)
    size = rng.uniform(0.5, 1.5, (2, 3, 3))
    size = size + size.transpose(0, 2, 1)
    off = 0.01 * size
    posterior = Planted(
        salt, np.zeros((2, 2)), [[np.zeros((len(f.atoms), 3)) for f in salt]] * 2,
        stress=np.array([3 * off, off]),
    )  # fmt: skip
    s = evaluate(posterior, salt).summary()
    upper = np.triu_indices(3)
    std = np.sqrt(2) * off[:, *upper]
    assert s["spread"]["stress"]["rms_std_eV_per_A3"] == pytest.approx(np.sqrt(np.mean(std**2)))
    # the error is 2 off, √2 times the std: outside 50 and inside 90 %
    assert s["spread"]["stress"]["coverage"] == {"0.5": 0.0, "0.9": 1.0, "0.95": 1.0}
    posterior.calibration = {"stress": GammaCalibration(3, 10).update(1.0, 2.0)}
    calibrated = evaluate(posterior, salt).summary()["spread"]["stress"]
    factor = posterior.calibration["stress"].std(1.0)
    assert calibrated["rms_std_eV_per_A3"] == pytest.approx(factor * np.sqrt(np.mean(std**2)))
    # a raw spread beside calibrated ones would be taken for an error bar
    posterior.calibration = {"energy": GammaCalibration(), "forces": GammaCalibration()}
    assert "stress" not in evaluate(posterior, salt).summary()["spread"]


def test_a_model_without_stress_is_said_not_to_have_one(salt):
    s = evaluate(plant(salt, 0.0, gives_stress=False), salt).summary()
    assert "stress_rmse_GPa" not in s
    assert any("Stress is not compared" in note for note in s["notes"])


# -------------------------------------------------------------------------- open compositions


def _water_only():
    return E0s({1: -13.0, 6: -1000.0, 8: -2000.0}, elements=(1, 6, 8), compositions=((2, 0, 1),))


def test_a_composition_the_labels_do_not_fix_is_refused_with_the_cure(water_and_methane):
    posterior = plant(water_and_methane, 0.0, e0s=_water_only())
    with pytest.raises(DataError, match=r"t\.xyz#4.*CH4.*isolated atoms.*--relative"):
        evaluate(posterior, water_and_methane)
    assert posterior.batches == []  # refused before any work
    evaluate(posterior, water_and_methane[:4])  # water is fixed


def test_relative_energies_leave_each_compositions_mean_error_out(water_and_methane):
    energy = np.array([7.0, 7.0, 7.006, 7.006, -50.0, -50.0])
    posterior = plant(water_and_methane, energy, e0s=_water_only())
    result = evaluate(posterior, water_and_methane, relative_energies=True)
    s = result.summary()
    assert s["energies"] == "relative"
    assert s["energy_rmse_meV_per_atom"] == pytest.approx(np.sqrt(4 / 6), rel=1e-6)  # ±1 on water
    assert "energy_mean_error_meV_per_atom" not in s
    removed = 1e3 * (4 * 7.003 / 3 - 2 * 10) / 6
    assert s["energy_removed_mean_error_meV_per_atom"] == pytest.approx(removed)
    assert any("mean error was removed" in note for note in s["notes"])
    np.testing.assert_allclose(result.removed, [7.003] * 4 + [-50] * 2)


def test_a_frame_alone_with_its_composition_has_no_relative_energy(water_and_methane):
    frames = water_and_methane[:5]
    s = evaluate(plant(frames, 3.0), frames, relative_energies=True).summary()
    assert s["energy_rmse_meV_per_atom"] == pytest.approx(0.0, abs=1e-6)
    assert {row["index"] for row in s["worst_frames"]["energy"]} == {0, 1, 2, 3}
    assert "4 of 5 frames" in s["notes"][0]
    with pytest.raises(DataError, match="two frames of one composition"):
        evaluate(plant(frames[3:], 3.0), frames[3:], relative_energies=True)


# ------------------------------------------------------------------------------------- spread


def _many(rng, n=400):
    return [
        frame(
            Atoms("OH", rng.normal(size=(2, 3))),
            rng.normal() - 300.0,
            rng.normal(size=(2, 3)),
            f"many.xyz#{i}",
        )
        for i in range(n)
    ]


def test_spread_of_members_is_judged(rng):
    frames = _many(rng)
    n_members, spread = 5, 0.1
    posterior = committee(frames, rng, spread=spread, n_members=n_members)
    s = evaluate(posterior, frames).summary()
    assert s["n_members"] == n_members
    energy = s["spread"]["energy"]
    # the unbiased variance has mean spread², and the planted truth is a sixth draw
    assert energy["rms_std_eV"] == pytest.approx(spread, rel=0.1)
    from scipy import stats

    # error / (std·√(1+1/M)) follows Student's t with M−1 degrees of freedom: exact coverage
    for level in (0.5, 0.9, 0.95):
        z = stats.norm.ppf(0.5 + level / 2) / np.sqrt(1 + 1 / n_members)
        expected = 2 * stats.t.cdf(z, n_members - 1) - 1
        sigma = np.sqrt(expected * (1 - expected) / len(frames))
        assert abs(energy["coverage"][str(level)] - expected) < 4 * sigma
    assert {"nll_nats_in_eV", "ece", "ence", "spearman"} <= set(energy)
    assert "auc_roc_over_median_error" in energy
    assert set(s["spread"]["force"]) >= {"nll_nats_in_eV_per_A", "auc_roc_over_median_error"}
    json.dumps(s, allow_nan=False)


def test_a_calibrated_posterior_is_judged_by_its_calibrated_spread(rng):
    frames = _many(rng)
    posterior = committee(frames, rng, spread=0.1, n_members=5)
    raw = evaluate(posterior, frames).summary()
    law = GammaCalibration(3, 10)
    posterior.calibration = {"energy": law, "forces": law}
    judged = evaluate(posterior, frames).summary()
    assert not raw["spread_calibrated"]
    assert judged["spread_calibrated"]
    for name, unit in (("energy", "eV"), ("force", "eV_per_A")):
        before, after = (s["spread"][name][f"rms_std_{unit}"] for s in (raw, judged))
        assert after == pytest.approx(before * np.sqrt(10 / 2))  # λ_MAP = (3 − 1)/10


def test_nll_and_auc_of_four_frames_by_hand(rng):
    frames = _many(rng, 4)
    # two members at error ± d: mean error e, std d·√2
    e, d = np.array([0.1, -0.2, 0.4, -0.8]), np.array([0.1, 0.4, 0.3, 0.5])
    force = [[np.full((2, 3), x) for _ in frames] for x in (0.1, 0.3)]
    posterior = Planted(frames, np.array([e - d, e + d]), force)
    limits = {"energy": 0.3, "force": Quantity(0.3)}
    s = evaluate(posterior, frames, thresholds=limits).summary()
    var = 2 * d**2
    nll = np.mean(0.5 * e**2 / var + 0.5 * np.log(2 * np.pi * var))
    assert s["spread"]["energy"]["nll_nats_in_eV"] == pytest.approx(nll)
    # over 0.3 eV: frames 2 and 3 (d 0.3, 0.5) against 0 and 1 (d 0.1, 0.4): 3 of 4 pairs right
    assert s["spread"]["energy"]["auc_roc_over_threshold"] == pytest.approx(0.75)
    assert s["over_threshold"]["energy"] == {"threshold_eV": 0.3, "fraction_over": 0.5}
    # every atom's error vector is 0.2·√3 = 0.346 long: all over, so there is no AUC
    assert s["over_threshold"]["force"] == {"threshold_eV_per_A": 0.3, "fraction_over": 1.0}
    assert "auc_roc_over_threshold" not in s["spread"]["force"]


def test_the_force_score_of_an_atom_takes_all_three_directions(rng):
    frames = _many(rng, 1)
    # O is wrong and unsure along z, H is right and a little unsure along x
    spread = np.array([[0.0, 0.0, 0.5], [0.2, 0.0, 0.0]])
    error = np.array([[0.0, 0.0, 0.4], [0.0, 0.0, 0.1]])
    posterior = Planted(frames, np.zeros((2, 1)), [[error - spread], [error + spread]])
    s = evaluate(posterior, frames, thresholds={"force": 0.3}).summary()
    assert s["spread"]["force"]["auc_roc_over_threshold"] == 1.0
    assert s["spread"]["force"]["spearman"] == pytest.approx(1.0)


def test_a_threshold_per_atom_is_held_against_errors_per_atom(rng):
    frames = _many(rng, 4)  # two atoms each
    posterior = plant(frames, np.array([0.1, 0.3, 0.5, 0.7]))
    limits = {"energy": Quantity(0.2, "atom")}
    over = evaluate(posterior, frames, thresholds=limits).summary()["over_threshold"]["energy"]
    assert over == {"threshold_eV_per_atom": 0.2, "fraction_over": 0.5}


def test_members_that_agree_have_no_density(rng):
    frames = _many(rng, 3)
    force = [[np.full((2, 3), 0.1)] * 3] * 2
    s = evaluate(Planted(frames, np.full((2, 3), 0.5), force), frames).summary()
    assert "nll_nats_in_eV" not in s["spread"]["energy"]
    assert s["spread"]["energy"]["n_without_spread"] == 3
    assert s["spread"]["energy"]["coverage"]["0.95"] == 0.0
    json.dumps(s, allow_nan=False)


def test_components_that_symmetry_holds_are_left_out_of_scores(salt):
    """Off the diagonal members agree to rounding, and labels differ by what an engine leaves."""
    off = np.zeros((2, 3, 3))
    off[:, range(3), range(3)] = [[0.01, 0.012, 0.008], [0.02, 0.011, 0.015]]
    rounding = 1e-9 * np.ones((3, 3))
    posterior = Planted(
        salt, np.zeros((2, 2)), [[np.zeros((len(f.atoms), 3)) for f in salt]] * 2,
        stress=np.array([3 * off + 1e-6 + rounding, off + 1e-6]),
    )  # fmt: skip
    spread = evaluate(posterior, salt).summary()["spread"]["stress"]
    assert spread["n_held_by_symmetry"] == 6
    assert "n_without_spread" not in spread
    assert spread["coverage"]["0.95"] == 1.0
    assert spread["nll_nats_in_eV_per_A3"] < 0


def test_members_that_agree_and_are_wrong_are_not_left_out(salt):
    """Where one component is wrong by as much as others, and no member knows."""
    off = np.zeros((2, 3, 3))
    off[:, range(3), range(3)] = [[0.01, 0.012, 0.008], [0.02, 0.011, 0.015]]
    sure = off + 1e-6
    sure[:, 0, 1] = sure[:, 1, 0] = 0.01
    agree = 2 * off * np.eye(3) + sure
    posterior = Planted(
        salt, np.zeros((2, 2)), [[np.zeros((len(f.atoms), 3)) for f in salt]] * 2,
        stress=np.array([agree, sure]),
    )  # fmt: skip
    spread = evaluate(posterior, salt).summary()["spread"]["stress"]
    assert spread["n_held_by_symmetry"] == 4
    assert spread["n_without_spread"] == 2
    assert spread["coverage"]["0.95"] == 6 / 8


def test_relative_energies_judge_no_energy_spread(rng):
    frames = _many(rng, 10)
    s = evaluate(committee(frames, rng), frames, relative_energies=True).summary()
    assert list(s["spread"]) == ["force"]
    assert any("not judged" in note for note in s["notes"])


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("what", ["energy", "forces", "stress"])
def test_a_prediction_that_is_not_finite_names_its_frame(salt, what):
    posterior = plant(salt, np.zeros(2), stress=np.zeros((1, 2, 3, 3)))
    if what == "energy":
        posterior.energy = np.array([[0.0, np.nan]])
    elif what == "forces":
        posterior.forces[0][1][0, 2] = np.inf
    else:
        posterior.stress[0, 1, 0, 0] = np.nan
    with pytest.raises(ModelError, match=r"salt\.xyz#1 is not finite"):
        evaluate(posterior, salt)


def test_unusable_labels_are_refused_by_name(salt):
    bare = replace(salt[1], label=None)
    with pytest.raises(DataError, match=r"salt\.xyz#1 has no label"):
        evaluate(plant(salt, 0.0), [salt[0], bare])
    broken = replace(salt[1], label=replace(salt[1].label, energy=float("nan")))
    with pytest.raises(DataError, match=r"salt\.xyz#1.*not finite"):
        evaluate(plant(salt, 0.0), [salt[0], broken])
    short = replace(salt[1], label=replace(salt[1].label, forces=np.zeros((1, 3))))
    with pytest.raises(DataError, match=r"salt\.xyz#1.*shape"):
        evaluate(plant(salt, 0.0), [salt[0], short])
    with pytest.raises(DataError, match="no frame"):
        evaluate(plant(salt, 0.0), [])


@pytest.mark.parametrize("limits", [{"stress": 1.0}, {"energy": 0.0}, {"force": float("nan")}])
def test_thresholds_that_make_no_sense_are_refused(salt, limits):
    with pytest.raises(ConfigError, match="thresholds"):
        evaluate(plant(salt, 0.0), salt, thresholds=limits)


# ------------------------------------------------------------------------ what there is


def without(frame, part):
    """NaN for one part of a label, as `read_contents` with ``partial`` gives it."""
    missing = {
        "energy": {"energy": np.nan},
        "forces": {"forces": np.full_like(frame.label.forces, np.nan)},
    }
    return replace(frame, label=replace(frame.label, **missing[part]))


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("relative", [False, True])
def test_what_is_there_is_compared_as_if_the_rest_had_never_been(
    water_and_methane, members, relative
):
    """Energies of all but two, forces of all but three: each as of those frames alone."""
    planted = committee(water_and_methane, np.random.default_rng(2), n_members=members)
    given = list(water_and_methane)
    for i in (1, 5):
        given[i] = without(given[i], "energy")
    for i in (0, 2, 4):
        given[i] = without(given[i], "forces")
    options = {"relative_energies": relative, "partial": True}
    s = evaluate(planted, given, **options).summary()
    energies = [f for i, f in enumerate(water_and_methane) if i not in (1, 5)]
    forces = [f for i, f in enumerate(water_and_methane) if i not in (0, 2, 4)]
    e = evaluate(planted, energies, relative_energies=relative).summary()
    f = evaluate(planted, forces).summary()
    for stem, wanted in (("energ", e), ("force", f), ("max_force", f)):
        keys = [key for key in wanted if key.startswith(stem)]
        assert keys
        for key in keys:
            assert s[key] == pytest.approx(wanted[key]), key
    assert s["per_element"] == f["per_element"]
    if members > 1:
        assert s["spread"]["force"] == f["spread"]["force"]
        if not relative:
            assert s["spread"]["energy"] == e["spread"]["energy"]
    notes = " ".join(s["notes"])
    assert "Without energy, and compared by what they have: 2 of 6 frames." in notes
    assert "Without forces, and compared by what they have: 3 of 6 frames." in notes
    json.dumps(s, allow_nan=False)


@pytest.mark.parametrize("part", ["energy", "forces"])
def test_a_quantity_that_no_frame_has_is_absent(water_and_methane, part, tmp_path):
    planted = committee(water_and_methane, np.random.default_rng(2), n_members=2)
    given = [without(f, part) for f in water_and_methane]
    evaluation = evaluate(planted, given, partial=True)
    s = evaluation.summary()
    stem = {"energy": "energy", "forces": "force"}[part]
    measured = [k for k in s if k.startswith((f"{stem}_", f"max_{stem}"))]
    assert measured == []
    assert stem not in s["spread"]
    json.dumps(s, allow_nan=False)
    Console(file=io.StringIO()).print(evaluation_table(s))
    parity(evaluation, tmp_path / "parity.png")
    of_evaluation(evaluation, tmp_path / "reliability.png")
    asked = {"energy": {"energy": 0.1}, "forces": {"force": 0.1}}[part]
    with pytest.raises(ConfigError, match="no frame has a label to compare with it"):
        evaluate(planted, given, partial=True, thresholds=asked)
    if part == "energy":
        with pytest.raises(ConfigError, match="relative energies: no frame"):
            evaluate(planted, given, partial=True, relative_energies=True)
    with pytest.raises(DataError, match="not finite"):
        evaluate(planted, given)


def test_a_label_that_is_broken_is_not_one_that_is_absent(water_and_methane):
    planted = committee(water_and_methane, np.random.default_rng(2), n_members=2)
    first = water_and_methane[0]
    forces = first.label.forces.copy()
    forces[0, 0] = np.nan
    for label in (replace(first.label, forces=forces), replace(first.label, energy=np.inf)):
        with pytest.raises(DataError, match="not finite"):
            evaluate(planted, [replace(first, label=label)], partial=True)
    empty = without(without(first, "energy"), "forces")
    with pytest.raises(DataError, match="not finite"):
        evaluate(planted, [empty], partial=True)
