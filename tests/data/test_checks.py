import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from tunesmith.core import Frame, Label
from tunesmith.data.checks import (
    OVERLAP,
    check_structures,
    require_labels,
    require_some_labels,
    separate_isolated,
    split,
    symbols,
)
from tunesmith.data.keys import Beside
from tunesmith.errors import DataError


def frame(atoms, energy=-1.0, forces=None, origin="a.xyz#7", config_type="Default", stress=None):
    if forces is None:
        forces = np.arange(3.0 * len(atoms)).reshape(-1, 3) + 1
    return Frame(atoms, Label(energy, forces, stress), origin, config_type=config_type)


def good():
    return frame(molecule("H2O"), origin="a.xyz#0")


def refused(bad, says, elements=None):
    with pytest.raises(DataError, match=f"a.xyz#7.*{says}"):
        require_labels([good(), bad], elements)


def test_good_frames_pass():
    alone = frame(Atoms("O"), forces=np.zeros((1, 3)), config_type="IsolatedAtom")
    require_labels([good(), good(), alone, frame(bulk("Si"))], [1, 8, 14])
    require_labels([alone])


def test_labels():
    water = molecule("H2O")
    refused(Frame(water, None, "a.xyz#7"), "no label")
    refused(frame(water, np.nan), "energy is not finite")
    refused(frame(water, forces=np.full((3, 3), np.inf)), "forces is not finite")
    refused(frame(water, stress=np.full((3, 3), np.nan)), "stress is not finite")
    refused(frame(water, forces=np.ones((2, 3))), "shape")
    refused(frame(water, forces=np.ones((3, 3))), "same force")
    refused(frame(water, forces=np.zeros((3, 3))), "exactly zero")


def test_zero_forces_are_right_where_symmetry_asks_for_them():
    zeros = np.zeros((2, 3))
    require_labels([good(), frame(bulk("Si"), forces=zeros)])
    require_labels([good(), frame(bulk("NaCl", "rocksalt", 5.6), forces=zeros)])
    broken = bulk("Si")
    broken.positions[1] += 0.02
    refused(frame(broken, forces=zeros), "exactly zero")
    far = Atoms("He2", [[0, 0, 0], [0, 0, 30]])
    require_labels([good(), frame(far, forces=zeros)])


def test_set_of_zero_forces():
    silicon = frame(bulk("Si"), forces=np.zeros((2, 3)))
    with pytest.raises(DataError, match="all other frames are zero"):
        require_labels([silicon, silicon])
    strained = frame(bulk("Si"), forces=np.zeros((2, 3)), stress=np.eye(3))
    require_labels([silicon, strained])  # an equation of state says something
    larger = frame(bulk("Si", a=5.6), energy=-9.0, forces=np.zeros((2, 3)))
    require_labels([silicon, larger])  # without stress, too


def test_structures():
    refused(frame(Atoms()), "no atoms")
    refused(frame(Atoms("H", [[0, 0, np.nan]])), "not finite")
    refused(frame(Atoms("H2", [[0, 0, 0], [0, 0, 1]], pbc=True)), "zero length")
    slab = Atoms("H", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True)
    refused(frame(slab), "no volume")
    refused(frame(molecule("NaCl")), "Na and Cl.*knows H and O", [1, 8])
    refused(frame(Atoms("XH", [[0, 0, 0], [0, 0, 2]])), r"\(X\)")
    refused(frame(molecule("H2"), config_type="IsolatedAtom"), "2 atoms")
    with pytest.raises(DataError, match="no structure"):
        check_structures([])
    check_structures([Frame(molecule("H2"), None, "a")])
    check_structures([frame(Atoms("H", cell=[3, 0, 0], pbc=[True, False, False]))])


def test_overlap_names_the_pair():
    atoms = molecule("CH3OH")
    atoms.positions[5] = atoms.positions[1] + [0, 0, 0.1]
    refused(frame(atoms), r"atoms 1 \(O\) and 5 \(H\) are 0.100 Å apart")
    # H–H in H2 at 0.3 × 0.62 = 0.186 Å
    check_structures([frame(Atoms("H2", [[0, 0, 0], [0, 0, 0.19]]))])
    refused(frame(Atoms("H2", [[0, 0, 0], [0, 0, 0.18]])), "apart")
    refused(frame(Atoms("H", cell=[0.1, 5, 5], pbc=True)), "every atom is 0.1 Å from its own image")
    many = bulk("Cu", cubic=True).repeat(7)
    many.positions[5] = many.positions[900] + 0.01
    refused(frame(many), "atoms 5 .* and 900")


def test_cells_whose_images_would_have_no_end():
    """Thin by any vector or by their skew; the nearest image by going through many."""
    rng = np.random.default_rng(4)
    steps = np.stack(np.meshgrid(*[np.arange(-40, 41)] * 2, indexing="ij"), -1).reshape(-1, 2)
    many = np.concatenate([np.insert(steps, i, k, axis=1) for i in range(3) for k in (0, 1)])
    many = many[many.any(axis=1)]
    thin = 0
    for _ in range(40):
        cell = np.diag(rng.uniform(3, 6, 3))
        i, j = rng.permutation(3)[:2]
        cell[i] = rng.integers(1, 12) * cell[j] + rng.uniform(0.05, 0.2) * rng.normal(size=3)
        atoms = Atoms("H", cell=cell, pbc=True)
        nearest = np.linalg.norm(many @ cell, axis=1).min()
        if abs(nearest - 0.186) < 1e-6:
            continue
        if nearest > 0.186:
            check_structures([frame(atoms)])
        else:
            thin += 1
            refused(frame(atoms), f"every atom is {nearest:.2g} Å from its own image")
    assert 3 < thin < 37
    sheet = Atoms("C", cell=[[0.05, 0, 0], [0, 2, 0], [0, 0, 0.01]], pbc=(False, True, False))
    check_structures([frame(sheet)])  # thin only where nothing repeats


def random_cell(seed):
    """Skewed, small, of any periodicity; with caesium every image has to be searched for."""
    rng = np.random.default_rng(seed)
    symbols = "CsHO" if seed % 2 else "C4H6"
    cell = np.eye(3) * rng.uniform(1.5, 5.0) + rng.normal(size=(3, 3)) * 0.6
    positions = rng.normal(size=(len(Atoms(symbols)), 3)) * 5
    return Atoms(symbols, positions, cell=cell, pbc=rng.random(3) < 0.7)


def overlaps(atoms):
    """By ASE's full search over images."""
    return len(neighbor_list("i", atoms, OVERLAP * covalent_radii[atoms.numbers])) > 0


@pytest.mark.parametrize("first", [0, 1])
def test_overlap_agrees_with_a_neighbour_list(first):
    expected, found = [], []
    for seed in range(first, 120, 2):
        atoms = random_cell(seed)
        expected.append(overlaps(atoms))
        try:
            check_structures([frame(atoms)])
            found.append(False)
        except DataError as error:
            found.append("apart" in str(error))
    assert found == expected
    assert 5 < sum(expected) < 55  # both outcomes are seen


def test_overlap_across_the_border_of_a_cell():
    atoms = Atoms("H2", [[0.05, 1, 1], [9.95, 1, 1]], cell=[10, 10, 10], pbc=True)
    refused(frame(atoms), "0.100 Å apart")
    atoms.pbc = [False, True, True]
    check_structures([frame(atoms)])


def test_separate_and_split():
    frames = [frame(molecule("H2O"), origin=str(i)) for i in range(50)]
    frames[7] = frame(Atoms("H"), origin="7", config_type="IsolatedAtom")
    frames[9] = frame(Atoms("O"), origin="9", config_type="isolated_atom")
    rest, isolated = separate_isolated(frames)
    assert [f.origin for f in isolated] == ["7", "9"]
    train, valid = split(frames, 0.25, np.random.default_rng(1))
    assert (len(train), len(valid)) == (36, 12)
    assert sorted(f.origin for f in train + valid) == sorted(f.origin for f in rest)
    assert [int(f.origin) for f in valid] == sorted(int(f.origin) for f in valid)
    again = split(frames, 0.25, np.random.default_rng(1))
    other = split(frames, 0.25, np.random.default_rng(2))
    assert [f.origin for f in again[1]] == [f.origin for f in valid]
    assert [f.origin for f in other[1]] != [f.origin for f in valid]
    assert split(frames, 0.0, np.random.default_rng(1)) == (rest, [])
    assert len(split(frames[:3], 0.01, np.random.default_rng(1))[1]) == 1
    for n, fraction in ((1, 0.1), (3, 0.99), (3, 1.0), (3, -0.1)):
        with pytest.raises(DataError):
            split(frames[:n], fraction, np.random.default_rng(1))


def test_symbols():
    assert symbols([8]) == "O"
    assert symbols({8, 1, 6}) == "H, C and O"


def test_a_part_of_a_label_is_judged_by_itself():
    water = molecule("H2O")
    there = {"energy": -1.0, "forces": np.arange(9.0).reshape(3, 3)}

    def some(has, **changed):
        nothing = {"energy": np.nan, "forces": np.full((3, 3), np.nan)}
        label = Label(**{q: {**there, **changed}[q] if q in has else nothing[q] for q in there})
        known = Beside("energy" in has, "forces" in has, {}, ())
        require_some_labels([Frame(water, label, "a.xyz#7")], {"a.xyz#7": known})

    some({"energy"})
    some({"forces"})
    some({"energy", "forces"})
    for has, bad, says in (
        ({"energy"}, {"energy": np.nan}, "energy is not finite"),
        ({"forces"}, {"forces": np.full((3, 3), np.nan)}, "forces is not finite"),
        ({"forces"}, {"forces": np.ones((3, 3))}, "same force"),
        ({"forces"}, {"forces": np.zeros((3, 3))}, "exactly zero"),
    ):
        with pytest.raises(DataError, match=f"a.xyz#7.*{says}"):
            some(has, **bad)
    nothing = Frame(water, None, "a.xyz#7")
    with pytest.raises(DataError, match=r"no energy and no forces .*--energy-key e_dft"):
        require_some_labels(
            [nothing], {"a.xyz#7": Beside(False, False, {"e_dft": 1.0}, ("forces_dft",))}
        )
