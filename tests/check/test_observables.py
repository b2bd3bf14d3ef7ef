"""Averages, diffusion and g(r): closed forms, brute force, ASE; errors in their own units."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry.rdf import get_rdf
from ase.md.analysis import DiffusionCoefficient

from tunesmith.check.averages import block_average, share
from tunesmith.check.diffusion import (
    mean_squared_displacement,
    molecules,
    paths,
    self_diffusion,
)
from tunesmith.check.rdf import largest_radius, rdf
from tunesmith.check.trajectory import Trajectory, from_frames
from tunesmith.errors import ConfigError, DataError

SKEWED = np.array([[9.0, 0, 0], [2.0, 8.0, 0], [-1.5, 1.0, 7.5]])


def trajectory(
    positions: np.ndarray, cell: np.ndarray | None = None, numbers: np.ndarray | None = None
) -> Trajectory:
    """Of argon, fully periodic where there is a cell, 2 fs between samples."""
    n = positions.shape[1]
    cells = (
        np.zeros((len(positions), 3, 3))
        if cell is None
        else np.array(np.broadcast_to(cell, (len(positions), 3, 3)))
    )
    numbers = np.full(n, 18) if numbers is None else numbers
    pbc = np.full(3, cell is not None)
    return Trajectory(numbers, np.ones(n), pbc, positions, cells, 2.0)


# ---------------------------------------------------------------------------- averages


def correlated(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """x' = memory x + noise, of variance 1."""
    x = np.empty(n)
    x[0] = rng.normal()
    noise = np.sqrt(1 - memory**2) * rng.normal(size=n)
    for k in range(1, n):
        x[k] = memory * x[k - 1] + noise[k]
    return x


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_error_of_a_correlated_mean(memory: float) -> None:
    """Var of the mean is (1 + φ)/(1 - φ)/N; the mean over many series meets it."""
    rng = np.random.default_rng(1)
    n, runs = 4096, 60
    found = [block_average([correlated(rng, n, memory) for _ in range(2)]) for _ in range(runs)]
    exact = np.sqrt((1 + memory) / (1 - memory) / (2 * n))
    squares = np.array([e.error**2 for e in found])
    assert squares.mean() == pytest.approx(exact**2, rel=0.12)
    z = np.array([e.mean for e in found]) / exact
    assert abs(np.mean(z**2) - 1) < 3.5 * np.sqrt(2 / runs)


def test_a_series_shorter_than_its_memory_has_no_error() -> None:
    drift = np.linspace(0, 1, 64)
    assert np.isnan(block_average([drift]).error)
    assert block_average([np.ones(5), np.ones(5)]).error == 0
    assert block_average([np.ones(5), np.ones(5)]).mean == 1
    with pytest.raises(DataError, match="no value"):
        block_average([])


def test_a_share_is_binomial() -> None:
    found = share([True] * 9 + [False] * 3)
    assert (found.k, found.n) == (9, 12)
    assert found.error == pytest.approx(np.sqrt(0.75 * 0.25 / 12))
    # Wilson's interval by its formula
    z = 1.959964
    centre = (0.75 + z**2 / 24) / (1 + z**2 / 12)
    half = z / (1 + z**2 / 12) * np.sqrt(0.75 * 0.25 / 12 + z**2 / (4 * 144))
    np.testing.assert_allclose([found.low, found.high], [centre - half, centre + half], rtol=1e-5)
    all_ = share([True] * 12)
    assert all_.error == 0
    assert (all_.low, all_.high) == (pytest.approx(12 / (12 + z**2), rel=1e-5), 1.0)
    with pytest.raises(DataError):
        share([])


# --------------------------------------------------------------------------- diffusion


def walk(rng: np.random.Generator, n: int, steps: int, d: float) -> np.ndarray:
    """Brownian particles: every 2 fs a step of variance 2 D dt in each direction."""
    jumps = np.sqrt(2 * d * 2.0) * rng.normal(size=(steps, n, 3))
    return np.concatenate([np.zeros((1, n, 3)), jumps.cumsum(0)])


def test_the_displacement_is_that_of_the_double_sum() -> None:
    r = walk(np.random.default_rng(2), 5, 40, 0.3) + np.array([1e3, -50, 7])
    brute = [
        np.mean([((r[t + lag] - r[t]) ** 2).sum(1).mean() for t in range(len(r) - lag)])
        for lag in range(len(r))
    ]
    np.testing.assert_allclose(mean_squared_displacement(r), brute, atol=1e-9)


def test_a_random_walk_has_the_diffusion_planted_and_the_error_says_how_well() -> None:
    """z-scores over many runs have the spread of Student's t; drift costs each D its 1/N."""
    rng = np.random.default_rng(3)
    d, n, runs = 2.3e-4, 40, 60
    z = []
    for _ in range(runs):
        found = self_diffusion([trajectory(walk(rng, n, 240, d)) for _ in range(3)])
        assert found.n_blocks == 6
        z.append((found.value / (1 - 1 / n) - d) / found.error)
    assert abs(np.mean(z)) < 3.5 * np.sqrt(5 / 3 / runs)
    assert 0.6 < np.mean(np.square(z)) / (5 / 3) < 1.7
    assert found.exponent == pytest.approx(1, abs=0.15)


def test_ase_finds_the_same_diffusion() -> None:
    d = 2.3e-4
    r = walk(np.random.default_rng(4), 200, 150, d)
    ase = DiffusionCoefficient([Atoms("Ar200", p) for p in r], timestep=2.0)
    ase.calculate(number_of_segments=6)
    theirs, std = ase.get_diffusion_coefficients()
    ours = self_diffusion([trajectory(r)])
    assert abs(ours.value - theirs[0]) < 3.5 * np.hypot(ours.error, std[0] / np.sqrt(6))


def test_drift_and_breathing_are_no_displacement() -> None:
    rng = np.random.default_rng(5)
    r = walk(rng, 30, 120, 1e-3)
    still = self_diffusion([trajectory(r, np.eye(3) * 20)])
    drifting = r + np.arange(121)[:, None, None] * [0.1, 0.2, -0.1]
    assert self_diffusion([trajectory(drifting, np.eye(3) * 20)]).value == pytest.approx(
        still.value, rel=1e-9
    )
    # the box breathes by 2 %, and far from the origin that moves atoms by Å
    scale = 1 + 0.02 * np.sin(np.arange(121))[:, None, None]
    breathing = Trajectory(
        np.full(30, 18),
        np.ones(30),
        np.ones(3, bool),
        (r + 100) * scale,
        20 * np.eye(3) * scale,
        2.0,
    )
    assert self_diffusion([breathing]).value == pytest.approx(still.value, rel=0.05)


def test_molecules_are_followed_by_their_centres_of_mass() -> None:
    """Atoms spin about a centre that diffuses: D of the centre, whatever the spinning."""
    rng = np.random.default_rng(6)
    water = molecule("H2O")
    box = Atoms(cell=np.eye(3) * 12.0, pbc=True)
    for corner in np.ndindex(3, 3, 3):
        one = water.copy()
        one.translate(4.0 * np.array(corner))
        box += one
    box.wrap()  # some molecules are cut by the cell's faces
    groups = molecules(box)
    assert sorted(len(g) for g in groups) == [3] * 27
    assert all(box[g].get_chemical_formula() == "H2O" for g in groups)
    masses = box.get_masses()
    centres = walk(rng, 27, 120, 1e-3)
    r = np.array(np.broadcast_to(box.positions, (121, 81, 3)))
    for k, g in enumerate(groups):
        spin = rng.normal(size=(121, 3, 3))
        spin -= np.einsum("tnc,n->tc", spin, masses[g] / masses[g].sum())[:, None]
        r[:, g] += centres[:, k, None] + spin
    moved = Trajectory(
        box.numbers, masses, box.pbc.copy(), r, np.tile(box.cell.array, (121, 1, 1)), 2.0
    )
    alone = trajectory(centres)
    assert self_diffusion([moved], groups=groups).value == pytest.approx(
        self_diffusion([alone]).value, rel=1e-6
    )
    np.testing.assert_allclose(
        paths(moved, groups)[-1] - paths(moved, groups)[0],
        centres[-1] - centres[-1].mean(0),
        atol=1e-9,
    )
    assert self_diffusion([moved], species="O").n_particles == 27


def test_ballistic_flight_and_a_solid_show_in_the_exponent() -> None:
    rng = np.random.default_rng(7)
    flying = np.arange(100)[:, None, None] * rng.normal(size=(20, 3))
    assert self_diffusion([trajectory(flying)]).exponent == pytest.approx(2)
    solid = rng.normal(size=(2000, 20, 3))
    assert abs(self_diffusion([trajectory(solid)]).exponent) < 0.01


def test_diffusion_refuses() -> None:
    path = trajectory(np.zeros((40, 3, 3)))
    with pytest.raises(DataError, match="there is no 'Xe'; the structure has Ar"):
        self_diffusion([path], species="Xe")
    with pytest.raises(DataError, match="too short for a line"):
        self_diffusion([path], blocks=10)
    with pytest.raises(ConfigError, match="two fractions"):
        self_diffusion([path], fit=(0.5, 0.1))
    with pytest.raises(DataError, match="left out as equilibration"):
        path.after(500.0)
    assert len(path.after(20.0)) == 30


# -------------------------------------------------------------------------------- g(r)


def gas(rng: np.random.Generator, cell: np.ndarray, n: int, samples: int) -> Trajectory:
    positions = rng.random((samples, n, 3)) @ cell
    return trajectory(positions, cell, np.array([18] * (n - n // 3) + [10] * (n // 3)))


@pytest.mark.parametrize("pair", [("Ar", "Ar"), ("Ar", "Ne"), ("Ne", "Ne")])
def test_an_ideal_gas_gives_one(pair: tuple[str, str]) -> None:
    rng = np.random.default_rng(8)
    runs = [gas(rng, SKEWED, 30, 250) for _ in range(2)]
    found = rdf(runs, pair, bin_width=0.25)
    assert found.edges[-1] <= largest_radius(runs) < found.edges[-1] + 0.25
    z = ((found.g - 1) / found.error)[4:]  # nearer there are too few pairs
    assert abs(z).max() < 4.8  # Student's t of 9 degrees of freedom: 1 in 1000
    together = found.neighbours.sum(1)
    volume = 4 / 3 * np.pi * found.edges[-1] ** 3 / abs(np.linalg.det(SKEWED))
    others = {"Ar-Ar": 19, "Ar-Ne": 10, "Ne-Ne": 9}["-".join(pair)]
    error = together.std(ddof=1) / np.sqrt(len(together))
    assert abs(together.mean() - others * volume) < 3.5 * error


@pytest.mark.parametrize("pair", [("Ar", "Ar"), ("Ar", "Ne")])
def test_ase_finds_the_same_g(pair: tuple[str, str]) -> None:
    """ASE's ideal gas of like atoms gives 1 - 1/N."""
    run = gas(np.random.default_rng(9), SKEWED, 24, 10)
    found = rdf([run], pair, bin_width=0.1, blocks=1)
    frames = [Atoms(run.numbers, p, cell=SKEWED, pbc=True) for p in run.positions]
    theirs, r = get_rdf(frames, found.edges[-1], len(found.r), elements=pair)
    np.testing.assert_allclose(found.r, r)
    factor = 1 - 1 / 16 if pair[0] == pair[1] else 1.0
    # ASE before 3.27 counted unlike pairs otherwise
    np.testing.assert_allclose(found.g * factor, theirs, atol=1e-9)


def test_the_shells_of_fcc() -> None:
    """12 at a/√2, 6 at a, 24 at a√(3/2), also beyond half the cell and in its primitive cell."""
    rng = np.random.default_rng(10)
    a = 4.0
    crystal = bulk("Ar", "fcc", a=a, cubic=True) * 2
    positions = crystal.positions + 0.05 * rng.normal(size=(20, 32, 3))
    run = trajectory(positions, crystal.cell.array)
    found = rdf([run], ("Ar", "Ar"), r_max=5.5)
    cumulative = found.neighbours.mean(0).cumsum()
    for radius, count in ((2.3, 0), (3.4, 12), (4.45, 18), (5.3, 42)):
        assert cumulative[np.searchsorted(found.edges, radius) - 1] == pytest.approx(count)
    shell = found.first_shell()
    assert shell is not None
    assert shell.maximum == pytest.approx(a / np.sqrt(2), abs=0.1)
    assert a / np.sqrt(2) + 0.3 < shell.minimum < a - 0.3
    assert shell.number.mean == pytest.approx(12)
    small = bulk("Ar", "fcc", a=a) * (2, 1, 1)
    still = trajectory(np.array([small.positions] * 5), small.cell.array)
    count = rdf([still], ("Ar", "Ar"), r_max=5.4).neighbours.mean(0).cumsum()[-1]
    # of an atom's own images too, which are neighbours of it
    assert count == pytest.approx(42)


def test_the_volume_of_every_sample_counts() -> None:
    """A gas in a box that breathes still gives 1."""
    rng = np.random.default_rng(11)
    scale = rng.uniform(0.8, 1.2, 300)[:, None, None]
    cells = scale * SKEWED
    run = Trajectory(
        np.full(20, 18), np.ones(20), np.ones(3, bool), rng.random((300, 20, 3)) @ cells, cells, 1.0
    )
    found = rdf([run], ("Ar", "Ar"), bin_width=0.3, blocks=10)
    assert abs((found.g - 1) / found.error)[3:].max() < 4.8


def test_no_second_shell_no_coordination_number() -> None:
    run = gas(np.random.default_rng(12), 12 * np.eye(3), 200, 40)
    assert rdf([run], ("Ar", "Ar"), bin_width=0.1).first_shell() is None


def test_g_refuses() -> None:
    run = gas(np.random.default_rng(13), SKEWED, 4, 10)
    with pytest.raises(DataError, match="has no 'Xe'"):
        rdf([run], ("Ar", "Xe"))
    with pytest.raises(DataError, match="only one Ne"):
        rdf([run], ("Ne", "Ne"))
    with pytest.raises(DataError, match="three periodic directions"):
        rdf([trajectory(np.zeros((10, 3, 3)))], ("Ar", "Ar"))
    with pytest.raises(ConfigError, match="bin_width"):
        rdf([run], ("Ar", "Ar"), bin_width=20.0)


# --------------------------------------------------------------------------- trajectory


def test_wrapped_positions_are_unwrapped() -> None:
    r = walk(np.random.default_rng(14), 10, 200, 0.02) + 3.0
    frames = [Atoms("Ar10", p, cell=SKEWED, pbc=(True, True, False)) for p in r]
    for atoms in frames:
        atoms.wrap()
    found = from_frames(frames, 2.0)
    np.testing.assert_allclose(found.positions - found.positions[0], r - r[0], atol=1e-9)
    assert abs(np.diff([a.positions for a in frames], axis=0)).max() > 4
    frames[3] = Atoms("Ar9Ne", r[3], cell=SKEWED, pbc=(True, True, False))
    with pytest.raises(DataError, match="frame 3 has other atoms"):
        from_frames(frames, 2.0)
