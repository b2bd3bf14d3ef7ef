"""What is taken for granted of molecules that state neither charge nor multiplicity."""

import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tunesmith.core import Frame
from tunesmith.references.tblite import TBLite

HYDRONIUM = Atoms("OH3", [[0, 0, 0.1], [0.9, 0, -0.2], [-0.45, 0.8, -0.2], [-0.45, -0.8, -0.2]])


def said(*structures: Atoms, **settings: int) -> str | None:
    frames = [Frame(atoms, None, f"a.xyz#{i}") for i, atoms in enumerate(structures)]
    return TBLite(**settings).assumed(frames)


def test_odd_electrons_and_oxygen_are_remarked() -> None:
    both = said(molecule("H2O"), HYDRONIUM, molecule("O2"), molecule("OH"))
    assert both is not None
    assert "2 of 4 structures (H3O, a.xyz#1, …) state no charge and have an odd number" in both
    assert "O2 (O2, a.xyz#2) is computed as a singlet" in both
    assert both.endswith("give atoms.info['charge'] and atoms.info['multiplicity'].")


@pytest.mark.parametrize("key", ["charge", "multiplicity"])
def test_what_is_stated_or_usual_is_not(key: str) -> None:
    stated, oxygen = HYDRONIUM.copy(), molecule("O2")
    stated.info[key] = 1 if key == "charge" else 2
    oxygen.info[key] = 0 if key == "charge" else 3
    assert said(stated, oxygen, molecule("H2O"), bulk("Al")) is None
    assert said(HYDRONIUM, charge=1) is None
    assert said(molecule("OH"), multiplicity=2) is None
