"""SOAP against dscribe itself, Morgan fingerprints against RDKit's own molecules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from tunesmith.core import Frame
from tunesmith.errors import ConfigError, DataError, MissingDependencyError
from tunesmith.features import representation
from tunesmith.features.compute_features import SOAP, Morgan, compute, stream
from tunesmith.settings import build

descriptors = pytest.importorskip("dscribe.descriptors")
Chem = pytest.importorskip("rdkit.Chem")

from rdkit.Chem import AllChem, rdFingerprintGenerator  # noqa: E402

FEW = {"n_max": 3, "l_max": 2}


def slab() -> Atoms:
    """Periodic in two directions."""
    atoms = bulk("C", cubic=True).repeat((2, 2, 1))
    atoms.set_cell(atoms.cell.array + np.diag([0, 0, 8.0]))
    atoms.pbc = (True, True, False)
    return atoms


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    found = [molecule("CH3OH"), bulk("C", cubic=True), molecule("HCN"), slab()]
    for atoms in found:
        atoms.rattle(0.05, seed=4)
    return found


def test_soap_is_dscribes_mean_over_atoms(frames: list[Atoms]) -> None:
    found = compute(SOAP(), frames)
    assert found.shape == (4, 3696)
    assert found.dtype == np.float32
    for atoms, row in zip(frames, found, strict=True):
        each = descriptors.SOAP(
            species=["H", "C", "N", "O"],
            r_cut=6.0,
            n_max=8,
            l_max=6,
            average="off",
            periodic=bool(atoms.pbc.any()),
        )
        np.testing.assert_allclose(row, each.create(atoms).mean(0), rtol=1e-5, atol=1e-6)


def test_soap_sees_periodic_images(frames: list[Atoms]) -> None:
    crystal = frames[1]
    alone = crystal.copy()
    alone.pbc = False
    large, periodic, open_ = compute(SOAP(**FEW), [crystal.repeat((2, 1, 1)), crystal, alone])
    np.testing.assert_allclose(large, periodic, rtol=1e-5, atol=1e-5)
    assert np.abs(periodic - open_).max() > 1


def test_soap_symmetry(frames: list[Atoms]) -> None:
    turned = []
    for atoms in frames:
        other = atoms[::-1]
        other.rotate(70, (1, -2, 1), rotate_cell=True)
        other.translate([3.0, 0.2, -1.0])
        turned.append(other)
    expected = compute(SOAP(**FEW), frames)
    np.testing.assert_allclose(compute(SOAP(**FEW), turned), expected, rtol=1e-4, atol=1e-3)


def test_columns_follow_the_elements(frames: list[Atoms]) -> None:
    soap = SOAP(**FEW)
    both = soap.for_elements([8, 1, 6, 7, 6])
    assert both.elements == ("H", "C", "N", "O")
    assert both.for_elements([2]) is both
    whole = compute(soap, frames)
    for atoms, row in zip(frames, whole, strict=True):
        np.testing.assert_array_equal(compute(both, [atoms])[0], row)
    assert compute(soap, frames[1:2]).shape[1] < whole.shape[1]
    with pytest.raises(DataError, match=r"structure 2: has N, but .* set up for H, C and O"):
        compute(SOAP(elements=("H", "C", "O"), **FEW), frames)
    with pytest.raises(ConfigError, match="elements: soap has a column"):
        stream(soap, iter(frames))
    np.testing.assert_array_equal(stream(both, iter(frames)), whole)


def test_soap_settings() -> None:
    assert SOAP(r_cut="0.6 nm").r_cut == "0.6 nm"
    with pytest.raises(ConfigError, match="too short"):
        build(SOAP, {"r_cut": "0.5 Å"})
    with pytest.raises(ConfigError, match="r_cut: '6' needs a number and a unit"):
        build(SOAP, {"r_cut": "6"})
    near, far = (compute(SOAP(r_cut=r, **FEW), [molecule("CH3OH")]) for r in ("2 Å", "4 Å"))
    assert np.abs(near - far).max() > 1e-3


def test_the_cache_knows_descriptors(frames: list[Atoms], tmp_path: Path) -> None:
    first = stream(SOAP(**FEW), frames, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    np.testing.assert_array_equal(stream(SOAP(**FEW), frames, cache=tmp_path), first)
    assert file.stat().st_mtime_ns == stamp
    stream(SOAP(n_max=2, l_max=2), frames, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


# ---------------------------------------------------------------- Morgan fingerprints


def from_smiles(smiles: str) -> tuple[Any, Atoms]:
    """RDKit's molecule with hydrogens, and a geometry of it without bonds."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    numbers = [a.GetAtomicNum() for a in mol.GetAtoms()]
    atoms = Atoms(numbers, positions=mol.GetConformer().GetPositions())
    atoms.info["charge"] = Chem.GetFormalCharge(mol)
    return mol, atoms


MOLECULES = ("CCO", "COC", "O=C(O)c1ccccc1", "CC(=O)N", "C[N+](=O)[O-]", "N#Cc1ccncc1", "C=CC#C")
IONS = ("CC(=O)[O-]", "C[NH3+]")


def test_bits_are_those_of_the_smiles() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048)
    known = [from_smiles(s) for s in (*MOLECULES, *IONS)]
    found = compute(Morgan(), [atoms for _, atoms in known])
    assert found.shape == (9, 2048)
    assert set(np.unique(found)) == {0, 1}
    for (mol, _), row in zip(known, found, strict=True):
        np.testing.assert_array_equal(row, generator.GetFingerprintAsNumPy(mol))
    assert len({row.tobytes() for row in found}) == 9, "two molecules have one fingerprint"


def test_bits_do_not_see_the_geometry() -> None:
    _, atoms = from_smiles("CC(=O)N")
    other = atoms[::-1]
    other.rotate(50, (1, 1, 0))
    other.rattle(0.02, seed=1)
    other.info = atoms.info
    first, second = compute(Morgan(), [atoms, other])
    np.testing.assert_array_equal(first, second)


def test_settings_of_a_fingerprint() -> None:
    mol, atoms = from_smiles("O=C(O)c1ccccc1")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=1, fpSize=512)
    found = compute(Morgan(radius=1, bits=512), [atoms])[0]
    np.testing.assert_array_equal(found, generator.GetFingerprintAsNumPy(mol))


def test_connectivity_has_no_orders() -> None:
    """Where all bonds are single it says the same."""
    single = compute(Morgan(bonds="connectivity"), [molecule("C2H6")])
    np.testing.assert_array_equal(single, compute(Morgan(), [molecule("C2H6")]))
    butadiene = molecule("butadiene")
    orders, plain = (compute(Morgan(bonds=b), [butadiene]) for b in ("orders", "connectivity"))
    assert not np.array_equal(orders, plain)


def unpaired() -> Atoms:
    """Methanol without its hydroxyl's hydrogen: no Lewis structure pairs all electrons."""
    atoms = molecule("CH3OH")
    return atoms[[i for i in range(6) if i != 3]]


def test_what_cannot_be_perceived_is_named() -> None:
    frame = Frame(unpaired(), None, "pool.xyz#17")
    with pytest.raises(DataError, match=r"pool\.xyz#17: no Lewis structure .*connectivity"):
        compute(Morgan(), [molecule("CH4"), frame])
    assert compute(Morgan(bonds="connectivity"), [frame]).any()
    radical = molecule("CH3")
    with pytest.raises(DataError, match="structure 0: no Lewis"):
        compute(Morgan(), [radical])
    radical.info["multiplicity"] = 2
    assert compute(Morgan(), [radical]).any()
    with pytest.raises(DataError, match="structure 1: is periodic"):
        compute(Morgan(), [molecule("CH4"), bulk("C", cubic=True)])


@pytest.mark.parametrize(("kind", "package"), [(SOAP(), "dscribe"), (Morgan(), "rdkit")])
def test_a_package_that_is_not_there(
    kind: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise representation.PackageNotFoundError(name)

    monkeypatch.setattr(representation, "version", absent)
    says = rf"needs {package}, .*pip install 'tunesmith\[select\]'"
    with pytest.raises(MissingDependencyError, match=says):
        compute(kind, [molecule("CH4")])
