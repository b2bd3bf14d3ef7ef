"""Attacks by finite differences on plain ASE calculators: where they end, and why."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixedLine,
    FixedPlane,
)
from scipy.spatial.transform import Rotation

import argon
from opinions import models
from tunesmith.attack.differences import Calculators, Differences
from tunesmith.attack.objective import Target
from tunesmith.attack.scaled import Scaled
from tunesmith.attack.search import Attack, Attacked, attack
from tunesmith.core import Point
from tunesmith.errors import ConfigError, DataError, ModelError, UnitError
from tunesmith.explore.explosion import too_close


def committee() -> list[LennardJones]:
    """Two ASE calculators."""
    return [LennardJones(sigma=s, epsilon=e, rc=7.0) for s, e in ((3.4, 0.010), (3.35, 0.012))]


def cluster(seed: int = 0) -> Atoms:
    atoms = argon.cluster()
    atoms.rattle(0.05, seed=seed)
    return atoms


def crystal() -> Atoms:
    """Two atoms in a triclinic cell, each with its own images for neighbours."""
    atoms = bulk("Ar", "fcc", a=5.3).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * np.arange(9).reshape(3, 3) / 9), True)
    atoms.rattle(0.1, seed=4)
    return atoms


def settings(target: str = "20 meV/Å", **changes: Any) -> Attack:
    return Attack.model_validate({"target": target, **changes})


def run(frames: list[Atoms], wanted: Attack, **options: Any) -> list[Attacked]:
    objective = wanted.objective(None)
    return attack(frames, wanted, Differences(models, objective, **options).evaluate)


def expected_std(atoms: Atoms) -> np.ndarray:
    """Root of the summed variances of every atom's force, eV/Å."""
    (said,) = models([atoms])
    return np.sqrt(np.var(said.forces, axis=0, ddof=1).sum(1))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


# ------------------------------------------------------------------------ where it ends


def test_structures_end_where_the_spread_is_the_target() -> None:
    frames = [cluster(0), crystal(), cluster(1)]
    for start, found in zip(frames, run(frames, settings("6 meV/Å")), strict=True):
        assert found.reason == "on target"
        assert found.std == pytest.approx(6e-3, rel=0.05)
        assert found.std == pytest.approx(rms(expected_std(found.atoms)), rel=1e-6)
        assert found.largest_std == pytest.approx(expected_std(found.atoms).max(), rel=1e-6)
        assert found.start_std == pytest.approx(rms(expected_std(start)), rel=1e-6)
        assert abs(found.start_std - 6e-3) > 0.05 * 6e-3
        assert (found.strain > 0) == bool(start.pbc.all())
        moved = np.linalg.norm(found.atoms.positions - start.positions, axis=1).max()
        assert start.pbc.all() or found.displacement == pytest.approx(moved)


def test_together_as_alone() -> None:
    """How many are evaluated in one batch changes nothing."""
    frames = [cluster(0), crystal(), cluster(1)]
    alone = run(frames, settings("6 meV/Å", batch=1))
    together = run(frames, settings("6 meV/Å", batch=2))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.atoms.positions, other.atoms.positions)
        assert np.array_equal(one.atoms.cell.array, other.atoms.cell.array)
        assert (one.std, one.evaluations) == (other.std, other.evaluations)


def test_every_atom_is_on_target_not_their_mean() -> None:
    """Σ(σ_i − δ)² ≤ N (tolerance · δ)², whatever the mean over atoms says at the start."""
    start = cluster()
    std = expected_std(start)
    target = rms(std)
    assert rms(std - target) > 0.09 * target  # its mean is on target, its atoms are not
    (found,) = run([start], settings(f"{target} eV/Å"))
    off = rms(expected_std(found.atoms) - target)
    assert (found.reason, found.displacement > 0) == ("on target", True)
    assert off <= 0.05 * target
    assert found.off == pytest.approx(off, rel=1e-6)


def test_a_start_on_target_stays() -> None:
    (reached,) = run([cluster()], settings("6 meV/Å"))
    (found,) = run([reached.atoms], settings("6 meV/Å"))
    assert (found.reason, found.evaluations, found.displacement) == ("on target", 1, 0.0)
    assert np.array_equal(found.atoms.positions, reached.atoms.positions)


def test_where_atoms_cannot_all_be_on_target_the_sum_is_smallest() -> None:
    """Four of seven atoms are fixed."""
    start = cluster()
    start.set_constraint(FixAtoms(range(4)))
    wanted = settings("20 meV/Å", evaluations=200)
    (found,) = run([start], wanted, central=True)
    assert found.reason == "stalled"
    assert found.off > 0.05 * 0.02
    assert abs(found.std - 0.02) < 0.05 * 0.02  # the mean alone would have been on target
    differences = Differences(models, wanted.objective(None), central=True)
    end, begin = (differences.evaluate({0: atoms})[0] for atoms in (found.atoms, start))
    assert end.value == pytest.approx(len(start) * found.off**2, rel=1e-6)
    slopes = [np.abs(point.positions[4:]).max() for point in (end, begin)]
    assert slopes[0] < 0.05 * slopes[1]


def test_a_minimum_off_target_is_a_stall() -> None:
    """Low forces and a high spread cannot be had together; the gradient vanishes between them."""
    start, wanted = cluster(), settings("15 meV/Å", force_bias=1.0)
    (found,) = run([start], wanted, central=True)
    assert found.reason == "stalled"
    differences = Differences(models, wanted.objective(None), central=True)
    end, begin = (differences.evaluate({0: atoms})[0] for atoms in (found.atoms, start))
    assert np.abs(end.positions).max() < 0.01 * np.abs(begin.positions).max()
    assert end.value < begin.value


def test_evaluations_are_limited() -> None:
    (found,) = run([cluster()], settings("15 meV/Å", evaluations=3))
    assert (found.reason, found.evaluations) == ("evaluations", 3)
    assert found.std > found.start_std


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"min_distance": 0.98, "max_displacement": "3 Å"}, "too close"),
        ({"max_displacement": "0.1 Å", "min_distance": 0.3}, "too far"),
    ],
)
def test_no_limit_is_violated(changes: dict[str, Any], reason: str) -> None:
    """A target far too high drives atoms into each other; what is returned keeps to the limit."""
    start = argon.cluster()
    start.set_positions(start.positions * 0.95)
    wanted = settings("5 eV/Å", evaluations=400, **changes)
    (found,) = run([start], wanted)
    assert found.reason == reason
    radii = np.full(7, 1.06)
    assert too_close(found.atoms, wanted.min_distance, radii) is None
    assert found.displacement <= wanted.reach
    # and comes near it
    if reason == "too far":
        assert found.displacement > 0.5 * wanted.reach
    else:
        assert too_close(found.atoms, 1.02 * wanted.min_distance, radii) is not None
    assert found.std > found.start_std


def test_the_cell_is_limited_too() -> None:
    wanted = settings("300 meV/Å", max_strain=0.02, max_displacement="5 Å")
    (found,) = run([crystal()], wanted)
    assert found.strain <= 0.02
    assert found.reason == "too far"
    assert found.strain > 0.01


def test_a_bias_is_followed_to_the_end() -> None:
    """A pressure that the target alone would not give; the spread is still what it should be."""
    pull = {"quantity": "pressure", "value": "0.3 GPa", "width": "0.01 GPa"}
    pressures = []
    for bias in ([], [pull]):
        (found,) = run([crystal()], settings("8 meV/Å", bias=bias), central=True)
        assert found.reason == "on target"
        (said,) = models([found.atoms])
        assert said.stress is not None
        pressures.append(-np.trace(said.stress.mean(0)) / 3 * 160.21766)
    assert pressures[1] == pytest.approx(0.3, abs=0.02)
    assert abs(pressures[0] - 0.3) > 0.05


def test_an_evaluation_that_is_no_number_ends_at_the_best_structure() -> None:
    sound = Differences(models, settings("15 meV/Å").objective(None))

    def broken(frames: Mapping[int, Atoms]) -> dict[int, Point]:
        found = sound.evaluate(frames)
        far = np.abs(frames[0].positions - cluster().positions).max() > 0.02
        nan = np.full((7, 3), np.nan)
        return {0: Point(np.nan, nan[:, 0], nan, np.zeros((3, 3)))} if far else found

    (found,) = attack([cluster()], settings("15 meV/Å"), broken)
    assert found.reason == "not finite"
    assert np.abs(found.atoms.positions - cluster().positions).max() <= 0.02
    assert found.std > found.start_std


# -------------------------------------------------------------------------- constraints


def test_constraints_are_kept() -> None:
    start = cluster()
    line = np.array([1.0, 2.0, 2.0]) / 3
    start.set_constraint([
        FixAtoms([0, 1]), FixCartesian(2, (True, False, True)), FixedPlane([3], line),
        FixedLine([4], line),
    ])  # fmt: skip
    (found,) = run([start], settings("6 meV/Å"))
    step = found.atoms.positions - start.positions
    assert np.array_equal(found.atoms.positions[:2], start.positions[:2])
    assert np.array_equal(found.atoms.positions[2, [0, 2]], start.positions[2, [0, 2]])
    assert abs(step[2, 1]) > 1e-3
    assert abs(step[3] @ line) < 1e-12 < 1e-3 < np.linalg.norm(step[3])
    assert np.linalg.norm(np.cross(step[4], line)) < 1e-12
    assert np.linalg.norm(step[4]) > 1e-3
    assert not found.atoms.constraints


def test_a_cell_with_constraints_stays() -> None:
    start = crystal()
    start.set_constraint(FixAtoms([0]))
    (found,) = run([start], settings("6 meV/Å"))
    assert np.array_equal(found.atoms.cell.array, start.cell.array)
    assert np.array_equal(found.atoms.positions[0], start.positions[0])
    assert found.displacement > 1e-3


def refusal(atoms: Atoms, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        run([crystal(), atoms], settings(**changes))
    assert str(caught.value).startswith("structure 1: ")
    return str(caught.value)


def test_what_cannot_be_is_refused_by_name() -> None:
    bonds, angled, fixed, boxed = cluster(), cluster(), cluster(), cluster()
    bonds.set_constraint(FixBondLengths([(0, 1)]))
    assert "FixBondLengths cannot be kept" in refusal(bonds)
    angled.set_constraint([FixedPlane([0], (1, 0, 0)), FixedPlane([0], (1, 1, 0))])
    assert "meet at an angle" in refusal(angled)
    fixed.set_constraint(FixAtoms(range(7)))
    assert "all its atoms are fixed" in refusal(fixed)
    boxed.set_cell([20, 20, 20])
    assert "a cell but no periodic direction" in refusal(boxed)
    assert "without three periodic directions" in refusal(cluster(), cell=True)
    held = crystal()
    held.set_constraint(FixAtoms([0]))
    assert "FixAtoms, which a moving cell would break" in refusal(held, cell=True)
    pull = {"quantity": "pressure", "value": "1 GPa", "width": "1 GPa"}
    assert "no pressure" in refusal(cluster(), bias=[pull])
    near = cluster()
    near.positions[1] = near.positions[0] + (0.9, 0.0, 0.0)
    assert "atoms 0 (Ar) and 1 (Ar) are 0.9 Å apart" in refusal(near)


def test_settings_say_what_is_wrong() -> None:
    for text in ("0 eV/Å", "-1 eV/Å"):
        with pytest.raises(ConfigError, match=r"attack\.target: .* must be over zero"):
            settings(text)
    with pytest.raises(UnitError, match="unknown unit 'eV' of force"):
        settings("1 eV")
    with pytest.raises(ConfigError, match=r"attack\.bias\.width"):
        settings(bias=[{"quantity": "energy", "value": "0 eV", "width": "0 eV"}])
    with pytest.raises(ModelError, match="committee of one"):
        Calculators(committee()[:1])


# -------------------------------------------------------------- coordinates and differences


def test_coordinates_and_their_gradient() -> None:
    """A vector's structure by hand, and the chain rule by differences of a known function."""
    start = crystal()
    space = Scaled.of(start, None)
    rng = np.random.default_rng(0)
    vector, n = 0.2 * rng.normal(size=len(space)), len(start)
    length = np.sqrt(n) * (start.cell.volume / n) ** (1 / 3)
    c = vector[3 * n :] / length
    strain = np.array([[c[0], c[5] / 2**0.5, c[4] / 2**0.5], [c[5] / 2**0.5, c[1], c[3] / 2**0.5],
                       [c[4] / 2**0.5, c[3] / 2**0.5, c[2]]])  # fmt: skip
    deformation = np.eye(3) + strain
    moved = space.atoms(vector)
    np.testing.assert_allclose(moved.cell.array, start.cell.array @ deformation)
    u = vector[: 3 * n].reshape(-1, 3)
    np.testing.assert_allclose(moved.positions, (start.positions + u) @ deformation)
    assert space.strain(vector) == pytest.approx(np.abs(np.linalg.eigvalsh(strain)).max())
    np.testing.assert_allclose(space.displacement(vector), np.linalg.norm(u, axis=1))

    # f = Σ (x A)·x + h : B, neither of which knows rotations or scaled coordinates
    a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))

    def f(v: np.ndarray) -> float:
        atoms = space.atoms(v)
        x, h = atoms.positions, atoms.cell.array
        return float(np.sum((x @ a) * x) + np.sum(h * b))

    x, h = moved.positions, moved.cell.array
    by_x = x @ (a + a.T)
    point = Point(f(vector), np.zeros(n), by_x, x.T @ by_x + h.T @ b)
    steps = 1e-5 * np.eye(len(space))
    expected = [(f(vector + s) - f(vector - s)) / 2e-5 for s in steps]
    np.testing.assert_allclose(space.gradient(vector, point), expected, rtol=1e-6, atol=1e-6)


def test_two_point_differences_of_lennard_jones() -> None:
    """One-sided, they are central ones to first order; forces of a pair in closed form."""
    r, pair = 3.9, Atoms("Ar2", [[0, 0, 0], [0, 0, 3.9]])
    plain = [LennardJones(sigma=s, epsilon=0.01, rc=50.0) for s in (3.4, 3.5)]

    def spread(r: float) -> float:
        f = [24 * 0.01 * (2 * (s / r) ** 12 - (s / r) ** 6) / r for s in (3.4, 3.5)]
        return abs(f[0] - f[1]) / 2**0.5

    target = Target(0.05)
    expected = 2 * (spread(r) - 0.05) ** 2
    slope = [2 * (spread(r + s) - 0.05) ** 2 for s in (1e-5, -1e-5)]
    for central, allowed in ((False, 1e-3), (True, 1e-6)):
        calculators = Calculators(plain)
        found = Differences(calculators, target, central=central).evaluate({5: pair})[5]
        assert found.value == pytest.approx(expected, rel=1e-9)
        wanted = (slope[0] - slope[1]) / 2e-5
        assert found.positions[1, 2] == pytest.approx(wanted, rel=allowed)
        assert found.positions[0, 2] == pytest.approx(-wanted, rel=allowed)


def test_rotation_of_a_crystal_is_no_strain() -> None:
    """By all nine strains: a linear law does not know directions, so the slope is symmetric."""
    atoms = crystal()
    turn = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    sound = Differences(models, Target(0.01), central=True)
    plain, other = sound.evaluate({0: atoms, 1: turned}).values()
    np.testing.assert_allclose(plain.strain, plain.strain.T, atol=1e-6 * np.abs(plain.strain).max())
    np.testing.assert_allclose(other.strain, turn @ plain.strain @ turn.T, atol=1e-9)


def test_an_executor_gives_the_same() -> None:
    frames = [cluster(0), crystal()]
    with ProcessPoolExecutor(2) as pool:
        shared = Calculators(committee(), stress=False, executor=pool, chunk=9)
        objective = settings().objective(None)
        found = Differences(shared, objective).evaluate(dict(enumerate(frames)))
    here = Differences(Calculators(committee()), objective).evaluate(dict(enumerate(frames)))
    for i in range(2):
        assert found[i].value == here[i].value
        assert np.array_equal(found[i].positions, here[i].positions)
        assert np.array_equal(found[i].strain, here[i].strain)
