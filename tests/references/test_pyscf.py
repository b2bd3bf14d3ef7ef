"""PySCF labels against its own ASE interface and against differences of its energy."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tunesmith.core import Failure, Label
from tunesmith.errors import ConfigError
from tunesmith.references.pyscf import PySCF
from tunesmith.references.sanity import ElectronicState

pytest.importorskip("pyscf")


def water(seed: int = 0) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.mark.parametrize("settings", [{}, {"xc": "hf", "density_fit": False}])
def test_agrees_with_pyscfs_own_interface(settings):
    from pyscf import dft, gto, scf
    from pyscf.pbc.tools.pyscf_ase import PySCF as Calculator

    atoms = water()
    label = PySCF(grid_response=False, **settings).label(atoms)
    mol = gto.M(atom=[(a.symbol, a.position) for a in atoms], basis="def2-svp", verbose=0)
    field = scf.RHF(mol) if settings else dft.RKS(mol, xc="pbe").density_fit()
    atoms.calc = Calculator(method=field)
    # PySCF's hartree and bohr are other CODATA years' than ASE's: some 1e-8 of 2000 eV
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "info"),
    [({}, {}), ({"xc": "hf"}, {"charge": 1}), ({"xc": "b3lyp", "density_fit": False}, {})],
)
def test_forces_are_the_gradient(settings, info):
    reference, h = PySCF(conv_tol=1e-11, basis="sto-3g", **settings), 2e-3
    atoms = water(1)
    atoms.info.update(info)
    forces = reference.label(atoms).forces
    for atom, axis in ((0, 2), (1, 1)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            energies.append(reference.label(moved).energy)
        expected = -(energies[0] - energies[1]) / (2 * h)
        assert forces[atom, axis] == pytest.approx(expected, abs=5e-4)
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-6)


def test_one_scf_per_label(monkeypatch):
    from pyscf import scf

    calls = []
    kernel = scf.hf.kernel
    monkeypatch.setattr(scf.hf, "kernel", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    raw = PySCF(xc="hf", basis="sto-3g").compute(water(), ElectronicState(0, 1), False)
    assert len(calls) == 1
    assert raw["forces"].shape == (3, 3)


def test_too_few_cycles_fail_and_the_retry_converges():
    failure = PySCF(xc="hf", basis="sto-3g", max_cycle=1, conv_tol=1e-13).label(water())
    assert isinstance(failure, Failure)
    assert failure.kind == "not-converged"
    retried = PySCF(xc="hf", basis="sto-3g", max_cycle=4).label(water())
    with pytest.raises(Exception, match="not converged in 4"):
        PySCF(xc="hf", basis="sto-3g", max_cycle=4).compute(water(), ElectronicState(0, 1), False)
    plain = PySCF(xc="hf", basis="sto-3g").label(water())
    assert retried.energy == pytest.approx(plain.energy, abs=1e-6)


def test_multiplicity_decides_between_restricted_and_unrestricted():
    from pyscf import dft, scf

    atom = Atoms("O")
    triplet = PySCF(xc="hf", basis="sto-3g")
    assert isinstance(triplet.mean_field(atom, 0, 3), scf.uhf.UHF)
    assert isinstance(triplet.mean_field(atom, 0, 1), scf.hf.RHF)
    assert isinstance(PySCF().mean_field(atom, 0, 3), dft.uks.UKS)
    assert isinstance(PySCF().mean_field(atom, 0, 1), dft.rks.RKS)
    stated = atom.copy()
    stated.info["multiplicity"] = 3
    # Hund: the oxygen atom is a triplet
    assert triplet.label(stated).energy < triplet.label(atom).energy - 0.5


def test_heavy_elements_get_the_basis_sets_core_potential():
    mol = PySCF().mean_field(Atoms("HI", [[0, 0, 0], [0, 0, 1.6]]), 0, 1).mol
    assert mol.nelectron == 1 + 53 - 28  # def2: 28 electrons of iodine are the core


def test_periodic_structures_are_refused():
    failure = PySCF().label(bulk("NaCl", "rocksalt", 5.6))
    assert failure.kind == "refused"
    assert "periodic stress is wrong" in failure.reason


def test_elements_without_a_basis_are_refused():
    assert "6-31g for Pu" in PySCF(basis="6-31g").label(Atoms("Pu")).reason


@pytest.mark.parametrize(
    "settings",
    [{"xc": "pbee"}, {"basis": "def3-svp"}, {"xc": "b3lyp-d3bj"}, {"xc": "pbe-d4"}],
)
def test_settings_are_checked_early(settings):
    with pytest.raises(ConfigError):
        PySCF(**settings)


def test_a_radical_has_a_label():
    assert isinstance(PySCF(basis="sto-3g").label(Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])), Label)
