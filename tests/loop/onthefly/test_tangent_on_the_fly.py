"""Dynamics that ask by the tangent kernel, and learn from thinned labels."""

from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError

from small import config, results, start
from small_pool import frames as made
from tunesmith.config import TuneConfig, load
from tunesmith.core import Frame
from tunesmith.data.images import read_images
from tunesmith.errors import ConfigError, RunFolderError
from tunesmith.loop.onthefly.thinning import thinned
from tunesmith.loop.run import run
from tunesmith.posterior import tangent
from tunesmith.posterior.calculator import Calculator
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.posterior.tangent import residuals

TANGENT = ("acquire.max_gap=2 fs", "tune.spread=ntk", "tune.keep=3")


def test_the_newest_stays_and_copies_go() -> None:
    posterior = open_model("organic-xs")
    different = made(4, 0)
    frames = [different[0], different[1], different[0], different[1], different[2], different[3]]
    kept = thinned(frames, 4, posterior)
    assert kept[-1] is frames[-1]
    assert {id(f) for f in kept} == {id(f) for f in different}, "no structure twice"
    places = [next(i for i, f in enumerate(frames) if f is k) for k in kept]
    assert places == sorted(places)
    assert thinned(frames, 6, posterior) == frames


def test_forces_have_no_tangent_variance(tmp_path: Path) -> None:
    files = start(tmp_path)
    with pytest.raises(ConfigError, match=r"tune\.spread: ntk knows no error of forces"):
        config(files, *TANGENT, "target={forces: 50 meV/Å}", "target.energy=")


def test_one_chain_has_no_spread_to_ask_by(tmp_path: Path) -> None:
    files, one = start(tmp_path), "tune.sampler={kind: sghmc, members: 1, steps: 20}"
    with pytest.raises(ConfigError, match=r"tune\.sampler\.members: one chain has no spread"):
        config(files, one)
    assert config(files, one, *TANGENT).tune.sampler.members == 1


def test_on_a_fixed_data_set_one_chain_is_refused_but_with_the_tangent_kernel() -> None:
    one = ("data.train=x.xyz", "tune.sampler={kind: sghmc, members: 1}")
    with pytest.raises(ConfigError, match=r"tune\.sampler\.members: one chain"):
        load(TuneConfig, None, one)
    assert load(TuneConfig, None, (*one, "tune.spread=ntk")).tune.sampler.count == 1


@pytest.mark.slow
def test_one_chain_asks_by_the_tangent_kernel_and_shows_its_error_bar(tmp_path: Path) -> None:
    one = "tune.sampler={kind: sghmc, members: 1, steps: 20}"
    settings = config(start(tmp_path), *TANGENT, one, "explore.time=3 fs")
    with pytest.MonkeyPatch.context() as patch:
        asked: list[int] = []
        patch.setattr(tangent, "residuals", lambda f, frames: _counted(asked, f, frames))
        summary = run(settings, tmp_path / "run")
    assert summary["members"] == 1
    assert summary["interventions"] >= 2
    assert asked == [1] * summary["labels"], "the foundation is asked once of every label"
    molecule = read_images(tmp_path / "H2O.xyz")[0]
    molecule.calc = Calculator(tmp_path / "run")
    assert np.isfinite(molecule.get_potential_energy())
    raw, std = (molecule.calc.get_property(f"energy_std{end}", molecule) for end in ("_raw", ""))
    assert std == pytest.approx(summary["calibration_energy"] * raw)
    assert raw > 0
    with pytest.raises(PropertyNotImplementedError):
        molecule.calc.get_property("forces_std", molecule)


def _counted(asked: list[int], foundation: Ensemble, frames: list[Frame]) -> np.ndarray:
    asked.append(len(frames))
    return residuals(foundation, frames)


@pytest.mark.slow
def test_it_runs_asks_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    files = start(tmp_path)
    settings = config(files, *TANGENT)
    summary = run(settings, tmp_path / "whole")
    assert summary["interventions"] >= 3
    assert np.isfinite(summary["calibration_energy"])
    run(config(files, *TANGENT, "explore.time=3 fs"), tmp_path / "run")
    run(settings, tmp_path / "run")
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    with pytest.raises(RunFolderError, match=r"made with another tune\.spread"):
        run(config(files, *(text.replace("ntk", "members") for text in TANGENT)), tmp_path / "run")
