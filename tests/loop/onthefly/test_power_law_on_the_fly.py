"""Dynamics whose error bars follow a power law, learnt record by record."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from small import config, results, start
from tunesmith import Calculator
from tunesmith.calibrate import GammaCalibration, PowerLaw, spreads
from tunesmith.core import BY_MEMBERS
from tunesmith.loop.run import run
from tunesmith.posterior.ensemble import open_model

POWER = "calibrate.kind=power-law"


@pytest.mark.slow
def test_it_runs_learns_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same to the bit; and the law is that of Gamma where its exponent is held at 1.

    Any bin is a group, so that so few structures make a picture of where it holds.
    """
    monkeypatch.setattr(spreads, "GROUP_POINTS", 1)
    monkeypatch.setattr(spreads, "GROUP_BINS", 1)
    files = start(tmp_path)
    seen: list[tuple[float, float]] = []
    update = PowerLaw.update

    def noted(law: PowerLaw, std: np.ndarray, error: np.ndarray) -> PowerLaw:
        if np.size(std) == 1:  # the energy, not the forces
            seen.append((float(std[0]), float(error[0])))
        return update(law, std, error)

    monkeypatch.setattr(PowerLaw, "update", noted)
    summary = run(config(files, POWER), tmp_path / "whole")
    assert summary["interventions"] == len(seen) >= 2
    laws = open_model(tmp_path / "whole").calibration
    assert {name: law.records for name, law in laws.items()} == {
        "energy": len(seen),
        "forces": len(seen),
        BY_MEMBERS: len(seen),
    }
    gamma, flat = GammaCalibration(), PowerLaw(width=0.0)
    for std, error in seen:
        gamma, flat = gamma.update(std, error), update(flat, std, error)
    assert flat.std(0.01) == pytest.approx(gamma.std(0.01))
    assert laws["energy"].b != 1
    assert (tmp_path / "whole" / "calibration.png").exists()
    assert laws["energy"].std(laws["energy"].centre) == pytest.approx(
        gamma.std(laws["energy"].centre), rel=0.2
    )
    monkeypatch.setattr(PowerLaw, "update", update)
    run(config(files, POWER, "explore.time=3 fs"), tmp_path / "run")
    run(config(files, POWER), tmp_path / "run")
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    atoms = molecule("H2O")
    atoms.calc = Calculator(tmp_path / "run")
    atoms.get_potential_energy()
    raw = atoms.calc.results["energy_std_raw"]
    assert atoms.calc.results["energy_std"] == pytest.approx(laws["energy"].std(raw))
