"""Dynamics that ask by the tangent kernel, and learn from thinned labels."""

from pathlib import Path

import numpy as np
import pytest

from small import config, results, start
from small_pool import frames as made
from tunesmith.errors import ConfigError, RunFolderError
from tunesmith.loop.job import run
from tunesmith.loop.thinning import thinned
from tunesmith.uncertainty.ensemble import open_model

TANGENT = "acquire={kind: threshold, max_gap: 2 fs, spread: ntk, keep: 3}"


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
    with pytest.raises(ConfigError, match=r"acquire\.spread: ntk knows no error of forces"):
        config(files, TANGENT, "target={forces: 50 meV/Å}", "target.energy=")


@pytest.mark.slow
def test_it_runs_asks_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    files = start(tmp_path)
    settings = config(files, TANGENT)
    summary = run(settings, tmp_path / "whole")
    assert summary["interventions"] >= 3
    assert np.isfinite(summary["calibration_energy"])
    run(config(files, TANGENT, "explore.time=3 fs"), tmp_path / "run")
    run(settings, tmp_path / "run")
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    with pytest.raises(RunFolderError, match=r"made with another acquire\.spread"):
        run(config(files, TANGENT.replace("ntk", "members")), tmp_path / "run")
