"""The water recipe: its start is what its README says, and it runs from one structure."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from ase import units as u

from tunesmith import cli, terminal
from tunesmith.config import CagoConfig, load_run
from tunesmith.data.formats import read_frames
from tunesmith.references.tblite import TBLite

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "water.yaml"
START = ROOT / "examples" / "data" / "water-8.xyz"


def test_the_start_is_eight_molecules_at_liquid_density() -> None:
    (frame,) = read_frames(START)[0]
    atoms = frame.atoms
    assert frame.label is None
    assert atoms.get_chemical_formula() == "H16O8"
    density = atoms.get_masses().sum() * u._amu * 1e3 / (atoms.get_volume() * 1e-24)
    assert density == pytest.approx(0.997, abs=0.005)
    oxygen = np.flatnonzero(atoms.numbers == 8)
    bonds = atoms.get_all_distances(mic=True)[oxygen]
    assert ((bonds > 0.5) & (bonds < 1.2)).sum(1).tolist() == [2] * 8
    label = TBLite(method="GFN1-xTB").label(atoms)
    assert np.linalg.norm(label.forces, axis=1).max() < 1  # type: ignore[union-attr]


def test_its_script_makes_that_start(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "recipes" / "water" / "make.py"))
    script["main"](str(tmp_path / "water.xyz"))
    (made,), (shipped,) = (read_frames(p)[0] for p in (tmp_path / "water.xyz", START))
    np.testing.assert_allclose(made.atoms.positions, shipped.atoms.positions, atol=0.02)


def test_the_recipe_is_one_of_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_run(RECIPE)
    assert isinstance(config, CagoConfig)
    monkeypatch.chdir(ROOT)
    assert Path(config.explore.start[0]).exists()


@pytest.mark.slow
def test_the_recipe_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Shorter: three rounds, the last of them with dynamics."""
    monkeypatch.chdir(ROOT)
    short = (
        *("explore.rounds=3", "explore.frames=3", "explore.training_frames=3"),
        *("explore.time=0.05 ps", "tune.sampler.epochs=10", "tune.sampler.members=3"),
    )
    command = ["run", str(RECIPE), "--out", str(tmp_path / "run"), "--json"]
    command += [part for name in short for part in ("--set", name)]
    assert terminal.run(cli.app, [*command, "--dry-run"]) == 0
    cost = json.loads(capfd.readouterr().out)
    assert cost["labels_asked"] == 5 + 3 * 3
    assert cost["md_s"] > 0
    assert terminal.run(cli.app, command) == 0
    summary = json.loads(capfd.readouterr().out)
    assert [r["about"].get("source") for r in summary["rounds"]] == [
        None, "structures learnt", "structures learnt", "dynamics"
    ]  # fmt: skip
    assert summary["labels"] >= 10
    assert (tmp_path / "run" / "final.model").exists()
