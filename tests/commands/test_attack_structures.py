"""`tunesmith attack` from the outside: what it writes and says, and how it refuses."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from ase.io import read, write

from tunesmith import terminal
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.cli import app
from tunesmith.commands import attackers
from tunesmith.core import E0s, Members
from tunesmith.data.store import LabelStore
from tunesmith.posterior import members_file
from tunesmith.posterior.ensemble import open_model
from tunesmith.potentials import zoo
from tunesmith.tune.subspace import All

#: σ_cal = 1.32 σ̂
LAW = GammaCalibration(1.5, 0.5).update(0.1, 0.2)


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = terminal.run(app, [str(a) for a in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def saved(folder: Path, count: int, **calibration: Any) -> None:
    """A run folder of organic-xs and random changes of its weights."""
    potential = zoo.load("organic-xs", dtype="float64")
    own, generator = potential.weights(), torch.Generator().manual_seed(1)
    moved = {}
    for name in potential.names.trainable():
        draw = torch.randn((count, *own[name].shape), generator=generator, dtype=torch.float64)
        moved[name] = own[name] + 0.02 * own[name].square().mean().sqrt() * draw
    members = Members(
        potential.base, own, All(), moved, E0s(potential.e0s), calibration=calibration
    )
    members_file.save(members, folder)


@pytest.fixture(scope="module")
def committees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("committees")
    saved(folder / "three", 3, forces=LAW)
    saved(folder / "raw", 2)
    saved(folder / "one", 1)
    return folder


@pytest.fixture(scope="module")
def opened() -> Callable[..., Any]:
    """Every run folder opened once for all commands of this file."""
    return functools.cache(open_model)  # the folders have the same names in every test


@pytest.fixture
def folder(
    committees: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[..., Any],
) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("TUNESMITH_DEBUG", raising=False)
    monkeypatch.setattr(attackers, "open_model", opened)
    for name in ("three", "raw", "one"):
        (work / name).symlink_to(committees / name)
    write("frames.xyz", frames())
    return work


def frames() -> list[Atoms]:
    found = [molecule(name) for name in ("H2O", "CH3OH", "CH4")]
    for k, atoms in enumerate(found):
        atoms.rattle(0.04, seed=k)
        atoms.info["name"] = "abc"[k]
    found[1].set_constraint(FixAtoms([0, 1]))
    return found


ATTACK = ("attack", "frames.xyz", "--model", "three", "--out", "out.xyz")


def test_the_example(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capfd, *ATTACK, "--target", "200 meV/Å", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["n_members"], summary["calibration"]) == (3, "gamma")
    assert summary["reasons"] == {"on target": 3}
    posterior = open_model("three")
    files = read("frames.xyz", ":"), read("out.xyz", ":")
    for start, atoms, row in zip(*files, summary["structures"], strict=True):
        spreads = [posterior.predict([a]).std() for a in (start, atoms)]
        assert None not in spreads
        std = [np.sqrt((LAW.std(s.forces) ** 2).sum(1)) for s in spreads if s is not None]
        before, after = (float(np.sqrt(np.mean(s**2))) for s in std)
        assert row["std_start"] == pytest.approx(before, rel=1e-4)
        assert row["std"] == pytest.approx(after, rel=1e-4)
        assert row["std"] == pytest.approx(0.2, rel=0.05)
        moved = np.linalg.norm(atoms.positions - start.positions, axis=1)
        assert row["displacement"] == pytest.approx(moved.max(), abs=1e-6)
        assert moved.max() > 1e-3
        assert atoms.info["name"] == start.info["name"]
        marks = {f"attack_{k}": v for k, v in row.items()}
        assert {k: atoms.info[k] for k in marks} == marks
        if start.constraints:
            assert np.array_equal(atoms.positions[:2], start.positions[:2])
    # once more gives the same to the bit
    code, again, _ = run(capfd, *ATTACK[:-1], "again.xyz", "--target", "200 meV/Å", "--json")
    assert json.loads(again)["structures"] == summary["structures"]
    assert Path("again.xyz").read_bytes() == Path("out.xyz").read_bytes()


def test_a_reference_tells_the_real_error(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tblite")
    # a spin that water cannot have: the reference says so, and the others are labelled
    broken = frames()
    broken[0].info["multiplicity"] = 2
    write("frames.xyz", broken)
    command = (*ATTACK, "--target", "150 meV/Å", "--reference", "tblite", "--members", "2")
    code, out, err = run(capfd, *command, "--json")
    assert code == 1, err
    summary = json.loads(out)
    assert (summary["n_labelled"], summary["n_failed"], summary["n_attacking"]) == (2, 1, 2)
    assert "failure" in summary["structures"][0]
    labelled = read("out.xyz", ":")
    assert [a.info["name"] for a in labelled] == ["b", "c"]
    posterior, squares = open_model("three"), []
    for atoms, row in zip(labelled, summary["structures"][1:], strict=True):
        members = posterior.predict([atoms]).members
        assert members is not None
        for m in members:
            off = m.forces - atoms.arrays["REF_forces"]
            squares.append(np.mean((off**2).sum(1)))
        assert row["error"] == pytest.approx(np.sqrt(np.mean(squares[-3:])), rel=1e-4)
        assert atoms.info["attack_error"] == row["error"]
    assert summary["error"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)
    assert len(LabelStore("out.db")) == 2
    # the same command goes on: labels are found, and failures tried again
    code, out, err = run(capfd, *command)
    assert code == 1, err
    assert len(LabelStore("out.db")) == 2
    assert len(LabelStore("out.db").failures()) == 2
    error = f"{1e3 * summary['error']:.1f} meV/Å"
    assert f"real error of the members (rms over 2 labelled structures): {error}" in out
    assert "frames.xyz#0: " in out


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "no target": ((), "attack.target: not given, but needed"),
    "no unit": (("--target", "100"), "needs a number and a unit of force"),
    "one member": (("--target", "1 eV/Å", "--model", "one"), "one has one member, and a committee"),
    "a plain model": (("--target", "1 eV/Å", "--model", "organic-xs"), "a committee of one never"),
    "not calibrated": (("--target", "1 eV/Å", "--model", "raw"), "raw has no calibration"),
    "too many": (("--target", "1 eV/Å", "--members", "4"), "4 are to attack, but three has 3"),
    "one attacks": (
        ("--target", "1 eV/Å", "--members", "1"),
        "members: 1 was given",
    ),
    "none attacks": (("--target", "1 eV/Å", "--members", "0"), "members: 0 was given"),
    "a store alone": (("--target", "1 eV/Å", "--store", "x.db"), "--store: without a reference"),
    "beyond nothing": (
        ("--target", "1 eV/Å", "--uncalibrated", "--beyond-calibration"),
        "there is nothing to be beyond",
    ),
    "a cell of a molecule": (
        ("--target", "1 eV/Å", "--set", "attack.cell=true"),
        "frames.xyz#0: its cell cannot move without three periodic directions",
    ),
    "a pool": (("--target", "1 eV/Å", "--reference", "hidden"), "reference.kind: 'hidden'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    options, said = REFUSED[name]
    code, out, err = run(capfd, *ATTACK, *options)
    assert (code, out) == (2, ""), err
    assert said in err
    assert err.count("\n") == 1
    assert not Path("out.xyz").exists()


def test_structures_that_are_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    boxed, salt = molecule("H2O", cell=[9, 9, 9]), molecule("NaCl")
    for atoms, said in (
        (boxed, "bad.xyz#0: it has a cell but no periodic direction"),
        (salt, "bad.xyz#0: contains Na and Cl, which the model does not know"),
    ):
        write("bad.xyz", atoms)
        code, _, err = run(capfd, "attack", "bad.xyz", *ATTACK[2:], "--target", "1 eV/Å")
        assert code == 2
        assert said in err
    Path("out.xyz").write_text("mine")
    code, _, err = run(capfd, *ATTACK, "--target", "1 eV/Å")
    assert code == 2
    assert "out.xyz exists" in err
    assert Path("out.xyz").read_text() == "mine"


def test_a_target_beyond_the_calibrated_range(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    PowerLaw = pytest.importorskip("tunesmith.calibrate.powerlaw").PowerLaw
    rng = np.random.default_rng(0)
    std = np.exp(rng.uniform(np.log(0.01), np.log(0.1), 600))
    law = PowerLaw.fit(std, 1.5 * std**0.9 * rng.normal(size=(3, 600)))
    saved(folder / "ranged", 2, forces=law)
    own = ("attack", "frames.xyz", "--model", "ranged", "--out", "out.xyz", "--target", "2 eV/Å")
    code, _, err = run(capfd, *own)
    assert code == 2
    low, high = 3**0.5 * law.std(np.array([law.low, law.high]))
    assert f"2000 meV/Å is outside {1e3 * low:.4g} to {1e3 * high:.4g} meV/Å" in err
    assert "--beyond-calibration" in err
    code, out, err = run(
        capfd, *own, "--beyond-calibration", "--set", "attack.evaluations=2", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["calibration"] == "power-law"


def test_the_spread_as_it_is(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capfd, *ATTACK[:3], "raw", *ATTACK[4:], "--target", "100 meV/Å", "--uncalibrated"
    )
    assert code == 0, err
    assert "calibration none: the spread as it is" in out
    assert "target 100 meV/Å" in out
