"""Planted potentials that break what the criteria forbid; closed-form motion; who is stable."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase import units as u
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones

from tunesmith.check.averages import share
from tunesmith.check.replicas import Ask, equilibrated, of_calculator, simulate
from tunesmith.check.simulate_members import check_members, prepare, run_tasks
from tunesmith.check.stability import Stability
from tunesmith.engines.processes import executor
from tunesmith.errors import ConfigError, DataError, UnitError
from tunesmith.explore.state import Answer
from tunesmith.posterior.ensemble import Ensemble, open_model

#: half a period of the spring: 100 steps
STEP = 5.0


def free(atoms: Atoms) -> Answer:
    """No forces, no stress: an ideal gas."""
    return Answer(0.0, np.zeros((len(atoms), 3)), np.zeros((3, 3)))


def solid() -> Atoms:
    return bulk("Ar", "fcc", a=5.3, cubic=True) * 2


def dynamics(stability: Stability, steps: int, **settings: Any) -> Any:
    time = f"{steps * STEP} fs"
    own = {"ensemble": "nve", "timestep": f"{STEP} fs", "time": time, "write_every": time}
    return stability.dynamics(**(own | {"temperature": "1 K"} | settings))


# ------------------------------------------------------------------------------ distances


def spring(atoms: Atoms) -> Answer:
    """Two atoms pulled together along x alone, through each other and back in 100 steps."""
    k = np.pi**2 / (100 * STEP * u.fs) ** 2 * atoms.get_masses()[0] / 2
    x = atoms.positions[0, 0] - atoms.positions[1, 0]
    return Answer(k * x * x / 2, np.array([[-k * x, 0, 0], [k * x, 0, 0]]))


@pytest.mark.parametrize(
    ("limit", "every", "stable"),
    [(0.5, 100, True), (0.5, 10, False), ("0.4 Å", 1, True), ("0.8 Å", 10, False), (0.3, 1, True)],
)
def test_a_contact_is_seen_where_it_is_looked_for(
    limit: float | str, every: int, stable: bool
) -> None:
    """0.7 Å apart as they pass, a third of two radii of argon, half-way between two looks."""
    pair = Atoms("Ar2", [[0, 0, 0], [2.0, 0.7, 0]])
    criteria = Stability(min_distance=limit, every=every)
    (replica,) = simulate(dynamics(criteria, 100, replicas=1), criteria, pair, spring, 1)
    assert replica.stable == stable
    if stable:
        assert replica.time == 100 * STEP
    else:
        assert "atoms 0 (Ar) and 1 (Ar) are " in str(replica.wrong)
        # |x| falls as a cosine: when it and 0.7 Å are within the limit, by the next look
        reach = 0.8 if limit == "0.8 Å" else 2 * 1.06 * 0.5
        first = 100 / np.pi * np.arccos(np.sqrt(reach**2 - 0.7**2) / 2.0)
        assert replica.time / STEP == pytest.approx(10 * np.ceil(first / 10))


def test_samples_are_those_of_free_flight() -> None:
    """Without forces x = x0 + v t, to rounding, and the temperature stays; each replica its own."""
    criteria = Stability(min_distance="0.1 Å")
    md = dynamics(criteria, 40, replicas=2, write_every="20 fs", temperature="50 K")
    one, other = simulate(md, criteria, solid(), free, 3)
    assert one.stable
    assert one.trajectory.interval == 20.0
    x = one.trajectory.positions
    assert len(x) == 11
    np.testing.assert_allclose(x, x[0] + np.arange(11)[:, None, None] * (x[1] - x[0]), atol=1e-9)
    kinetic = 0.5 * (((x[1] - x[0]) / (20 * u.fs)) ** 2 * one.trajectory.masses[:, None]).sum()
    np.testing.assert_allclose(one.temperatures, 2 * kinetic / (93 * u.kB), rtol=1e-9)
    assert abs(x[-1] - other.trajectory.positions[-1]).max() > 0.01
    again = simulate(md, criteria, solid(), free, 3)[1]
    np.testing.assert_array_equal(again.trajectory.positions, other.trajectory.positions)
    assert [len(t) for t in equilibrated([one, other], 60.0)] == [8, 8]


# ------------------------------------------------------------------------------ explosions


def heated(atoms: Atoms) -> Answer:
    forces = np.zeros((len(atoms), 3))
    forces[0, 0], forces[1, 0] = 5.0, -5.0
    return Answer(0.0, forces)


def no_number_after(calls: int) -> Ask:
    made = 0

    def ask(atoms: Atoms) -> Answer:
        nonlocal made
        made += 1
        forces = np.zeros((len(atoms), 3))
        return Answer(0.0, forces * np.nan if made == calls else forces)

    return ask


def test_planted_explosions() -> None:
    criteria = Stability(min_distance="0.1 Å", max_temperature="300 K")
    md = dynamics(criteria, 60, replicas=1)
    (hot,) = simulate(md, criteria, solid(), heated, 1)
    assert "its temperature is" in str(hot.wrong)
    # two atoms of 40 u under 5 eV/Å: 2 × (F t)²/2m is 3/2 (N - 1) k 300 K
    t = np.sqrt(1.5 * 31 * u.kB * 300 * 39.948) / 5.0 / u.fs
    assert hot.time == pytest.approx(t, abs=STEP)
    # 61 answers to a replica of 60 steps: the second of three meets it
    md = dynamics(criteria, 60, replicas=3)
    replicas = simulate(md, criteria, solid(), no_number_after(61 + 31), 1)
    assert [r.stable for r in replicas] == [True, False, True]
    assert "not finite" in str(replicas[1].wrong)
    assert replicas[1].time == 29 * STEP
    assert [r.time for r in replicas] == [300.0, 29 * STEP, 300.0]


def under(stress: float) -> Ask:
    """A box under that stress whatever its size, eV/Å³ (negative: it pushes outwards)."""

    def ask(atoms: Atoms) -> Answer:
        return Answer(0.0, np.zeros((len(atoms), 3)), stress * np.eye(3))

    return ask


@pytest.mark.parametrize(("stress", "density"), [(-3e-4, (0.1, 0.25)), (3e-4, (2.0, 4.0))])
def test_a_box_that_leaves_its_density(stress: float, density: tuple[float, float]) -> None:
    criteria = Stability(min_distance="0.1 Å", every=10)
    npt = {"ensemble": "npt", "barostat_time": "1 ps", "temperature": "20 K"}
    md = dynamics(criteria, 1000, replicas=1, **npt)
    (replica,) = simulate(md, criteria, solid(), under(stress), 1)
    said = str(replica.wrong)
    assert said.startswith("the density is ")
    low, high = density
    assert low < float(said.split()[3]) < high
    assert replica.time < 5000
    still = Stability(min_distance="0.1 Å", every=10, density=(1e-9, 1e9))
    md = dynamics(still, round(replica.time / STEP), replicas=1, **npt)
    assert simulate(md, still, solid(), under(stress), 1)[0].stable


def test_parts_that_fly_apart() -> None:
    criteria = Stability(max_temperature="100000 K")
    pair = Atoms("Ar2", [[0, 0, 0], [4.0, 0, 0]])
    md = dynamics(criteria, 400, replicas=1, max_separation="9 Å", temperature="1000 K")
    (replica,) = simulate(md, criteria, pair, free, 3)
    assert "atoms are over 9 Å from the others" in str(replica.wrong)


def test_a_calculator_of_ase_drives() -> None:
    criteria = Stability()
    md = dynamics(criteria, 20, replicas=1, ensemble="npt", temperature="30 K", write_every="5 fs")
    lj = LennardJones(epsilon=0.0103, sigma=3.4, rc=5.2)
    (replica,) = simulate(md, criteria, solid(), of_calculator(lj, stress=True), 2)
    assert replica.stable
    assert np.ptp(replica.trajectory.volumes) > 0


# -------------------------------------------------------------------------------- refusals


def test_settings_that_make_no_sense() -> None:
    for wrong in (0.0, 1.5, "-1 Å"):
        with pytest.raises(ConfigError, match="min_distance"):
            Stability(min_distance=wrong)
    with pytest.raises(UnitError, match="min_distance"):
        Stability(min_distance="0.4 eV")
    assert Stability(min_distance="0.4").min_distance == 0.4
    with pytest.raises(ConfigError, match="must enclose 1"):
        Stability(density=(1.5, 2.0))
    for name in ("min_distance", "walkers", "max_restarts", "max_volume_change"):
        with pytest.raises(ConfigError, match=rf"dynamics\.{name}: a check decides it"):
            Stability().dynamics(**{name: 1})
    with pytest.raises(ConfigError, match=r"dynamics\.timestp: no such .* mean 'timestep'"):
        Stability().dynamics(timestp="1 fs")
    with pytest.raises(ConfigError, match=r"dynamics\.ensemble: 'berendsen' is not offered"):
        Stability().dynamics(ensemble="berendsen")


def test_a_start_that_is_broken_already() -> None:
    pair = Atoms("Ar2", [[0, 0, 0], [0.9, 0, 0]])
    criteria = Stability()
    with pytest.raises(DataError, match="already at the start atoms 0"):
        simulate(dynamics(criteria, 10, replicas=1), criteria, pair, free, 1)
    criteria = Stability(min_distance="0.4 Å")
    assert simulate(dynamics(criteria, 10, replicas=1), criteria, pair, free, 1)[0].stable


# ------------------------------------------------------------------------------- a committee


@pytest.fixture(scope="module")
def committee() -> Ensemble:
    """organic-xs twice, and once with its readouts turned round and a hundred times as strong."""
    posterior = open_model("organic-xs")
    weights = posterior.weights[0]
    spoilt = {k: -100 * v if "readout" in k else v for k, v in weights.items()}
    return Ensemble(posterior.potential, [weights, spoilt, dict(weights)], posterior.e0s)


def test_the_share_of_stable_members(committee: Ensemble) -> None:
    criteria = Stability(every=5)
    md = criteria.dynamics(replicas=2, time="6 fs", write_every="1 fs")
    steps = 0

    def seen(more: int) -> None:
        nonlocal steps
        steps += more

    found = check_members(committee, md, criteria, molecule("CH3CH2OH"), 4)
    assert run_tasks(prepare(committee, md, criteria, molecule("CH4"), 4)[:1], None, seen)
    assert steps == 12
    assert [[r.stable for r in replicas] for replicas in found] == [
        [True, True],
        [False, False],
        [True, True],
    ]
    assert share([all(r.stable for r in replicas) for replicas in found]).k == 2
    # equal members have other random numbers
    ends = [r.trajectory.positions[-1] for i in (0, 2) for r in found[i]]
    assert all(abs(a - b).max() > 1e-3 for k, a in enumerate(ends) for b in ends[:k])
    with ThreadPoolExecutor(2) as pool:
        again = check_members(committee, md, criteria, molecule("CH3CH2OH"), 4, executor=pool)
    for one, other in zip(sum(found, ()), sum(again, ()), strict=True):
        np.testing.assert_array_equal(one.trajectory.positions, other.trajectory.positions)


def test_the_mean_of_a_committee_is_one_model(committee: Ensemble) -> None:
    alike = Ensemble(committee.potential, [committee.weights[0]] * 2, committee.e0s)
    criteria = Stability()
    md = criteria.dynamics(replicas=1, time="3 fs", write_every="1 fs")
    mean = check_members(alike, md, criteria, molecule("CH4"), 4, mean=True)
    each = check_members(alike, md, criteria, molecule("CH4"), 4)
    assert (len(mean), len(each)) == (1, 2)
    np.testing.assert_allclose(
        mean[0][0].trajectory.positions, each[0][0].trajectory.positions, atol=1e-5
    )


@pytest.mark.slow
def test_processes_change_no_number(committee: Ensemble, tmp_path: Path) -> None:
    criteria = Stability()
    md = criteria.dynamics(replicas=2, time="5 fs", write_every="1 fs")
    one = Ensemble(committee.potential, [committee.weights[0]], committee.e0s)
    here = check_members(one, md, criteria, molecule("CH4"), 4)
    with executor(2, 1) as pool:
        there = check_members(one, md, criteria, molecule("CH4"), 4, executor=pool)
    for a, b in zip(here[0], there[0], strict=True):
        np.testing.assert_array_equal(a.trajectory.positions, b.trajectory.positions)
