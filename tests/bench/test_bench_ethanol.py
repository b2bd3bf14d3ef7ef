"""The pure functions of python -m bench ethanol: conformations, shares, scores."""

import math

import numpy as np
import pytest
from ase.build import molecule

from bench.onthefly.conformations import (
    conformation,
    counted,
    dihedrals,
    hydroxyl,
    share,
    transitions,
)
from bench.onthefly.evidence import scores


def test_the_chain_is_found_by_bonds_in_any_order_of_atoms() -> None:
    atoms = molecule("CH3CH2OH")
    expected = [atoms.positions[i].tolist() for i in hydroxyl(atoms)]
    order = np.random.default_rng(0).permutation(len(atoms))
    shuffled = atoms[order]
    chain = hydroxyl(shuffled)
    assert [shuffled.symbols[i] for i in chain] == ["H", "O", "C", "C"]
    assert [shuffled.positions[i].tolist() for i in chain] == expected


def test_without_exactly_one_chain_there_is_no_dihedral() -> None:
    two = molecule("CH3CH2OH")
    two.translate([20, 0, 0])
    two += molecule("CH3CH2OH")
    for atoms in (molecule("CH3OH"), molecule("H2O"), two):
        with pytest.raises(ValueError, match="chains H-O-C-C"):
            hydroxyl(atoms)


def test_dihedrals_are_ases() -> None:
    atoms = molecule("CH3CH2OH")
    chain = hydroxyl(atoms)
    wanted = np.array([-179.0, -120.0, -60.0, -1.0, 0.0, 30.0, 90.0, 150.0, 180.0])
    frames = []
    for angle in wanted:
        atoms.set_dihedral(*chain[::-1], angle, indices=[chain[0]])
        frames.append(atoms.positions.copy())
    assert dihedrals(np.array(frames), chain) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("turns", [-360, 0, 360])
def test_conformations(sign: int, turns: int) -> None:
    names = {
        0: "gauche–gauche",
        29: "gauche–gauche",
        31: "gauche",
        60: "gauche",
        89: "gauche",
        91: "gauche–anti",
        120: "gauche–anti",
        149: "gauche–anti",
        151: "anti",
        180: "anti",
    }
    for angle, name in names.items():
        assert conformation(sign * angle + turns) == name


def test_every_angle_is_counted_once() -> None:
    counts = counted(np.arange(-179.5, 180, 1.0))
    assert counts == {"anti": 60, "gauche": 120, "gauche–anti": 120, "gauche–gauche": 60}


def test_the_error_of_a_share_is_the_scatter_of_repeated_counts() -> None:
    rng = np.random.default_rng(1)
    n, p, repeats = 40, 0.05, 20_000
    shares, errors = np.array([share(int(k), n) for k in rng.binomial(n, p, repeats)]).T
    assert share(2, 40) == pytest.approx((0.05, math.sqrt(0.05 * 0.95 / 40)))
    # in units of the standard error of the mean, and the variances on average up to (n − 1)/n
    assert abs(shares.mean() - p) < 4 * shares.std() / math.sqrt(repeats)
    assert np.mean(errors**2) == pytest.approx(shares.var() * (n - 1) / n, rel=0.05)
    assert all(math.isnan(x) for x in share(0, 0))


def _errors(tuned: list[float], untuned: list[float]) -> dict[str, list[float]]:
    n = len(tuned)
    return {
        "tuned": tuned,
        "untuned": untuned,
        "raw_std": [0.01] * n,
        "tail": [0.5] * (n - 1) + [0.01],
        "limit": [0.02] * n,
        "tuned_f2": [0.01] * n,
        "untuned_f2": [0.04] * n,
    }


def test_scores_remove_each_runs_own_mean_error() -> None:
    one = _errors([0.101, 0.099], [1.01, 0.99])
    other = _errors([0.001, -0.001], [-0.51, -0.49])
    found = scores([one, other])
    assert found["rmse_tuned_meV"] == pytest.approx(1.0)
    assert found["rmse_untuned_meV"] == pytest.approx(10.0)
    assert found["rmse_ratio"] == pytest.approx(0.1)
    assert found["over_threshold"] == pytest.approx((0.5, 0.25)), "errors as they are"
    assert found["coverage_95"] == pytest.approx((0.5, 0.25))
    assert found["force_rmse_tuned_meV_per_A"] == pytest.approx(100.0)


def test_without_a_target_no_share_is_over_it() -> None:
    errors = _errors([0.0, 1.0], [0.0, 1.0]) | {"limit": [math.nan, math.nan]}
    found = scores([errors])
    assert math.isnan(found["over_threshold"][0])
    assert found["frames"] == 2


def test_transitions_pool_frames_and_labels() -> None:
    none = dict.fromkeys(("anti", "gauche", "gauche–anti", "gauche–gauche"), 0)
    first = {
        "time": none | {"anti": 80, "gauche–anti": 20},
        "labels": none | {"anti": 2, "gauche–anti": 2},
    }
    second = {"time": none | {"gauche": 100}, "labels": none}
    found = transitions([first, second])
    assert found["labels"] == 4
    assert found["gauche–anti"]["time"] == pytest.approx(0.1)
    assert found["gauche–anti"]["labels"] == pytest.approx((0.5, 0.25))
    assert found["gauche–gauche"]["labels"] == (0, 0)
