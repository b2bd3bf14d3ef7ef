"""Configurations of rounds that make their own structures, and the settings of their dynamics."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii

from tunesmith.attack.reachable_target import within_reach
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.config import CagoConfig, dump, load, load_run, template
from tunesmith.errors import ConfigError
from tunesmith.explore.cago import Cago, Filter
from tunesmith.loop.rounds.round_in_words import told

GIVEN = (
    "explore={kind: cago, start: s.xyz}",
    "reference.kind=tblite",
    "target.forces=100 meV/Å",
)


def cago(*overrides: str) -> CagoConfig:
    given = {text.partition("=")[0]: text for text in (*GIVEN, *overrides)}
    return load(CagoConfig, None, list(given.values()))


def test_an_explorer_that_is_none_is_said_before_all_else() -> None:
    """Whatever else then does not fit together."""
    with pytest.raises(
        ConfigError, match=r"^explore\.kind: there is no 'cagoo'; did you mean 'cago'"
    ):
        load_run(None, [*GIVEN[1:], "explore.kind=cagoo", "tune.sampler.kind=committee"])
    with pytest.raises(ConfigError, match=r"^explore\.kind: 7 was given"):
        load_run(None, [*GIVEN[1:], "explore.kind=7"])


def test_what_is_not_given_is_the_method_pages() -> None:
    config = cago()
    assert isinstance(load_run(None, GIVEN), CagoConfig)
    assert config.acquire.kind == "attack"
    assert config.acquire.attack.target == "100 meV/Å"
    assert (config.tune.sampler.kind, config.tune.sampler.vary) == ("committee", "bootstrap-splits")
    assert (config.calibrate.kind, config.calibrate.rate) == ("power-law", 0.5)
    assert cago("calibrate=gamma").calibrate.b == 0.5
    assert cago("tune.sampler.vary=seeds").tune.sampler.vary == "seeds"


def test_it_reads_back_and_its_template_is_complete(tmp_path: Path) -> None:
    config = cago("explore.npt_from=3", "explore.pressure=2 bar", "acquire.attack.batch=3")
    file = tmp_path / "c.yaml"
    file.write_text(dump(config))
    assert load_run(file) == config
    (tmp_path / "t.yaml").write_text(template("cago"))
    assert load_run(tmp_path / "t.yaml") == cago("explore={kind: cago, start: start.xyz}")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("target={energy: 1 eV, forces: 0.1 eV/Å}", "target.energy: rounds of cago have no use"),
        ("target={probability: 0.1, forces: 0.1 eV/Å}", "target.probability: rounds of cago"),
        ("target.forces={H: 0.1 eV/Å}", "one force error for all atoms"),
        ("tune.sampler=adamw", "a single fit by 'adamw' has no spread"),
        ("acquire=greedy", "takes no frames of dynamics"),
        ("acquire.attackers=20", "20 of 8 members cannot attack"),
        ("acquire.attack.target=50 meV/Å", "is target.forces, 100 meV/Å"),
        ("tune.begin=last", "the last members have seen all labels"),
        ("reference.kind=hidden", "is of a pool"),
        ("explore.pressure=1 bar", "ensemble 'langevin' has no use for it"),
        ("explore.filter.max_force=1 eV", "explore.filter.max_force"),
        ("explore.filter.min_distance=1.5", "must be a fraction of the sum of covalent radii"),
        ("explore.frames=0", "explore.frames"),
        ("explore.rattle=0 Å", "explore.rattle: '0 Å' must be over zero"),
        ("acquire={kind: hot-md, temperature: 4000 K}", "under twice the hottest target"),
    ],
)
def test_what_does_not_go_together(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        cago(override)
    assert said in str(error.value)


def test_pressure_is_constant_from_its_round_on() -> None:
    explore = cago("explore.npt_from=5", "explore.barostat_time=2 ps").explore
    before, after = explore.dynamics(4), explore.dynamics(5)
    assert (before.ensemble, before.pressure, before.barostat_time) == ("langevin", None, None)
    assert (before.friction, before.thermostat_time) == ("0.01 /fs", None)
    assert (after.ensemble, after.pressure, after.barostat_time) == ("npt", "1 bar", "2 ps")
    assert after.friction is None
    assert explore.dynamics(5, "500 K").temperature == "500 K"
    with pytest.raises(ConfigError, match="has constant pressure from the beginning"):
        cago("explore={kind: cago, start: s.xyz, ensemble: npt, npt_from: 2}")


def test_frames_of_a_round() -> None:
    explore = Cago(start=("s.xyz",), training_rounds=1, training_frames=3)
    assert [explore.frames_for(n, 1) for n in (1, 2)] == [3, 20]
    assert explore.frames_for(2, 4) == 5
    assert explore.model_copy(update={"frames": 7}).frames_for(2, 4) == 7


def closest(atoms: Atoms) -> tuple[float, float]:
    """Å, and in units of covalent radii: over all pairs and 27 cells, one by one."""
    lengths, ratios = [], []
    shifts = [np.array(n) - 1 for n in np.ndindex(3, 3, 3)] if atoms.pbc.all() else [np.zeros(3)]
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            for n in shifts:
                if i == j and not n.any():
                    continue
                d = np.linalg.norm(atoms.positions[i] - atoms.positions[j] - n @ atoms.cell.array)
                lengths.append(d)
                ratios.append(d / covalent_radii[atoms.numbers[[i, j]]].sum())
    return min(lengths), min(ratios)


def test_structures_are_filtered_by_distance_and_force() -> None:
    rng = np.random.default_rng(3)
    for periodic in (False, True):
        atoms = molecule("CH3OH")
        atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
        if periodic:
            atoms.set_cell([[4.0, 0, 0], [1, 3.5, 0], [0.5, 0.3, 3.2]])
            atoms.pbc = True
        length, ratio = closest(atoms)
        still = np.zeros((6, 3))
        for wide, said in ((0.999, None), (1.001, "too close")):
            assert Filter(min_distance=f"{wide * length} Å").before(atoms, still) == said
            if wide * ratio < 1:
                assert Filter(min_distance=wide * ratio).before(atoms, still) == said
    large = still.copy()
    large[2] = [0, 24.1, 32]
    loose = Filter(min_distance=0.0)
    assert loose.before(atoms, large) == "force predicted"
    assert Filter(max_force="40.1 eV/Å", min_distance=0.0).before(atoms, large) is None
    assert "a force of 40.1 eV/Å is over" in str(loose.after(large))
    assert Filter(max_label_force="50 eV/Å").after(large) is None


def test_rounds_say_when_their_target_is_beyond_the_calibration() -> None:
    about = {"attacked": 5, "on_target": 5, "calibration": "holds", "target": 0.1, "aim": 0.1}
    about |= {"wanted": 0.1, "plain": 0.06}
    assert told(about) == ["5 of 5 attacks on target"]
    beyond = "100 meV/Å is outside 46 to 87 meV/Å, where it was seen to hold; choose it within"
    assert told(about | {"calibration": beyond, "aim": 0.087})[1] == (
        "aimed at 87 meV/Å, as far as the calibration holds"
    )
    unknown = "100 meV/Å is asked for, but no range is known; calibrate on more"
    assert told(about | {"calibration": unknown})[1] == (
        "calibration: 100 meV/Å is asked for, but no range is known"
    )


def test_rounds_may_aim_at_a_multiple_of_what_their_frames_are_expected_to_err_by() -> None:
    assert cago().acquire.aim(0.1, 0.3) == 0.1
    twice = cago("acquire.times=2").acquire
    assert twice.aim(0.1, 0.06) == pytest.approx(0.12)
    assert twice.aim(0.1, 0.04) == 0.1  # the target is the least
    about = {"attacked": 5, "on_target": 4, "calibration": "holds", "target": 0.1}
    about |= {"wanted": 0.12, "aim": 0.11, "plain": 0.06}
    assert told(about)[1:] == [
        "aimed at 110 meV/Å, where 60 are expected of frames as they are, as far as the "
        "calibration holds"
    ]
    beyond = "120 meV/Å is outside 46 to 110 meV/Å, where it was seen to hold; choose it within"
    assert told(about | {"aim": 0.12, "calibration": beyond})[1:] == [
        "aimed at 120 meV/Å, where 60 are expected of frames as they are",
        "calibration: 120 meV/Å is outside 46 to 110 meV/Å, where it was seen to hold",
    ]
    with pytest.raises(ConfigError, match=r"acquire\.times"):
        cago("acquire.times=1")


def test_a_calibration_without_a_range_has_nothing_beyond() -> None:
    assert cago("acquire.beyond_calibration=true").acquire.beyond_calibration
    assert cago("calibrate=gamma").acquire.beyond_calibration is False
    with pytest.raises(
        ConfigError, match="gamma knows no range to be beyond; leave it out, or set"
    ):
        cago("acquire.beyond_calibration=true", "calibrate=gamma")


def test_errors_are_held_against_the_aim_by_what_was_moved_there() -> None:
    about = {"attacked": 2, "on_target": 2, "calibration": "80 meV/Å is outside; choose it within"}
    about |= {"target": 0.08, "wanted": 0.08, "aim": 0.05, "plain": 0.06, "error": 0.09}
    assert told(about)[-1] == "real error 90 of 50 meV/Å"
    some = about | {"as_they_are": 3, "error_of_attacks": 0.06}
    assert told(some)[-2:] == [
        "3 frames not attacked, expected to err by more as they are",
        "real error 60 of 50 meV/Å, of all 90",
    ]
    none = about | {"attacked": 0, "on_target": 0, "as_they_are": 1}
    assert told(none)[-2:] == [
        "1 frame not attacked, expected to err by more as they are",
        "real error 90 meV/Å",
    ]


def test_rounds_aim_no_further_than_the_calibration_holds() -> None:
    rng = np.random.default_rng(0)
    std = 0.03 * np.exp(0.4 * rng.normal(size=2000))
    law = PowerLaw.fit(std, 2 * std * rng.normal(size=2000))
    ends = law.reach()
    assert ends is not None
    assert ends == pytest.approx(np.sqrt(3) * law.std([law.low, law.high]))
    for target, aim in ((0.5 * ends[0], ends[0]), (2 * ends[1], ends[1]), (0.1, 0.1)):
        assert within_reach(target, law) == aim
    for open_ended in (None, GammaCalibration(), law.model_copy(update={"low": None})):
        assert within_reach(7.0, open_ended) == 7.0
