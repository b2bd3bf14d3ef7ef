"""What the commands say of every backend's models, from the outside."""

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule

from backends import SMALL, cells, frames, model
from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.core import Frame
from tunesmith.data.formats import write_frames
from tunesmith.potentials import zoo

#: the public ones once beside the random ones
ALL = (*SMALL, "7net-0", "chgnet:0.3.0")


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    """Exit code, what --json gives, and what was said beside it."""
    code = terminal.run(app, [*(str(a) for a in arguments), "--json"])
    out, err = capfd.readouterr()
    return code, json.loads(out) if out else None, err


@cells(ALL)
def test_evaluate_agrees_with_the_package(
    backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Force errors by hand, from the package's own calculator of an exported file."""
    source, judged = model(backend, tmp_path), frames(4)
    write_frames(tmp_path / "test.xyz", judged)
    code, found, err = run(capfd, "evaluate", source, tmp_path / "test.xyz")
    assert code == 0, err
    potential, off = zoo.load(source), []
    potential.export(tmp_path / "native.model", potential.weights(), potential.e0s)
    native = potential.native(tmp_path / "native.model")
    for frame in judged:
        assert frame.label is not None
        atoms = frame.atoms.copy()
        atoms.calc = native
        off.append((atoms.get_forces() - frame.label.forces).ravel())
    expected = 1e3 * np.abs(np.concatenate(off)).mean()
    assert found["force_mae_meV_per_A"] == pytest.approx(expected, rel=1e-3)


@cells(ALL)
def test_doctor_sees_what_is_wrong(
    backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Labels that are right, but for random models; and some without energies."""
    write_frames(tmp_path / "right.xyz", frames(8))
    right = ("doctor", "--model", model(backend, tmp_path), "--data", tmp_path / "right.xyz")
    code, found, err = run(capfd, *right, "--accept", "forces-shuffled")
    assert code == 0, err
    assert found["fit_for_training"]
    twice = [f for f in frames(4) for _ in "ab"]
    write_frames(tmp_path / "twice.xyz", twice)
    code, found, _ = run(capfd, *right[:-1], tmp_path / "twice.xyz")
    assert any("duplicate" in f["code"] for f in found["findings"])


@cells(SMALL, ("ntk", "activation"))
def test_select_takes_what_is_different(
    backend: str, method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of many shaken waters and one molecule of each other kind, those are among the first."""
    pool, rng = [], np.random.default_rng(0)
    for name in (*9 * ("H2O",), "CH4", "CH3OH", "CO2"):
        atoms = molecule(name)
        atoms.rattle(0.01, rng=rng)
        pool.append(Frame(atoms, None, name))
    write_frames(tmp_path / "pool.xyz", pool)
    out = tmp_path / "chosen.xyz"
    code, _, err = run(
        capfd, "select", tmp_path / "pool.xyz", "--n", 4, "--out", out,
        "--model", model(backend, tmp_path), "--representation", method,
    )  # fmt: skip
    assert code == 0, err
    chosen = [a.get_chemical_formula() for a in ase.io.read(out, ":")]
    assert sorted(chosen) == ["CH4", "CH4O", "CO2", "H2O"]


@cells(ALL)
def test_check_simulates(backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A public model's methane is stable, in a molecule's dynamics; a random one's need not be."""
    write_frames(tmp_path / "start.xyz", [Frame(molecule("CH4"), None, "CH4")])
    code, found, err = run(
        capfd, "check", model(backend, tmp_path), tmp_path / "start.xyz", "--time", "5 fs",
        "--replicas", 1, "--md", "write_every=1 fs",
    )  # fmt: skip
    assert found["composition"] == "CH4", err
    assert code == (0 if found["stable_members"]["k"] == 1 else 1)
    if backend not in SMALL:
        assert code == 0


@cells(ALL, ("naive",), slow=lambda name, _: name in SMALL)
def test_tune_and_evaluate(
    backend: str, method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A public model learns eight labels, and its model file is worth what the run says."""
    write_frames(tmp_path / "train.xyz", frames(8))
    write_frames(tmp_path / "valid.xyz", frames(4, seed=1))
    short = ("epochs=4", "batch_size=4", "learning_rate=0.001", "ema=0.5")
    settings = [x for s in short for x in ("--set", f"tune.sampler.{s}")]
    code, found, err = run(
        capfd, "tune", "--model", model(backend, tmp_path), "--train", tmp_path / "train.xyz",
        "--valid", tmp_path / "valid.xyz", "--out", tmp_path / "run", "--strategy", method,
        "--set", "data.accept=[forces-shuffled]", *settings,
    )  # fmt: skip
    assert code == 0, err
    assert found["after"]["force_mae_meV_per_A"] < found["before"]["force_mae_meV_per_A"]
    torch.set_num_threads(1)
    code, again, err = run(
        capfd, "evaluate", tmp_path / "run" / "final.model", tmp_path / "valid.xyz"
    )
    assert code == 0, err
    for name in ("force_mae_meV_per_A", "energy_mae_meV_per_atom"):
        assert again[name] == pytest.approx(found["after"][name], rel=1e-2)
