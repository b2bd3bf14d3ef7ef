"""The doctor's own tools, each by another route: closed forms and brute force."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from tunesmith.core import Frame, Label
from tunesmith.doctor import paths
from tunesmith.doctor.sets import NEAR, SAME, fingerprint, matches
from tunesmith.doctor.statistics import clusters, nearest_factor, slope, spread
from tunesmith.doctor.structure_checks import bond_ratio
from tunesmith.doctor.view import View
from tunesmith.doctor.work import work


def test_the_spread_of_normal_numbers_is_their_standard_deviation() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.7, 20_000)
    assert spread(values) == pytest.approx(0.7, rel=0.03)
    values[:4000] += 1e6  # a fifth of nonsense
    assert spread(values) < 1.2


def test_the_slope_forgives_a_fifth_of_nonsense() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=100)
    y = 3.0 * x + rng.normal(0, 0.1, 100)
    y[:10] = 1e4 * rng.normal(size=10)
    groups = [np.arange(50), np.arange(50, 100)]
    assert slope(x, y, groups) == pytest.approx(3.0, rel=0.1)
    y[50:] += 1e5  # another zero of the second group
    assert slope(x, y, groups) == pytest.approx(3.0, rel=0.1)


def test_factors_that_cannot_be_told_apart_are_named() -> None:
    units = {"one": 1.0, "two": 2.0, "about two": 2.2}
    assert nearest_factor(1.9, units) == ("two", ["about two"])
    assert nearest_factor(1.1, units) == ("one", [])


def test_clusters_are_those_that_were_planted() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(0, 0.1, 40), rng.normal(9, 0.1, 12), [-30.0]])
    parts = clusters(values, floor=0.5)
    assert [sorted(p) for p in parts] == [list(range(40)), list(range(40, 52)), [52]]
    [one] = clusters(rng.normal(0, 1, 200), floor=0.5)
    assert len(one) == 200


# ------------------------------------------------------------------------------ corrected energies


def springs(atoms: Atoms, rest: np.ndarray, k: float) -> tuple[float, np.ndarray]:
    """Harmonic springs between all atoms: energy and forces, invariant to rotation."""
    apart = atoms.positions[:, None] - atoms.positions[None]
    d = np.linalg.norm(apart, axis=-1) + np.eye(len(atoms))
    stretch = (d - rest) * (1 - np.eye(len(atoms)))
    forces = -(k * stretch / d)[..., None] * apart
    return 0.25 * k * float(np.sum(stretch**2)), forces.sum(1)


def test_the_labels_forces_correct_a_poor_foundation() -> None:
    """A foundation with springs half as stiff, and turned frames; the truth is known."""
    rng = np.random.default_rng(3)
    start = molecule("CH3OH")
    rest = np.linalg.norm(start.positions[:, None] - start.positions[None], axis=-1)
    frames, model, forces = [], [], []
    for i in range(25):
        atoms = start.copy()
        atoms.positions += rng.normal(0, 0.04, (6, 3))
        atoms.positions = Rotation.random(random_state=i).apply(atoms.positions) + i
        energy, force = springs(atoms, rest, 10.0)
        own, theirs = springs(atoms, rest, 5.0)
        frames.append(Frame(atoms, Label(energy, force), f"f#{i}"))
        model.append(own)
        forces.append(theirs)
    nowhere = [np.full((3, 3), np.nan)] * 25
    view = View(frames, np.array(model), forces, nowhere)
    better = paths.corrected(view, [f.label.forces for f in frames if f.label], stress=False)
    error = [np.std(v.energy - v.predicted) for v in (view, better)]
    assert error[1] < 0.05 * error[0]
    # a wrong energy label changes nothing of what it is judged by
    labels = [f.label.forces for f in frames if f.label]
    wrong = [
        Frame(f.atoms, Label(-1.0, own), f.origin) for f, own in zip(frames, labels, strict=True)
    ]
    again = paths.corrected(View(wrong, view.predicted, forces, nowhere), labels, False)
    np.testing.assert_array_equal(again.predicted, better.predicted)


def test_the_labels_stress_corrects_a_foundation_of_another_volume() -> None:
    """E = ½ K V0 (v − 1)² with stress K (v − 1), v = V/V0, against a foundation that knows none."""
    rng = np.random.default_rng(4)
    start = bulk("C", cubic=True)
    volume, stiffness = start.get_volume(), 2.0
    frames = []
    for i in range(12):
        atoms = start.copy()
        atoms.set_cell(atoms.cell.array * (1 + rng.normal(0, 0.01)), scale_atoms=True)
        v = atoms.get_volume() / volume
        label = Label(
            0.5 * stiffness * volume * (v - 1) ** 2,
            np.zeros((8, 3)),
            stiffness * (v - 1) * np.eye(3),
        )
        frames.append(Frame(atoms, label, f"c#{i}"))
    nothing = View(frames, np.zeros(12), [np.zeros((8, 3))] * 12, [np.zeros((3, 3))] * 12)
    better = paths.corrected(nothing, [np.zeros((8, 3))] * 12, stress=True)
    error = [np.std(v.energy - v.predicted) for v in (nothing, better)]
    assert error[1] < 0.05 * error[0]
    assert paths.corrected(nothing, [np.zeros((8, 3))] * 12, stress=False).predicted == (
        pytest.approx(np.zeros(12))
    )


def turned_springs(n: int) -> View:
    """n turned structures of one molecule, the energies of which the forces foretell; no model."""
    rng = np.random.default_rng(5)
    start = molecule("CH3OH")
    rest = np.linalg.norm(start.positions[:, None] - start.positions[None], axis=-1)
    frames = []
    for i in range(n):
        atoms = start.copy()
        atoms.positions += rng.normal(0, 0.02, (6, 3))
        atoms.positions = Rotation.random(random_state=i).apply(atoms.positions) + i
        frames.append(Frame(atoms, Label(*springs(atoms, rest, 10.0)), f"f#{i}"))
    nothing = np.full((3, 3), np.nan)
    return View(frames, np.zeros(n), [np.zeros((6, 3))] * n, [nothing] * n)


def test_the_work_of_right_forces_is_the_energy() -> None:
    view = turned_springs(25)
    forces = [label.forces for label in view.labels]
    cosine, ratio, share = work(view, forces)
    assert share == 1
    assert cosine > 0.99
    assert ratio == pytest.approx(1, abs=0.03)
    bohr = work(view, [f * 0.529177 for f in forces])
    assert bohr.cosine == pytest.approx(cosine)
    assert bohr.ratio == pytest.approx(ratio / 0.529177)
    assert work(view, [-f for f in forces]).cosine == pytest.approx(-cosine)
    assert abs(work(view, [*forces[1:], forces[0]]).cosine) < 0.5
    assert abs(work(view, [f[::-1] for f in forces]).cosine) < 0.5
    some = np.arange(25) < 12  # where these have forces of others, those of the rest do not hide it
    exchanged = [*np.roll(forces[:12], 1, axis=0), *forces[12:]]
    wrong, right = work(view, exchanged, some), work(view, exchanged, ~some)
    assert wrong.cosine < 0.6 < right.cosine
    assert np.isnan(work(turned_springs(5), forces[:5]).cosine), "too few pairs"


def test_pairs_without_work_do_not_hide_what_forces_explain() -> None:
    view = turned_springs(25)
    rest = [Frame(molecule("CH3OH"), Label(0.0, np.zeros((6, 3))), f"rest#{i}") for i in range(2)]
    frames = [*view.frames, *rest]
    more = View(frames, np.zeros(27), view.forces + view.forces[:2], view.stress + view.stress[:2])
    found = work(more, [label.forces for label in more.labels])
    assert found.cosine > 0.99
    assert found.ratio == pytest.approx(1, abs=0.03)


def test_the_rotation_is_the_one_that_was_made() -> None:
    turn = Rotation.random(random_state=7).as_matrix()
    x = np.random.default_rng(5).normal(size=(6, 3))
    np.testing.assert_allclose(paths.rotation(x @ turn.T, x), turn, atol=1e-12)


# --------------------------------------------------------------------------------- structures


def test_fingerprints_know_no_place_orientation_or_order() -> None:
    atoms = molecule("CH3CH2OH")
    order = np.random.default_rng(0).permutation(len(atoms))
    other = atoms[order]
    other.positions = Rotation.random(random_state=1).apply(other.positions) - 4
    np.testing.assert_allclose(fingerprint(other), fingerprint(atoms), atol=1e-12)
    other.positions[3] += [0.01, 0, 0]
    assert np.abs(fingerprint(other) - fingerprint(atoms)).max() > SAME


def test_matches_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(6)
    frames = []
    for i in range(30):
        atoms = molecule("CH3OH" if i % 2 else "C2H6")
        atoms.positions += rng.normal(0, 0.006, atoms.positions.shape)
        frames.append(Frame(atoms, None, f"m#{i}"))
    prints = [fingerprint(f.atoms) for f in frames]
    expected = {
        (i, j)
        for i in range(30)
        for j in range(i + 1, 30)
        if i % 2 == j % 2 and np.abs(prints[i] - prints[j]).max() < NEAR
    }
    assert 0 < len(expected) < 30 * 29 / 4
    assert {(i, j) for i, j, _ in matches(frames, None, NEAR)} == expected


def test_bonds_are_as_long_as_radii_say() -> None:
    for name in ("CH3CH2OH", "C6H6", "HCN", "H2", "NaCl", "SiH4"):
        assert 0.8 < bond_ratio(molecule(name)) < 1.2, name
    for name, crystal in {
        "Al": bulk("Al", cubic=True),
        "NaCl": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        "K": bulk("K", cubic=True),
    }.items():
        assert 0.8 < bond_ratio(crystal * (2, 2, 2)) < 1.3, name
    assert np.isnan(bond_ratio(bulk("Ar", cubic=True)))
