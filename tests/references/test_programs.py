"""CP2K and Quantum ESPRESSO, the real programs: `pytest -m engine`."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tunesmith.core import Failure, Label
from tunesmith.errors import ConfigError
from tunesmith.references.cp2k import CP2K
from tunesmith.references.engine import Engine
from tunesmith.references.espresso import Espresso

PSEUDO = os.environ.get("ESPRESSO_PSEUDO", "/usr/share/espresso/pseudo")
SILICON = {"Si": "Si.pbe-rrkj.UPF"}


def espresso(**changes) -> Espresso:
    words = {"ecutwfc": 20, "conv_thr": 1e-10} | changes.pop("input_data", {})
    settings = {"pseudo_dir": PSEUDO, "pseudopotentials": SILICON, "kpts": (2, 2, 2)}
    return Espresso(input_data=words, **(settings | changes))


def si2() -> Atoms:
    atoms = bulk("Si")
    atoms.rattle(0.05, seed=1)
    return atoms


def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    atoms.center(vacuum=2.5)
    atoms.pbc = True
    return atoms


def sloped(reference: Engine, atoms: Atoms, atom: int, axis: int, h: float = 0.01) -> float:
    """Minus the central difference of the energy, eV/Å."""
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[atom, axis] += sign * h
        label = reference.label(moved)
        assert isinstance(label, Label), label
        energies.append(label.energy)
    return -(energies[0] - energies[1]) / (2 * h)


def strained(reference: Engine, atoms: Atoms, i: int, j: int, h: float = 0.004) -> float:
    """The stress from the energies of two strained cells, eV/Å³."""
    energies = []
    for sign in (1, -1):
        strain = np.eye(3)
        strain[i, j] += sign * h / 2
        strain[j, i] += sign * h / 2
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        energies.append(reference.label(moved).energy)
    return (energies[0] - energies[1]) / (2 * h) / atoms.get_volume()


@pytest.mark.engine
def test_espresso_forces_and_stress_are_derivatives(tmp_path):
    reference = espresso(scratch=str(tmp_path), input_data={"ecutwfc": 30})
    label = reference.label(si2())
    assert label.forces[0, 1] == pytest.approx(sloped(reference, si2(), 0, 1), abs=0.01)
    np.testing.assert_allclose(label.forces.sum(0), 0, atol=1e-4)
    # the basis set changes with the cell (Pulay): a loose bound, sign and unit beyond doubt
    assert label.stress[0, 1] == pytest.approx(strained(reference, si2(), 0, 1), rel=0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.engine
def test_espresso_unconverged(tmp_path):
    failure = espresso(scratch=str(tmp_path), input_data={"electron_maxstep": 1}).label(si2())
    assert isinstance(failure, Failure)
    assert failure.kind == "not-converged"
    outputs = [Path(failure.scratch, f, "espresso.pwo").read_text() for f in ("first", "retry")]
    assert all("convergence NOT achieved" in text for text in outputs)
    words = {"electron_maxstep": 5, "conv_thr": 1e-7}
    rescued = espresso(input_data=words).label(si2())
    assert isinstance(rescued, Label), rescued
    assert rescued.energy == pytest.approx(espresso().label(si2()).energy, abs=1e-4)


@pytest.mark.engine
def test_espresso_spin_and_charge():
    """A silicon atom is a triplet (Hund); its cation costs some 8 eV."""
    atom = Atoms("Si", cell=[6, 6, 6], pbc=True)
    # ten bands: with the few empty ones of the default, pw.x at times cannot bracket Ef
    words = {"occupations": "smearing", "degauss": 0.01, "conv_thr": 1e-6, "ecutwfc": 15}
    words["nbnd"] = 10
    reference = espresso(kpts=None, input_data=words)
    plain = reference.label(atom)
    atom.info["multiplicity"] = 3
    triplet = reference.label(atom)
    assert isinstance(plain, Label), plain
    assert isinstance(triplet, Label), triplet
    assert plain.energy - 1.5 < triplet.energy < plain.energy - 0.3
    atom.info["multiplicity"] = 2
    assert reference.label(atom).kind == "refused"
    cation = reference.model_copy(update={"charge": 1}).label(atom)
    assert cation.energy > triplet.energy + 3


@pytest.mark.engine
@pytest.mark.parametrize("make", [espresso, lambda **more: CP2K(cutoff=900, **more)])
def test_timeout_ends_the_program(make, tmp_path):
    atoms = bulk("Si", cubic=True) * (2, 2, 1)
    atoms.rattle(0.1, seed=0)
    reference = make(timeout="4 s", scratch=str(tmp_path))
    failure = reference.label(atoms)
    assert failure.kind == "timed-out", failure
    time.sleep(1)
    running = [p for p in Path("/proc").glob("[0-9]*/cwd") if _under(p, tmp_path)]
    assert running == []


def _under(link: Path, folder: Path) -> bool:
    try:
        return Path(os.readlink(link)).is_relative_to(folder)
    except OSError:
        return False


@pytest.mark.engine
def test_cp2k_forces_and_stress_are_derivatives(tmp_path):
    reference = CP2K(cutoff=300, eps_scf=1e-8, scratch=str(tmp_path))
    label = reference.label(water())
    assert isinstance(label, Label), label
    assert label.forces[1, 1] == pytest.approx(sloped(reference, water(), 1, 1), abs=0.02)
    assert label.stress[2, 2] == pytest.approx(strained(reference, water(), 2, 2, 0.01), rel=0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.engine
def test_cp2k_unconverged(tmp_path):
    """CP2K 2023 itself says nothing: it answers with numbers."""
    failure = CP2K(cutoff=200, max_scf=2, scratch=str(tmp_path)).label(water())
    assert isinstance(failure, Failure)
    assert failure.kind == "not-converged"
    rescued = CP2K(cutoff=200, max_scf=8).label(water())
    full = CP2K(cutoff=200).label(water())
    assert isinstance(rescued, Label), rescued
    assert rescued.energy == pytest.approx(full.energy, abs=1e-3)


@pytest.mark.engine
def test_cp2k_radical_and_molecule():
    radical = molecule("OH")
    radical.set_initial_magnetic_moments(None)
    radical.center(vacuum=3)
    label = CP2K(cutoff=200).label(radical)
    assert isinstance(label, Label), label
    assert label.stress is None
    radical.info["charge"] = -1
    assert CP2K(cutoff=200).label(radical).energy != label.energy


@pytest.mark.engine
def test_cp2k_failure_inside(tmp_path):
    wrong = CP2K(cutoff=200, basis_set="NO-SUCH-BASIS", scratch=str(tmp_path)).label(water())
    assert wrong.kind == "crashed"
    assert isinstance(CP2K(cutoff=200).label(water()), Label)


def test_missing_programs(monkeypatch, tmp_path):
    (tmp_path / "Si.UPF").write_text("<UPF>")
    pseudo = {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Si": "Si.UPF"}}
    monkeypatch.setenv("PATH", str(tmp_path))
    for reference, atoms in (
        (Espresso(input_data={"ecutwfc": 20}, **pseudo), si2()),
        (CP2K(), water()),
    ):
        failure = reference.label(atoms)
        assert failure.kind == "engine-missing"
        assert "apt-get install" in failure.reason


@pytest.mark.parametrize(
    "settings",
    [
        {"input_data": {}},
        {"input_data": {"system": {"ecutwfc": 20, "tot_charge": 1}}},
        {"input_data": {"ecutwfc": 20, "calculation": "relax"}},
        {"input_data": {"ecutwfc": 20, "scf_must_converge": False}},
        {"input_data": {"ecutwfc": 20}, "kpts": [1, 1, 1], "kspacing": 0.1},
        {"input_data": {"ecutwfc": 20}, "pseudopotentials": {"Si": "absent.UPF"}},
    ],
)
def test_espresso_settings_are_checked_early(settings, tmp_path):
    (tmp_path / "Si.UPF").write_text("<UPF>")
    plain = {"pseudo_dir": str(tmp_path), "pseudopotentials": {"Si": "Si.UPF"}}
    with pytest.raises(ConfigError):
        Espresso(**(plain | settings))


def test_espresso_identity_holds_the_pseudopotential(monkeypatch, tmp_path):
    monkeypatch.setattr("tunesmith.references.espresso.Espresso.version", lambda self: "0")
    identities = []
    for content in ("<UPF a>", "<UPF b>"):
        (tmp_path / "Si.UPF").write_text(content)
        reference = Espresso(
            pseudo_dir=str(tmp_path),
            pseudopotentials={"Si": "Si.UPF"},
            input_data={"ecutwfc": 20},
        )
        identities.append(reference.identity())
    assert identities[0] != identities[1]
    assert str(tmp_path) not in str(identities)


@pytest.mark.parametrize(
    "settings",
    [
        {"inp": "&FORCE_EVAL\n&DFT\nCHARGE 1\n&END\n&END"},
        {"inp": "&FORCE_EVAL\n&DFT\n&SCF\nEPS_SCF 1e-3\n&END\n&END\n&END"},
        {"xc": "B3LYP"},
    ],
)
def test_cp2k_settings_are_checked_early(settings):
    with pytest.raises(ConfigError):
        CP2K(**settings)
