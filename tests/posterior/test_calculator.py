"""The ASE calculator: molecular dynamics, stress, spread, and mace's own as the measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

import fitted
import tunesmith
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.posterior import members_file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.base_file(tmp_path_factory.mktemp("base") / "base.model")


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    members_file.save(fitted.members(base, 3, spread=0.02), folder)
    return folder


def test_it_is_maces_own_calculator_in_other_words(base: Path) -> None:
    ours = tunesmith.Calculator(base, dtype="float64")
    native = ours.posterior.potential.native(base)
    for atoms in (molecule("CH3CH2OH"), bulk("C", cubic=True)):
        atoms.rattle(0.05, seed=2)
        atoms.calc = ours
        mine = atoms.get_potential_energy(), atoms.get_forces()
        assert atoms.get_potential_energy(force_consistent=True) == mine[0]
        stress = atoms.get_stress() if atoms.pbc.all() else None
        atoms.calc = native
        assert mine[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(mine[1], atoms.get_forces(), atol=1e-10)
        if stress is not None:
            assert np.abs(stress).max() > 1e-5
            np.testing.assert_allclose(stress, atoms.get_stress(), atol=1e-11)


def test_a_model_without_members_has_no_spread(base: Path) -> None:
    atoms = molecule("CH4")
    atoms.calc = tunesmith.Calculator(base)
    atoms.get_potential_energy()
    for name in ("energy_std_raw", "forces_std_raw"):
        with pytest.raises(PropertyNotImplementedError):
            atoms.calc.get_property(name, atoms)


def test_members_give_a_spread(run: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = tunesmith.Calculator(run, dtype="float64")
    atoms.get_forces()
    expected = atoms.calc.posterior.predict([atoms]).members
    energies, forces = [m.energy[0] for m in expected], [m.forces for m in expected]
    assert atoms.get_potential_energy() == pytest.approx(np.mean(energies))
    std = atoms.calc.get_property("energy_std_raw", atoms)
    assert std == pytest.approx(np.std(energies, ddof=1), rel=1e-6)
    assert std > 0
    std = atoms.calc.get_property("forces_std_raw", atoms)
    np.testing.assert_allclose(std, np.std(forces, axis=0, ddof=1), rtol=1e-6)
    # a moved atom is computed anew
    atoms.positions[0, 0] += 0.1
    assert atoms.calc.get_property("energy_std_raw", atoms) != pytest.approx(
        np.std(energies, ddof=1), rel=1e-6
    )


def test_a_calibrated_run_has_error_bars(base: Path, tmp_path: Path) -> None:
    """Errors three times the raw spread, often enough: the calibrated spread is three times it."""
    calibration = {q: GammaCalibration(3, 10) for q in ("energy", "forces")}
    for _ in range(3000):
        calibration["energy"] = calibration["energy"].update(0.1, 0.3)
    members = replace(fitted.members(base, 3, spread=0.02), calibration=calibration, noise={})
    members_file.save(members, tmp_path / "run")
    atoms = molecule("CH3OH")
    atoms.calc = tunesmith.Calculator(tmp_path / "run", dtype="float64")
    raw = atoms.calc.get_property("energy_std_raw", atoms)
    assert atoms.calc.get_property("energy_std", atoms) == pytest.approx(3 * raw, rel=0.01)
    forces = atoms.calc.get_property("forces_std_raw", atoms)
    # no record yet: the prior alone, sqrt(b / (a − 1))
    np.testing.assert_allclose(
        atoms.calc.get_property("forces_std", atoms), np.sqrt(5) * forces, rtol=1e-12
    )


def test_members_give_a_spread_of_stress(base: Path, tmp_path: Path) -> None:
    """Of every component, in ASE's order; a molecule has none."""
    laws = {"stress": GammaCalibration(3, 10)}
    members = replace(fitted.members(base, 3, spread=0.02), calibration=laws, noise={})
    members_file.save(members, tmp_path / "run")
    atoms = bulk("C", cubic=True)
    atoms.rattle(0.1, seed=2)
    atoms.calc = tunesmith.Calculator(tmp_path / "run", dtype="float64")
    atoms.get_forces()  # without it
    raw = atoms.calc.get_property("stress_std_raw", atoms)
    each = [m.stress[0] for m in atoms.calc.posterior.predict([atoms], stress=True).members]
    std = np.std(each, axis=0, ddof=1)
    voigt = [std[0, 0], std[1, 1], std[2, 2], std[1, 2], std[0, 2], std[0, 1]]
    np.testing.assert_allclose(raw, voigt, rtol=1e-6)
    calibrated = atoms.calc.get_property("stress_std", atoms)
    np.testing.assert_allclose(calibrated, np.sqrt(5) * raw, rtol=1e-12)
    lone = molecule("CH3OH")
    lone.calc = atoms.calc
    with pytest.raises(PropertyNotImplementedError):
        lone.calc.get_property("stress_std", lone)


def test_a_run_without_calibration_has_raw_spreads_only(run: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = tunesmith.Calculator(run)
    atoms.get_potential_energy()
    for name in ("energy_std", "forces_std"):
        with pytest.raises(PropertyNotImplementedError):
            atoms.calc.get_property(name, atoms)


def test_a_molecule_has_no_stress(base: Path) -> None:
    atoms = molecule("CH4")
    atoms.calc = tunesmith.Calculator(base)
    atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_constraints_are_ases_affair(base: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = tunesmith.Calculator(base)
    free = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    np.testing.assert_array_equal(atoms.get_forces(apply_constraint=False), free)
    assert not atoms.get_forces()[0].any()


def test_energy_is_conserved(base: Path) -> None:
    """Forces that were not the energy's gradient would show in a few steps."""
    atoms = molecule("CH3OH")
    atoms.calc = tunesmith.Calculator(base, dtype="float64")
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=0.2 * units.fs)
    totals = []
    dynamics.attach(lambda: totals.append((atoms.get_total_energy(), atoms.get_kinetic_energy())))
    dynamics.run(40)
    total, kinetic = np.array(totals).T
    assert np.ptp(kinetic) > 1e-3
    assert np.ptp(total) < 0.02 * np.ptp(kinetic)


def test_langevin_with_members_and_a_trajectory(run: Path, tmp_path: Path) -> None:
    atoms = bulk("C", cubic=True)
    atoms.calc = tunesmith.Calculator(run)
    dynamics = Langevin(
        atoms,
        timestep=0.5 * units.fs,
        temperature_K=300,
        friction=0.01 / units.fs,
        rng=np.random.default_rng(0),
    )
    dynamics.run(5)
    assert np.isfinite(atoms.get_stress()).all()
    write(tmp_path / "frames.xyz", atoms)
    back = read(tmp_path / "frames.xyz")
    assert back.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
