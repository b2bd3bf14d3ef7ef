"""Each rule: silent on healthy sets, and by its own name on a set with that one defect."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase import units as u
from scipy.spatial.transform import Rotation

import wards
from tunesmith.core import Frame, Label
from tunesmith.data.formats import Beside
from tunesmith.doctor.codes import CODES
from tunesmith.doctor.examine import examine
from tunesmith.doctor.findings import Diagnosis, finding, refusal
from tunesmith.doctor.forces import judge_forces
from tunesmith.doctor.view import look
from tunesmith.doctor.work import Work

HEALTHY = {"ethanol": wards.ethanol, "molecules": wards.molecules, "dry ice": wards.dry_ice}
KCAL = u.mol / u.kcal

Change = Callable[[Frame], Frame]


def codes(frames: list[Frame], **more: object) -> set[str]:
    """Of errors and warnings."""
    found = examine(frames, wards.foundation(), **more).findings  # type: ignore[arg-type]
    return {f.code for f in found if f.severity != "note"}


def changed(frames: list[Frame], change: Change, every: int = 1) -> list[Frame]:
    """Every so many of the frames that are no single atoms, changed."""
    return [change(f) if len(f.atoms) > 1 and i % every == 0 else f for i, f in enumerate(frames)]


def energy(factor: float) -> Change:
    return lambda f: wards.relabelled(f, energy=f.label.energy * factor)  # type: ignore[union-attr]


def forces(factor: float) -> Change:
    return lambda f: wards.relabelled(f, forces=f.label.forces * factor)  # type: ignore[union-attr]


def moved(change: Callable[[Atoms], None]) -> Change:
    def go(frame: Frame) -> Frame:
        atoms = frame.atoms.copy()
        change(atoms)
        return replace(frame, atoms=atoms)

    return go


def in_bohr(atoms: Atoms) -> None:
    atoms.set_cell(atoms.cell.array / u.Bohr)
    atoms.positions /= u.Bohr


def first_atoms_held(frame: Frame) -> Frame:
    assert frame.label is not None
    held = frame.label.forces.copy()
    held[:2] = 0
    return wards.relabelled(frame, forces=held)


def turned(frame: Frame) -> Frame:
    assert frame.label is not None
    turn = Rotation.random(random_state=int(1e6 * abs(frame.atoms.positions[0, 0])) % 1000)
    return wards.relabelled(frame, forces=turn.apply(frame.label.forces))


def reordered(frame: Frame) -> Frame:
    assert frame.label is not None
    return wards.relabelled(frame, forces=np.roll(frame.label.forces, 2, axis=0))


def exchanged(frames: list[Frame], what: str) -> list[Frame]:
    """Every frame with the next one's; frames of one composition follow each other."""
    rest = [f for f in frames if len(f.atoms) > 1]
    out = [f for f in frames if len(f.atoms) == 1]
    by_kind: dict[bytes, list[Frame]] = {}
    for f in rest:
        by_kind.setdefault(f.atoms.numbers.tobytes(), []).append(f)
    for group in by_kind.values():
        order = np.random.default_rng(0).permutation(len(group))
        for k, f in enumerate(group):
            other = group[int(order[(int(np.argsort(order)[k]) + 1) % len(group)])].label
            out.append(wards.relabelled(f, **{what: getattr(other, what)}))
    return out


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_sets_are_left_in_peace(name: str) -> None:
    assert codes(HEALTHY[name]()) == set()


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_few_healthy_frames_are_left_in_peace(n: int) -> None:
    assert codes([f for f in wards.ethanol() if len(f.atoms) > 1][:n]) == set()


def test_what_cannot_be_judged_is_said() -> None:
    two = [f for f in wards.ethanol() if len(f.atoms) > 1][:2]
    facts = examine(two, wards.foundation()).facts
    assert str(facts["energies"]).startswith("not judged")


# ------------------------------------------------------------------------ units, signs, order


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize(
    ("factor", "said"),
    [(1 / u.Ha, "Ha"), (KCAL, "kcal/mol"), (1000.0, "meV"), (u.mol / u.kJ, "kJ")],
)
def test_units_of_energies(name: str, factor: float, said: str) -> None:
    found = examine(changed(HEALTHY[name](), energy(factor)), wards.foundation())
    [finding] = [f for f in found.findings if f.code == "unit-energy"]
    assert said in finding.message
    assert not any(f.code == "unit-forces" for f in found.findings)


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize(
    ("factor", "said"),
    [(u.Bohr / u.Ha, "Ha/Bohr"), (KCAL, "kcal/mol/Å"), (u.Bohr, "eV/Bohr"), (1000.0, "meV/Å")],
)
def test_units_of_forces(name: str, factor: float, said: str) -> None:
    found = examine(changed(HEALTHY[name](), forces(factor)), wards.foundation())
    [finding] = [f for f in found.findings if f.code == "unit-forces"]
    assert said in finding.message
    assert not any(f.code == "unit-energy" for f in found.findings)


@pytest.mark.parametrize("name", HEALTHY)
def test_the_zero_of_energy_is_no_defect(name: str) -> None:
    shifted = changed(
        HEALTHY[name](),
        lambda f: wards.relabelled(f, energy=f.label.energy + 321.0 * len(f.atoms)),  # type: ignore[union-attr]
    )
    assert codes([f for f in shifted if len(f.atoms) > 1]) == set()


DEFECTS: list[tuple[str, Callable[[list[Frame]], list[Frame]]]] = [
    ("forces-sign", lambda s: changed(s, forces(-1.0))),
    ("forces-sign", lambda s: changed(s, forces(-1.0), every=4)),
    ("unit-forces", lambda s: changed(s, forces(KCAL), every=4)),
    ("unit-energy", lambda s: changed(s, energy(1 / u.Ha), every=3)),
    ("unit-positions", lambda s: changed(s, moved(in_bohr))),
    ("forces-constrained", lambda s: changed(s, first_atoms_held)),
    ("forces-shuffled", lambda s: changed(s, reordered)),
    ("forces-shuffled", lambda s: exchanged(s, "forces")),
    ("energies-shuffled", lambda s: exchanged(s, "energy")),
    ("forces-zero", lambda s: changed(s, forces(0.0), every=5)),
    (
        "energy-per-atom",
        lambda s: changed(s, lambda f: energy(1 / len(f.atoms))(f)),
    ),
    (
        "energy-constant",
        lambda s: changed(s, lambda f: wards.relabelled(f, energy=-100.0)),
    ),
    (
        "mixed-levels",
        lambda s: changed(s, lambda f: wards.relabelled(f, energy=_plus(f, 0.8)), every=3),
    ),
    (
        "net-force",
        lambda s: changed(s, lambda f: wards.relabelled(f, forces=f.label.forces + 0.2)),  # type: ignore[union-attr]
    ),
    (
        "not-finite",
        lambda s: changed(s, lambda f: wards.relabelled(f, energy=np.nan), every=7),
    ),
    ("label-missing", lambda s: changed(s, lambda f: replace(f, label=None), every=7)),
    ("duplicates", lambda s: [*s, *(replace(f, origin=f"{f.origin}'") for f in s[:4])]),
    (
        "labels-disagree",
        lambda s: [*s, *changed(s[:4], lambda f: wards.relabelled(f, energy=_plus(f, 0.1)))],
    ),
]


def _plus(frame: Frame, shift: float) -> float:
    assert frame.label is not None
    return frame.label.energy + shift * len(frame.atoms)


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize(
    ("code", "spoil"), DEFECTS, ids=[f"{c}-{i}" for i, (c, _) in enumerate(DEFECTS)]
)
def test_defects_are_named(
    name: str, code: str, spoil: Callable[[list[Frame]], list[Frame]]
) -> None:
    assert code in codes(spoil(HEALTHY[name]()))


def test_forces_of_a_turned_structure() -> None:
    assert "forces-rotated" in codes(changed(wards.ethanol(), turned))


def test_unknown_elements_and_overlaps() -> None:
    def silicon(atoms: Atoms) -> None:
        atoms.numbers[0] = 14

    def on_top(atoms: Atoms) -> None:
        atoms.positions[1] = atoms.positions[0] + [0.05, 0, 0]

    assert "unknown-element" in codes(changed(wards.ethanol(), moved(silicon), every=9))
    assert "overlap" in codes(changed(wards.ethanol(), moved(on_top), every=9))


def test_single_wrong_frames_are_warnings_not_refusals() -> None:
    frames = wards.ethanol()
    frames[5] = wards.relabelled(frames[5], energy=_plus(frames[5], 0.3))
    kick = np.zeros((9, 3))
    kick[3] = [9, -6, 4]
    assert frames[7].label is not None
    frames[7] = wards.relabelled(frames[7], forces=frames[7].label.forces + kick)
    found = examine(frames, wards.foundation())
    assert found.errors == ()
    named = {f.code: f.frames for f in found.findings}
    assert named["outlier-energy"] == (frames[5].origin,)
    assert frames[7].origin in named["net-force"]


# ------------------------------------------------------------------------------ stress, cell


def voigt_as_vasp(stress: np.ndarray) -> np.ndarray:
    """xx yy zz xy yz zx read as xx yy zz yz xz xy."""
    wrong = stress.copy()
    wrong[1, 2] = wrong[2, 1] = stress[0, 1]
    wrong[0, 2] = wrong[2, 0] = stress[1, 2]
    wrong[0, 1] = wrong[1, 0] = stress[0, 2]
    return wrong


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("stress-sign", lambda s: -s),
        ("unit-stress", lambda s: s / u.GPa),
        ("unit-stress", lambda s: s * 10 / u.GPa),
        ("unit-stress", lambda s: s * 178.0),  # the virial: times the volume
        ("stress-voigt", voigt_as_vasp),
    ],
)
def test_stress(code: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    def spoil(frame: Frame) -> Frame:
        assert frame.label is not None
        assert frame.label.stress is not None
        return wards.relabelled(frame, stress=change(frame.label.stress))

    found = codes(changed(wards.dry_ice(), spoil))
    assert {c for c in found if "stress" in c} == {code}
    assert not any("energ" in c or "forces" in c for c in found)


def test_a_cell_in_bohr_and_a_lost_periodicity() -> None:
    def longer(atoms: Atoms) -> None:
        atoms.set_cell(atoms.cell.array / u.Bohr)

    def open_(atoms: Atoms) -> None:
        atoms.pbc = False

    assert "unit-cell" in codes(changed(wards.dry_ice(), moved(longer)))
    assert "pbc-lost" in codes(changed(wards.dry_ice(), moved(open_)))


# --------------------------------------------------------------------------- zeros of energy


def test_isolated_atoms_in_another_unit() -> None:
    frames = [energy(1 / u.Ha)(f) if len(f.atoms) == 1 else f for f in wards.ethanol()]
    assert "e0-inconsistent" in codes(frames)


def test_one_isolated_atom_far_off_where_compositions_tell() -> None:
    """Nitrogen eight eV off: its own compositions stand apart from the others."""
    atoms = [
        Frame(
            Atoms([z]),
            Label(e - 8.0 * (z == 7), np.zeros((1, 3))),
            f"atom#{z}",
            1.0,
            "IsolatedAtom",
        )
        for z, e in wards.ATOMS.items()
    ]
    [finding] = [
        f
        for f in examine([*wards.molecules(), *atoms], wards.foundation()).findings
        if f.code == "e0-inconsistent"
    ]
    assert "N" in finding.message
    right = [wards.relabelled(f, energy=wards.ATOMS[int(f.atoms.numbers[0])]) for f in atoms]
    assert codes([*wards.molecules(), *right]) == set()


def test_energies_of_atomisation_in_part_of_the_frames() -> None:
    def bound(f: Frame) -> Frame:
        zero = sum(wards.ATOMS[int(z)] for z in f.atoms.numbers)
        return wards.relabelled(f, energy=f.label.energy - zero)  # type: ignore[union-attr]

    assert "e0-mixed" in codes(changed(wards.molecules(), bound, every=3))
    whole = changed(
        wards.molecules(), lambda f: bound(f) if len(f.atoms) == 4 else f
    )  # each composition agrees with itself
    assert "e0-mixed" in codes(whole)
    assert codes(changed(wards.molecules(), bound)) == set()


# ------------------------------------------------------------------------- sets and the rest


def test_energies_of_some_frames_that_are_those_of_other_compositions() -> None:
    """Few enough of each composition that its middle is still right."""
    frames = wards.molecules()
    kinds: dict[str, list[int]] = {}
    for i, f in enumerate(frames):
        kinds.setdefault(f.atoms.get_chemical_formula(), []).append(i)
    assert len(kinds) > 3
    taken = [i for rows in kinds.values() for i in rows[:2]]
    for i, j in zip(taken, np.roll(taken, 2).tolist(), strict=True):
        other = wards.molecules()[j].label
        assert other is not None
        frames[i] = wards.relabelled(frames[i], energy=other.energy)
    found = codes(frames)
    assert "energies-shuffled" in found
    assert "mixed-levels" not in found


@pytest.mark.parametrize(("factor", "said"), [(0.0735, True), (0.17, False)])
def test_few_differences_claim_a_unit_only_where_it_is_near(factor: float, said: bool) -> None:
    """0.17 was that of five frames of right DFT of ethanol."""
    frames = [f for f in wards.ethanol() if len(f.atoms) > 1][:5]
    middle = np.mean([f.label.energy for f in frames if f.label is not None])

    def nearer(frame: Frame) -> Frame:
        assert frame.label is not None
        return wards.relabelled(frame, energy=middle + factor * (frame.label.energy - middle))

    found = codes([nearer(f) for f in frames])
    assert bool(found & {"unit-energy", "energy-per-atom"}) == said


@pytest.mark.parametrize("seed", range(6))
def test_energies_in_any_order_are_shuffled(seed: int) -> None:
    """By chance the slope may be near the forces' ratio: no sign of one system of units."""
    frames, rng = wards.molecules(), np.random.default_rng(seed)
    kinds: dict[bytes, list[int]] = {}
    for i, f in enumerate(frames):
        kinds.setdefault(f.atoms.numbers.tobytes(), []).append(i)
    right = [f.label.energy for f in frames if f.label is not None]
    for rows in kinds.values():
        for i, j in zip(rows, rng.permutation(rows).tolist(), strict=True):
            frames[i] = wards.relabelled(frames[i], energy=right[j])
    assert "energies-shuffled" in codes(frames)


def test_energies_half_of_which_are_in_hartree_are_not_exchanged() -> None:
    """Of two compositions, whose energies in the two units are four levels."""
    kinds = sorted({f.atoms.get_chemical_formula() for f in wards.molecules()})[:2]
    frames = [f for f in wards.molecules() if f.atoms.get_chemical_formula() in kinds]
    found = codes(changed(frames, energy(1 / u.Ha), every=2))
    assert found & {"unit-energy", "mixed-levels"}
    assert "energies-shuffled" not in found


def test_forces_that_may_be_in_ev_bohr_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The foundation a quarter too soft, so that 0.53 looks like 0.66, and energies so far apart
    that they give no more than a hint (acac at 300 K)."""
    monkeypatch.setattr("tunesmith.doctor.forces._fits_better", lambda *_: False)
    own = look(wards.foundation(), [f for f in wards.ethanol() if len(f.atoms) > 1], 0)
    frames = [
        wards.relabelled(f, energy=float(e), forces=0.66 * x)
        for f, e, x in zip(own.frames, own.predicted, own.forces, strict=True)
    ]
    for ratio, said in ((1.43, ["unit-forces"]), (1.0, [])):
        view = replace(own, frames=frames)
        found = judge_forces(view, Work(0.47, ratio, 0.3)).findings
        assert [f.code for f in found] == said
        assert all(f.severity == "warning" for f in found)


def test_copies_moved_turned_and_in_another_order() -> None:
    def copy(frame: Frame) -> Frame:
        assert frame.label is not None
        order = np.random.default_rng(3).permutation(len(frame.atoms))
        turn = Rotation.random(random_state=4)
        atoms = frame.atoms[order]
        atoms.positions = turn.apply(atoms.positions) + 2.0
        label = replace(frame.label, forces=turn.apply(frame.label.forces[order]))
        return replace(frame, atoms=atoms, label=label, origin=f"{frame.origin}'")

    frames = wards.ethanol()
    found = examine([*frames, *(copy(f) for f in frames[10:13])], wards.foundation())
    [finding] = [f for f in found.findings if f.code == "duplicates"]
    assert set(finding.frames) == {f"{f.origin}{x}" for f in frames[10:13] for x in ("", "'")}
    assert found.errors == ()


def test_overlap_of_train_and_test() -> None:
    train, test = wards.ethanol(), wards.ethanol("test")
    assert codes(train, test=test) == set()
    found = examine(train, wards.foundation(), test=[*test, train[4]])
    [finding] = found.errors
    assert finding.code == "test-overlap"
    assert finding.frames == (train[4].origin,)
    assert codes(train, valid=[*test, train[4]]) == {"valid-overlap"}


def test_what_the_file_lacks_is_named() -> None:
    frames = changed(wards.ethanol(), lambda f: replace(f, label=None), every=5)
    lacking = [f.origin for f in frames if f.label is None]
    beside = {o: Beside(False, True, {"dft_energy": -1.0}, ()) for o in lacking}
    found = examine(frames, wards.foundation(), beside=beside)
    [finding] = found.errors
    assert finding.code == "energy-missing"
    assert "dft_energy" in finding.message
    assert finding.frames == tuple(lacking)


def test_the_free_energy_is_what_forces_belong_to() -> None:
    rng = np.random.default_rng(0)

    def smeared(f: Frame) -> Frame:
        assert f.label is not None
        free = f.label.energy - rng.uniform(0.02, 0.05)
        return wards.relabelled(f, energy_zero=free)

    assert "free-energy" in codes(changed(wards.ethanol(), smeared))

    def right(f: Frame) -> Frame:
        assert f.label is not None
        return wards.relabelled(f, energy_zero=f.label.energy + rng.uniform(0.02, 0.05))

    assert codes(changed(wards.ethanol(), right)) == set()


def test_energies_in_another_unit_are_not_those_of_smearing() -> None:
    """Where a second energy, in eV, is left beside."""

    def half(f: Frame) -> Frame:
        assert f.label is not None
        return wards.relabelled(f, energy=f.label.energy / u.Ha, energy_zero=f.label.energy)

    found = codes(changed(wards.ethanol(), half))
    assert "unit-energy" in found
    assert "free-energy" not in found


def test_a_second_finding_of_one_kind_is_not_found_besides() -> None:
    twice = Diagnosis((finding("forces-sign", "a", ["x"]), finding("forces-sign", "b", ["y"])))
    assert "also found" not in refusal(twice)
    other = Diagnosis((*twice.findings, finding("unit-energy", "c", ["z"])))
    assert refusal(other).partition("also found: ")[2].startswith("unit-energy;")


def test_charges_and_unmarked_atoms() -> None:
    def charged(atoms: Atoms) -> None:
        atoms.info["charge"] = 1

    assert "charge-mixed" in codes(changed(wards.ethanol(), moved(charged), every=6))
    unmarked = [replace(f, config_type="Default") for f in wards.ethanol()]
    assert codes(unmarked) == {"isolated-unmarked"}


def test_findings_can_be_accepted_by_code() -> None:
    found = examine(changed(wards.ethanol(), forces(-1.0)), wards.foundation())
    assert found.errors
    assert found.without(["forces-sign"]).errors == ()
    assert found.without(["duplicates"]).errors == found.errors


def test_every_code_has_a_cure_and_a_severity() -> None:
    for code, (severity, meaning, cure) in CODES.items():
        assert severity in ("error", "warning", "note"), code
        assert meaning
        assert cure
