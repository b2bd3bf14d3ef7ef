"""`doctor` and `tune` give one answer: what cannot be learnt cannot be accepted by either."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

import wards
from tunesmith import terminal
from tunesmith.cli import app
from tunesmith.core import Frame
from tunesmith.data.checks import require_labels
from tunesmith.doctor.codes import CODES, UNLEARNABLE
from tunesmith.doctor.examine import examine
from tunesmith.doctor.findings import require_codes
from tunesmith.errors import ConfigError, DataError


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = terminal.run(app, [str(a) for a in arguments])
    said = capfd.readouterr()
    return code, said.out + said.err


def changed(change: object) -> list[Frame]:
    frames = [f for f in wards.ethanol() if len(f.atoms) > 1][:12]
    return [change(f) if i % 4 == 1 else f for i, f in enumerate(frames)]  # type: ignore[operator]


def _atoms(frame: Frame, **parts: object) -> Frame:
    atoms = frame.atoms.copy()
    for name, value in parts.items():
        setattr(atoms, name, value)
    return replace(frame, atoms=atoms)


def _forces(frame: Frame, forces: object) -> Frame:
    return wards.relabelled(frame, forces=np.array(forces, float))


BROKEN = {
    "healthy": lambda f: f,
    "no label": lambda f: replace(f, label=None),
    "energy not finite": lambda f: wards.relabelled(f, energy=np.nan),
    "force not finite": lambda f: _forces(f, np.where(f.label.forces > 1, np.inf, f.label.forces)),
    "no forces": lambda f: _forces(f, np.zeros_like(f.label.forces)),
    "one force": lambda f: _forces(f, np.ones_like(f.label.forces)),
    "element": lambda f: _atoms(f, numbers=np.where(f.atoms.numbers == 8, 16, f.atoms.numbers)),
    "positions": lambda f: _atoms(f, positions=f.atoms.positions * np.nan),
    "overlap": lambda f: _atoms(f, positions=f.atoms.positions * 0.05),
    "no volume": lambda f: _atoms(f, pbc=True),
    "isolated": lambda f: replace(f, config_type="Default", atoms=Atoms()),
    "another sign": lambda f: _forces(f, -f.label.forces),
    "another level": lambda f: wards.relabelled(f, energy=f.label.energy + 9.0),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_tune_refuses_is_what_cannot_be_accepted(name: str) -> None:
    frames = changed(BROKEN[name])
    found = {f.code for f in examine(frames, wards.foundation()).errors}
    try:
        require_labels(frames, wards.foundation().potential.elements, zeros=True)
        refused = name == "no forces"  # tune leaves these to the doctor, whose errors it raises
    except DataError:
        refused = True
    assert bool(found & UNLEARNABLE) == refused, found


@pytest.mark.parametrize("code", sorted(UNLEARNABLE))
def test_nobody_accepts_it(code: str) -> None:
    assert CODES[code].severity == "error"
    with pytest.raises(ConfigError, match=f"accept: {code} .* cannot be accepted"):
        require_codes([code])


@pytest.fixture
def without_energies(tmp_path: Path) -> Path:
    """A file that has forces alone."""
    frames = [f for f in wards.ethanol() if len(f.atoms) > 1][:14]
    path = tmp_path / "forces.xyz"
    images = []
    for f in frames:
        assert f.label is not None
        atoms = f.atoms.copy()
        atoms.arrays["REF_forces"] = f.label.forces
        images.append(atoms)
    write(path, images)
    return path


def test_forces_alone_are_learnt_where_asked_and_only_there(
    without_energies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, out = without_energies, tmp_path / "out"
    assert run(capfd, "doctor", data)[0] == 1
    assert run(capfd, "doctor", data, "--accept", "energy-missing")[0] == 2
    assert run(capfd, "doctor", data, "--forces-only")[0] == 0
    short = ("--out", out, "--set", "tune.sampler.epochs=1")
    code, said = run(capfd, "tune", "--train", data, *short)
    assert code == 2
    assert not out.exists()
    accepted = ("--set", "data.accept=[energy-missing]")
    assert run(capfd, "tune", "--train", data, *short, *accepted)[0] == 2
    alone = ("--set", "tune.loss.energy=0")
    method = ("--set", "tune.e0.method=average")
    assert run(capfd, "tune", "--train", data, *short, *alone, *method)[0] == 2
    code, said = run(capfd, "tune", "--train", data, *short, *alone)
    assert code == 0, said
    assert (out / "final.model").is_file()
    assert "zero of energy stays the foundation's" in said


def test_a_committee_learns_forces_alone_and_calibrates_no_energy(
    without_energies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = ("tune.loss.energy=0", "tune.sampler.members=2", "tune.sampler.epochs=1")
    parts += ("execute.processes=1",)
    more = [x for part in parts for x in ("--set", part)]
    data, out = without_energies, tmp_path / "out"
    code, said = run(capfd, "tune", "--train", data, "--out", out, "--strategy", "committee", *more)
    assert code == 0, said
    assert "forces: error bars" in said
    assert "energy: error bars" not in said


def test_forces_alone_are_still_judged(
    without_energies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = read(without_energies, ":")
    for atoms in images:
        atoms.arrays["REF_forces"] /= 51.42208619083232
    write(tmp_path / "hartree.xyz", images)
    code, said = run(capfd, "doctor", tmp_path / "hartree.xyz", "--forces-only")
    assert code == 1
    assert "Ha/Bohr" in said
