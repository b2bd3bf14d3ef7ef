"""The shipped reactive pool is what its README says, and the recipe that chooses from it works."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tblite.ase import TBLite

from tunesmith import cli, terminal
from tunesmith.config import PoolConfig, load_run
from tunesmith.core import Frame
from tunesmith.data.checks import require_labels
from tunesmith.data.formats import read_frames
from tunesmith.loop.rounds.rounds_prepare import refuse_overlap

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "pool.yaml"
NAMES = ("HCN", "formaldehyde", "formamide", "acetaldehyde")


def frames(part: str) -> list[Frame]:
    return read_frames(ROOT / "examples" / "data" / f"reactions-{part}.xyz")[0]


def test_the_sets_are_of_their_sizes_and_apart() -> None:
    sets = {part: frames(part) for part in ("pool", "valid", "test")}
    sizes = {"pool": (30, 50, 90, 130), "valid": (6,) * 4, "test": (12,) * 4}
    for part, found in sets.items():
        require_labels(found, (1, 6, 7, 8))
        counts = Counter(f.config_type for f in found)
        assert tuple(counts[name] for name in NAMES) == sizes[part]
    refuse_overlap({"explore.files": sets["pool"], "v": sets["valid"], "t": sets["test"]})


def test_energies_span_reactions_not_collisions() -> None:
    for name in NAMES:
        energies = [f.label.energy for f in frames("pool") if f.config_type == name and f.label]
        assert 1.0 < np.ptp(energies) < 5.1


def test_a_label_is_what_tblite_says() -> None:
    frame = frames("test")[20]
    atoms = frame.atoms.copy()
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    assert frame.label is not None
    assert atoms.get_potential_energy() == pytest.approx(frame.label.energy, abs=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), frame.label.forces, atol=1e-3)


def test_the_recipe_is_one_of_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_run(RECIPE)
    assert isinstance(config, PoolConfig)
    monkeypatch.chdir(ROOT)
    for name in (*config.explore.files, config.data.valid, config.data.test):
        assert Path(str(name)).exists()


@pytest.mark.slow
def test_the_recipe_runs_and_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    out, short = tmp_path / "run", ["--set", "explore.rounds=3", "--json"]
    command = ["run", str(RECIPE), "--out", str(out), *short]
    assert terminal.run(cli.app, [*command, "--dry-run"]) == 0
    cost = json.loads(capfd.readouterr().out)
    assert (cost["candidates"], cost["labels_asked"]) == (300, 15)
    assert cost["total_without_labels_s"] > cost["update_s"] > 0
    assert terminal.run(cli.app, command) == 0
    summary = json.loads(capfd.readouterr().out)
    errors = [r["test"]["force_rmse_meV_per_A"] for r in summary["rounds"]]
    assert errors[-1] < 0.8 * errors[0]
    assert (out / "final.model").exists()
