"""GFN-xTB labels against tblite itself and against differences of its energy."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tunesmith.core import Failure, Label
from tunesmith.references.sanity import ElectronicState
from tunesmith.references.tblite import TBLite

tblite = pytest.importorskip("tblite.ase")


def ethanol(seed: int = 0) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
def test_agrees_with_tblite_itself(method):
    atoms = ethanol()
    label = TBLite(method=method).label(atoms)
    atoms.calc = tblite.TBLite(method=method, verbosity=0)
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-7)
    assert label.stress is None


def test_forces_are_the_gradient():
    reference, atoms, h = TBLite(accuracy=1e-3), ethanol(1), 1e-3
    forces = reference.label(atoms).forces
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            energies.append(reference.label(moved).energy)
        assert forces[atom, axis] == pytest.approx(-np.diff(energies[::-1])[0] / (2 * h), abs=2e-4)


def test_stress_is_the_strain_derivative():
    """Every component, of a sheared rattled crystal: sign, units and order."""
    reference, h = TBLite(method="GFN1-xTB", accuracy=1e-2), 1e-3
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.03, 0], [0, 1.02, 0.01], [0, 0, 0.98]]), True)
    atoms.rattle(0.05, seed=2)
    stress = reference.label(atoms).stress
    np.testing.assert_allclose(stress, stress.T)
    for i, j in ((0, 0), (2, 2), (0, 1), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(reference.label(moved).energy)
        expected = (energies[0] - energies[1]) / (2 * h) / atoms.get_volume()
        assert stress[i, j] == pytest.approx(expected, abs=2e-5)


def test_charge_and_multiplicity_come_from_the_structure():
    water, settings = molecule("H2O"), TBLite()
    cation, triplet = water.copy(), water.copy()
    cation.info["charge"] = 1
    triplet.info["multiplicity"] = 3
    for atoms, charge, multiplicity in ((cation, 1, 2), (triplet, 0, 3)):
        calculator = tblite.TBLite(charge=charge, multiplicity=multiplicity, verbosity=0)
        label = settings.label(atoms)
        atoms.calc = calculator
        assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    assert settings.label(triplet).energy > settings.label(water).energy + 1
    assert TBLite(charge=1).label(water).energy == pytest.approx(settings.label(cation).energy)


def test_too_few_iterations_fail_and_the_retry_has_more(tmp_path):
    failure = TBLite(max_iterations=2, scratch=str(tmp_path)).label(ethanol())
    assert isinstance(failure, Failure)
    assert failure.kind == "not-converged"
    assert "8 cycles" in failure.reason
    assert sorted(p.name for p in Path(failure.scratch).iterdir()) == [
        "first",
        "retry",
        "structure.extxyz",
    ]
    full = TBLite().label(ethanol())
    retried = TBLite(max_iterations=5, scratch=str(tmp_path / "other")).label(ethanol())
    with pytest.raises(Exception, match="not converged in 5"):
        TBLite(max_iterations=5).compute(ethanol(), ElectronicState(0, 1), False)
    assert retried.energy == pytest.approx(full.energy, abs=1e-4)
    assert list((tmp_path / "other").iterdir()) == []


def test_slabs_are_refused_because_tblite_fills_space_with_them():
    slab = Atoms("H2O", molecule("H2O").positions, cell=[6, 6, 20], pbc=[1, 1, 0])
    assert TBLite().label(slab).kind == "refused"
    slab.pbc = True
    assert isinstance(TBLite().label(slab), Label)


def test_unknown_element_is_a_sentence():
    failure = TBLite().label(Atoms("U"))
    assert failure.kind == "refused"
    assert "86" in failure.reason


def test_identity():
    a = TBLite()
    assert json.loads(json.dumps(a.identity())) == a.identity()
    assert a.identity()["version"]
    same = TBLite(max_force="1 eV/Å", timeout="3 s", threads=2, scratch="/tmp", min_distance=0.1)
    assert same.identity() == a.identity()
    others = [
        TBLite(method="GFN1-xTB"),
        TBLite(accuracy=0.1),
        TBLite(charge=1),
        TBLite(multiplicity=3),
    ]
    assert len({json.dumps(r.identity()) for r in [a, *others]}) == 5
