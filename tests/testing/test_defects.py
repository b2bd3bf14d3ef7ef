"""Defects: each changes a set in the way it says, and nothing else."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from tunesmith.core import Frame, Label
from tunesmith.data import extxyz
from tunesmith.data.checks import require_labels, separate_isolated
from tunesmith.data.formats import read_frames
from tunesmith.doctor.codes import CODES
from tunesmith.errors import DataError
from tunesmith.testing.defects import CHANGES, DEFECTS, Broken
from tunesmith.testing.defects.defect import content, rotation

ATOMS = {1: -13.6, 6: -1028.5, 7: -1482.4, 8: -2039.8}


REACH = 3.2  # Å; below half of every cell


def pairwise(atoms: Atoms) -> Label:
    """A pair potential √(ZᵢZⱼ) (1 − d/R)², with its forces and stress in closed form."""
    apart = atoms.get_all_distances(mic=bool(atoms.pbc.any()), vector=True)
    d = np.linalg.norm(apart, axis=-1) + REACH * np.eye(len(atoms))
    near, scale = np.maximum(0, 1 - d / REACH), np.sqrt(np.outer(atoms.numbers, atoms.numbers))
    pull = (2 * scale * near / REACH / d)[..., None] * apart  # minus the force of j on i
    energy = (scale * near**2).sum() / 2 + sum(ATOMS[int(z)] for z in atoms.numbers)
    stress = None
    if atoms.pbc.all():
        stress = -np.einsum("ijx,ijy->xy", pull, apart) / 2 / atoms.get_volume()
    return Label(float(energy), -pull.sum(1), stress)


def made(names: list[str], n: int, atoms: bool, seed: int) -> list[Frame]:
    rng = np.random.default_rng(seed)
    frames = []
    for name in names:
        start = bulk("C", "diamond", 3.6, cubic=True).repeat(2) if name == "C" else molecule(name)
        for _ in range(n):
            one = start.copy()
            if one.pbc.any():
                strain = np.eye(3) + rng.normal(scale=0.02, size=(3, 3))
                one.set_cell(one.cell @ ((strain + strain.T) / 2), scale_atoms=True)
            one.positions += rng.normal(scale=0.08, size=(len(one), 3))
            frames.append(Frame(one, pairwise(one), f"clean.xyz#{len(frames)}"))
    kinds = sorted({int(z) for f in frames for z in f.atoms.numbers}) if atoms else []
    for z in kinds:
        label = Label(ATOMS[z], np.zeros((1, 3)))
        origin = f"clean.xyz#{len(frames)}"
        frames.append(Frame(Atoms([z]), label, origin, config_type="IsolatedAtom"))
    return frames


SETS = {
    "molecule": made(["CH3CH2OH"], 24, False, 0),
    "several": made(["CH3OH", "CH4", "HCOOH"], 10, True, 1),
    "crystal": made(["C"], 12, True, 2),
}


def applied(name: str, seed: int = 3) -> dict[str, Broken]:
    found = {}
    for on, frames in SETS.items():
        one = DEFECTS[name](frames, np.random.default_rng(seed))
        if one is not None:
            found[on] = one
    return found


def held(one: Broken) -> list[Atoms]:
    return content(one.frames) if one.images is None else one.images


def same(a: Atoms, b: Atoms) -> bool:
    """Whether two images of a file are the same to the last bit."""
    if len(a) != len(b) or a.info.keys() != b.info.keys() or a.arrays.keys() != b.arrays.keys():
        return False
    pairs = [(a.arrays[k], b.arrays[k]) for k in a.arrays] + [
        (a.info[k], b.info[k]) for k in a.info
    ]
    pairs += [(a.cell.array, b.cell.array), (a.pbc, b.pbc)]
    return len(a.constraints) == len(b.constraints) and all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs
    )


def identical(a: list[Atoms], b: list[Atoms]) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


def test_enough_defects_each_of_its_own_function() -> None:
    assert len(DEFECTS) >= 28
    assert all(list(inspect.signature(d).parameters) == ["frames", "rng"] for d in DEFECTS.values())


@pytest.mark.parametrize("name", DEFECTS)
def test_changes_the_set_and_leaves_the_original_alone(name: str) -> None:
    before = {on: content(frames) for on, frames in SETS.items()}
    found = applied(name)
    assert found, "applies to none of the sets"
    for on, frames in SETS.items():
        assert identical(before[on], content(frames)), "the clean set was touched"
    for on, one in found.items():
        assert not identical(held(one), before[on]), "nothing is broken"
        assert one.codes
        assert one.codes <= CODES.keys(), "names no finding of the doctor"
        severities = {CODES[code].severity for code in one.codes}
        assert "error" in severities if one.spoils else severities & {"error", "warning"}
        assert one.text


@pytest.mark.parametrize("name", DEFECTS)
def test_is_a_function_of_its_generator(name: str) -> None:
    first, again = applied(name), applied(name)
    assert first.keys() == again.keys()
    for on in first:
        assert first[on].text == again[on].text
        assert identical(held(first[on]), held(again[on]))


@pytest.mark.parametrize("name", CHANGES)
def test_harmless_changes_keep_sets_that_can_be_learned_from(name: str) -> None:
    before = {on: content(frames) for on, frames in SETS.items()}
    done = 0
    for frames in SETS.values():
        after = CHANGES[name](frames, np.random.default_rng(0))
        if after is not None:
            require_labels(separate_isolated(after)[0])
            done += 1
    assert done
    assert all(identical(before[on], content(frames)) for on, frames in SETS.items())


def test_the_sets_are_clean_by_another_route() -> None:
    """Forces and stress are the gradient of the energy: else "broken" would mean nothing."""
    for frames in SETS.values():
        frame = frames[0]
        assert frame.label is not None
        rng, step = np.random.default_rng(1), 1e-4
        direction = rng.normal(size=frame.atoms.positions.shape)
        energies = []
        for sign in (1, -1):
            moved = frame.atoms.copy()
            moved.positions += sign * step * direction
            energies.append(pairwise(moved).energy)
        slope = (energies[0] - energies[1]) / (2 * step)
        assert slope == pytest.approx(-np.sum(frame.label.forces * direction), rel=1e-5)
        if frame.label.stress is not None:
            energies = []
            for sign in (1, -1):
                moved = frame.atoms.copy()
                strain = np.eye(3)
                strain[0, 1] = strain[1, 0] = sign * step
                moved.set_cell(moved.cell @ strain, scale_atoms=True)
                energies.append(pairwise(moved).energy)
            slope = (energies[0] - energies[1]) / (2 * step) / frame.atoms.get_volume()
            assert slope == pytest.approx(2 * frame.label.stress[0, 1], rel=1e-4)


# ----------------------------------------------------------------- what single defects do


def broken(name: str, on: str, seed: int = 3) -> list[Frame]:
    one = DEFECTS[name](SETS[on], np.random.default_rng(seed))
    assert one is not None
    return one.frames


def label(frame: Frame) -> Label:
    assert frame.label is not None
    return frame.label


@pytest.mark.parametrize(
    ("name", "energy", "forces"),
    [
        ("energy in Hartree", 0.0367493, 1.0),
        ("energy in kcal/mol", 23.0605, 1.0),
        ("energy in kJ/mol", 96.4853, 1.0),
        ("energy in Rydberg", 0.0734986, 1.0),
        ("forces in Hartree/Bohr", 1.0, 0.0194469),
        ("forces in Rydberg/Bohr", 1.0, 0.0388938),
        ("forces in kJ/mol/nm", 1.0, 964.853),
        ("forces in kcal/mol/Bohr", 1.0, 12.2031),
        ("forces in eV/Bohr", 1.0, 0.529177),
        ("both in Hartree, Hartree/Bohr", 0.0367493, 0.0194469),
        ("gradients", 1.0, -1.0),
    ],
)
def test_units_are_those_of_the_tables(name: str, energy: float, forces: float) -> None:
    """Factors from CODATA, not from ase.units, which the defects use."""
    for before, after in zip(SETS["molecule"], broken(name, "molecule"), strict=True):
        assert label(after).energy == pytest.approx(energy * label(before).energy, rel=1e-5)
        np.testing.assert_allclose(label(after).forces, forces * label(before).forces, rtol=1e-5)


def test_stress_as_vasp_writes_it() -> None:
    """In VASP's order, read by our own reader as six numbers of ASE's."""
    for before, after in zip(
        SETS["crystal"], broken("stress in VASP's order", "crystal"), strict=True
    ):
        s = label(before).stress
        if s is None:
            continue
        six = [s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[2, 0]]
        image = before.atoms.copy()
        image.info |= {"REF_energy": 0.0, "REF_stress": np.array(six)}
        image.arrays["REF_forces"] = label(before).forces
        np.testing.assert_allclose(label(after).stress, reread([image])[0].label.stress)


def reread(images: list[Atoms], folder: Path | None = None) -> list[Frame]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as temporary:
        path = (folder or Path(temporary)) / "set.xyz"
        extxyz.write(path, images)
        return read_frames(path)[0]


def test_virials_are_minus_stress_times_volume() -> None:
    for before, after in zip(
        SETS["crystal"], broken("virials for stresses", "crystal"), strict=True
    ):
        if label(before).stress is not None:
            volume = np.linalg.det(before.atoms.cell.array)
            np.testing.assert_allclose(label(after).stress, -volume * label(before).stress)


def test_moved_duplicates_are_the_same_structures() -> None:
    """Same distances in another order, and the labels a pair potential gives there."""
    for on, sorted_distances in (("molecule", True), ("crystal", False)):
        before = separate_isolated(SETS[on])[0]
        after = separate_isolated(broken("duplicates, moved", on))[0]
        for copy in after[len(before) :]:
            again = pairwise(copy.atoms)
            np.testing.assert_allclose(label(copy).energy, again.energy, rtol=0, atol=1e-8)
            np.testing.assert_allclose(label(copy).forces, again.forces, atol=1e-9)
            assert not any(
                len(copy.atoms) == len(f.atoms)
                and np.allclose(copy.atoms.positions, f.atoms.positions)
                for f in before
            )
            if sorted_distances:
                d = np.sort(copy.atoms.get_all_distances().ravel())
                own = [np.sort(f.atoms.get_all_distances().ravel()) for f in before]
                assert any(np.allclose(d, o) for o in own)


def test_forces_of_moved_frames_are_permuted_with_their_atoms() -> None:
    after = broken("atoms reordered", "several")
    for f, g in zip(SETS["several"], after, strict=True):
        rows = {tuple(r) for r in label(f).forces.round(9)}
        assert {tuple(r) for r in label(g).forces.round(9)} == rows
        np.testing.assert_array_equal(f.atoms.positions, g.atoms.positions)


def test_test_frames_overlap_with_training_frames_only_where_said() -> None:
    one = DEFECTS["test overlaps"](SETS["several"], np.random.default_rng(0))
    assert one is not None
    train = {f.origin for f in one.frames}
    both = [f for f in one.test if f.origin in train]
    assert 0 < len(both) < len(one.test)
    assert len({f.origin for f in one.test} | train) == len(SETS["several"])


def test_missing_labels_are_missing_in_the_file() -> None:
    for name in ("energies missing", "forces missing", "energies misnamed"):
        one = DEFECTS[name](SETS["several"], np.random.default_rng(1))
        assert one is not None
        assert one.images is not None
        frames = reread(one.images)
        missing = sum(f.label is None for f in frames if len(f.atoms) > 1)
        learn = separate_isolated(frames)[0]
        assert missing == len(learn) if name == "energies misnamed" else 0 < missing < len(learn)


def test_stress_defects_leave_molecules_alone() -> None:
    for name in ("stress of the other sign", "stress in GPa", "cell in Bohr", "pbc lost"):
        assert DEFECTS[name](SETS["molecule"], np.random.default_rng(0)) is None


def test_energies_that_nobody_could_judge_are_left_alone() -> None:
    """One frame of each composition has no differences to compare."""
    frames = SETS["several"][:30:10]
    for name in ("energy in Hartree", "energies shuffled", "two levels", "energy per atom"):
        assert DEFECTS[name](frames, np.random.default_rng(0)) is None


def test_shuffled_energies_are_the_same_numbers() -> None:
    after = broken("energies shuffled", "molecule")
    before = [label(f).energy for f in SETS["molecule"]]
    moved = [label(f).energy for f in after]
    assert sorted(before) == sorted(moved)
    assert np.mean(np.array(before) == np.array(moved)) <= 0.25


def test_isolated_atoms_in_hartree_leave_frames_in_ev() -> None:
    after = broken("isolated atoms in Hartree", "several")
    for f, g in zip(SETS["several"], after, strict=True):
        factor = 1 / units.Ha if len(f.atoms) == 1 else 1.0
        assert label(g).energy == pytest.approx(factor * label(f).energy)


def test_collisions_and_lost_cells_are_refused_by_the_checks_too() -> None:
    with pytest.raises(DataError, match="apart"):
        require_labels(broken("atoms collided", "molecule"))
    one = DEFECTS["cell lost"](SETS["crystal"], np.random.default_rng(0))
    assert one is not None
    assert one.images is not None
    with pytest.raises(DataError, match="cell"):
        require_labels(reread(one.images))


def test_rotations_are_proper_and_uniform() -> None:
    """Of uniform rotations the mean is zero, and the trace's mean square one (a character)."""
    rng = np.random.default_rng(0)
    turns = np.array([rotation(rng) for _ in range(4000)])
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.eye(3) * np.ones((4000, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    assert np.abs(turns.mean(0)).max() < 5 / np.sqrt(3 * 4000)
    trace = np.trace(turns, axis1=1, axis2=2)
    assert abs(np.mean(trace**2) - 1) < 0.1


def test_unmarked_atoms_are_frames_like_others() -> None:
    after = broken("isolated atoms unmarked", "several")
    assert not separate_isolated(after)[1]
    marked = [replace(f, config_type="IsolatedAtom") if len(f.atoms) == 1 else f for f in after]
    assert identical(content(marked), content(SETS["several"]))
