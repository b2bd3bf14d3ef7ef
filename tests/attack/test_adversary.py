"""The exact gradient against finite differences of predictions; neighbour lists with a skin."""

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from tunesmith.attack import adversary as module
from tunesmith.attack.adversary import (
    Adversary,
    PerStructure,
    attackers,
    expected_error,
    member_forces,
)
from tunesmith.attack.differences import Differences
from tunesmith.attack.objective import Target
from tunesmith.attack.search import Attack
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import BY_MEMBERS, E0s, NoiseScale, Quantities
from tunesmith.errors import ModelError
from tunesmith.posterior import noise_head
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Graph


@pytest.fixture(scope="module")
def committee() -> Ensemble:
    """organic-xs and two random changes of all its weights, float64."""
    potential = zoo.load("organic-xs", dtype="float64")
    generator = torch.Generator().manual_seed(1)
    own, members = potential.weights(), []
    for _ in range(3):
        changed = dict(own)
        for name in potential.names.trainable():
            draw = torch.randn(own[name].shape, generator=generator, dtype=torch.float64)
            changed[name] = own[name] + 0.03 * own[name].square().mean().sqrt() * draw
        members.append(changed)
    return Ensemble(potential, members, E0s(potential.e0s))


def water(seed: int, cell: Any = None, count: int = 1) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = Atoms()
    for i in range(count):
        one = molecule("H2O")
        one.rotate(40 + 110 * i, (1, 2, 3))
        one.positions += (0, 0, 2.4 * i)
        atoms += one
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    if cell is not None:
        atoms.set_cell(cell)
        atoms.pbc = True
    return atoms


#: smaller than the cutoff: every atom sees its own images
TRICLINIC = [[3.2, 0, 0], [0.6, 3.0, 0], [-0.4, 0.5, 3.4]]
FRAMES = {
    "molecule": lambda: water(0),
    "orthorhombic": lambda: water(1, [3.9, 4.2, 5.1], 2),
    "triclinic": lambda: water(2, TRICLINIC),
}
LAW = GammaCalibration().update(0.1, 0.25)
OBJECTIVES: dict[str, Attack] = {
    "plain": Attack(target="0.4 eV/Å"),
    "biased": Attack.model_validate({"target": "0.4 eV/Å", "force_bias": 0.01, "bias": [
        {"quantity": "energy", "value": "-700 eV", "width": "300 eV"},
    ]}),
    "pressed": Attack.model_validate({"target": "0.4 eV/Å", "bias": [
        {"quantity": "pressure", "value": "1 GPa", "width": "30 GPa"},
    ]}),
}  # fmt: skip


def said_by(committee: Ensemble, stress: bool) -> Any:
    """What members predict, structure by structure: `Models`."""

    def models(frames: list[Atoms]) -> list[Quantities]:
        found, start = [], 0
        members = committee.predict(frames, stress=stress).members
        assert members is not None
        for k, atoms in enumerate(frames):
            part = slice(start, start + len(atoms))
            found.append(
                Quantities(
                    np.array([m.energy[k] for m in members]),
                    np.array([m.forces[part] for m in members]),
                    np.array([m.stress[k] for m in members]) if stress else None,
                )
            )
            start += len(atoms)
        return found

    return models


def close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    assert scale > 1e-3, "nothing is checked"
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_that_of_finite_differences(committee: Ensemble, name: str) -> None:
    """Positions and all nine strains; the structures in one batch."""
    settings = OBJECTIVES[name]
    objective = settings.objective(LAW)
    kinds = [k for k in FRAMES if k != "molecule" or not objective.needs_stress]
    frames = {i: FRAMES[k]() for i, k in enumerate(kinds)}
    found = Adversary(committee, objective).evaluate(frames)
    models = said_by(committee, objective.needs_stress)
    differences = Differences(models, objective, step=3e-5, central=True)
    expected = differences.evaluate(frames)
    for i, atoms in frames.items():
        assert found[i].value == pytest.approx(expected[i].value, rel=1e-9)
        np.testing.assert_allclose(found[i].std, expected[i].std, rtol=1e-8)
        close(found[i].positions, expected[i].positions)
        if atoms.pbc.all():
            close(found[i].strain, expected[i].strain)


def test_large_batches_are_taken_in_parts(
    committee: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {4: water(0), 2: water(1, [3.9, 4.2, 5.1], 2), 7: water(3)}
    whole = Adversary(committee, Target(0.3, LAW)).evaluate(frames)
    monkeypatch.setattr(module, "AT_ONCE", 9 * 3)
    sizes = []
    batch = committee.potential.batch
    monkeypatch.setattr(
        committee.potential, "batch", lambda graphs: sizes.append(len(graphs)) or batch(graphs)
    )
    parts = Adversary(committee, Target(0.3, LAW)).evaluate(frames)
    assert sizes == [2, 1]
    assert list(parts) == list(whole) == [4, 2, 7]
    for number, point in parts.items():
        assert point.value == pytest.approx(whole[number].value, rel=1e-10)
        np.testing.assert_allclose(point.positions, whole[number].positions, atol=1e-10)


def test_predicted_noise_counts_for_nothing(committee: Ensemble) -> None:
    """σ̂ of eq. 2 is what members differ by: heads that say how noisy forces are, and move with the
    atoms, change neither the objective nor where it leads."""
    generator = torch.Generator().manual_seed(3)
    atoms, scale = water(2, TRICLINIC), NoiseScale(1e-3, 0.2, 1e-3)
    potential = committee.potential
    features = potential.features(committee.weights[0], potential.batch([potential.graph(atoms)]))
    heads = []
    for _ in committee.weights:
        head = noise_head.start(features.shape[1], generator, torch.float64)
        drawn = {k: torch.randn(v.shape, generator=generator).double() for k, v in head.items()}
        heads.append({k: v + 0.2 * drawn[k] for k, v in head.items()})
    noisy = Ensemble(potential, committee.weights, committee.e0s, noise_scale=scale, noise=heads)
    prediction = noisy.predict([atoms])
    assert prediction.var_noise is not None
    assert prediction.members is not None
    assert prediction.var_noise.forces.std() > 1e-4
    forces = np.array([m.forces for m in prediction.members])
    std = np.sqrt((LAW.std(forces.std(axis=0, ddof=1)) ** 2).sum(1))
    found = Adversary(noisy, Target(0.3, LAW)).evaluate({0: atoms})[0]
    assert found.value == pytest.approx(((std - 0.3) ** 2).sum(), rel=1e-9)
    plain = Adversary(committee, Target(0.3, LAW)).evaluate({0: atoms})[0]
    np.testing.assert_allclose(found.positions, plain.positions, rtol=1e-9, atol=1e-12)
    [said] = member_forces(noisy, [atoms])
    assert expected_error(said, LAW) == pytest.approx(np.sqrt(np.mean(std**2)), rel=1e-9)


def test_the_law_that_attacks_follow_is_of_what_members_differ_by(committee: Ensemble) -> None:
    laws = {"forces": LAW, BY_MEMBERS: GammaCalibration(3, 10)}
    parts = committee.potential, committee.weights, committee.e0s
    assert Ensemble(*parts, calibration=laws).law_by_members is LAW
    noisy = Ensemble(*parts, noise_scale=NoiseScale(1e-3, 0.2, 1e-3), calibration=laws)
    assert noisy.law_by_members is laws[BY_MEMBERS]
    noisy.calibration.pop(BY_MEMBERS)  # what is left is of the whole spread, which is another
    with pytest.raises(ModelError, match="an older version of tunesmith"):
        _ = noisy.law_by_members
    noisy.calibration.clear()
    assert noisy.law_by_members is None


def test_all_members_attack_what_has_to_become_surer(committee: Ensemble) -> None:
    """Each structure as by the members that are to attack it alone, in whatever batch, however few
    of them are kept."""
    frames, drawn = [water(3), water(4), water(5)], [(0, 2), (0, 1), (1, 2)]
    forces = member_forces(committee, frames)
    most = [max(expected_error(f, LAW), expected_error(f[list(d)], LAW)) for f, d in
            zip(forces, drawn, strict=True)]  # fmt: skip
    target = float(np.sort(most)[1])
    chosen = attackers(forces, LAW, target, drawn)
    sure = int(np.argmax(most))
    assert chosen == [(0, 1, 2) if i == sure else drawn[i] for i in range(3)]
    found = PerStructure(committee, Target(target, LAW), chosen, at_once=1)
    assert found.members == [len(members) for members in chosen]
    for points in (found.evaluate(dict(enumerate(frames))), found.evaluate({2: frames[2]})):
        for i, point in points.items():
            few = committee.few(chosen[i])
            [alone] = Adversary(few, Target(target, LAW)).evaluate({0: frames[i]}).values()
            assert point.value == pytest.approx(alone.value, rel=1e-9)
            np.testing.assert_allclose(point.positions, alone.positions, rtol=1e-7, atol=1e-10)
    assert len(found._known) == 1


def test_the_few_that_are_drawn_may_have_to_become_surer_where_all_need_not() -> None:
    forces = np.zeros((4, 2, 3))
    forces[0] = 1.0  # alone in what it says: with one other it differs more than among all
    few, every = expected_error(forces[[0, 1]], None), expected_error(forces, None)
    assert every < few
    between = (every + few) / 2
    assert attackers([forces], None, between, [(0, 1)]) == [(0, 1, 2, 3)]
    assert attackers([forces], None, between, [(1, 2)]) == [(1, 2)]


def walk(n: int) -> list[Atoms]:
    """A molecule that comes within the cutoff of another and leaves it, in a cell that strains."""
    frames = []
    for k in range(n):
        atoms = water(1, [5.2, 5.6, 6.0], 2)
        atoms.positions[3:] += (0.2 * k, 0.05 * k, 0)
        deformation = np.eye(3) + 0.004 * k * np.array([[1, 0.5, 0], [0.5, -1, 0], [0, 0, 0.5]])
        atoms.positions = atoms.positions @ deformation
        atoms.set_cell(atoms.cell.array @ deformation)
        frames.append(atoms)
    return frames


def test_lists_are_kept_and_made_anew_without_a_trace(committee: Ensemble) -> None:
    objective, frames = Target(0.3, LAW), walk(12)
    moving = Adversary(committee, objective, skin=0.7)
    for atoms in frames:
        found = moving.evaluate({7: atoms})[7]
        fresh = Adversary(committee, objective, skin=0.0).evaluate({7: atoms})[7]
        assert found.value == pytest.approx(fresh.value, rel=1e-11)
        np.testing.assert_allclose(found.positions, fresh.positions, atol=1e-10)
        np.testing.assert_allclose(found.strain, fresh.strain, atol=1e-10)
    assert 2 <= moving.rebuilt <= 8


def test_the_objective_is_continuous_where_a_list_is_made_anew(committee: Ensemble) -> None:
    """On either side of a rebuild, and where an edge comes within the cutoff."""
    objective, cutoff = Target(0.3, LAW), committee.potential.cutoff
    adversary = Adversary(committee, objective, skin=0.7)

    def pair(distance: float) -> Atoms:
        far = molecule("H2O")
        far.positions += (0, 0, distance)  # of the oxygens
        return molecule("H2O") + far

    def both(distance: float) -> tuple[float, float]:
        point = adversary.evaluate({0: pair(distance)})[0]
        return point.value, float(point.positions[3:, 2].sum())

    both(cutoff + 0.1)
    start = adversary.rebuilt
    kept = [both(cutoff - 0.19 - step) for step in (0.0, 1e-7)]
    assert adversary.rebuilt == start
    for centre in (cutoff, cutoff + 0.1 - 0.35):  # of an edge; about of a rebuild
        steps = np.array([-2e-3, -1e-6, 0.0, 1e-6, 2e-3])
        values, slopes = np.array([both(centre + s) for s in steps]).T
        assert np.ptp(values[1:4]) < 1e-6 * abs(values[2]) + 3e-6 * np.abs(slopes).max()
        assert np.ptp(slopes[1:4]) < 0.01 * np.ptp(slopes) + 1e-10
    assert adversary.rebuilt > start
    assert kept[0] != kept[1]


def test_a_backend_without_skin_makes_a_list_every_time(committee: Ensemble) -> None:
    class Bare:
        def __getattr__(self, name: str) -> Any:
            return getattr(committee.potential, name)

        def graph(self, atoms: Atoms, skin: float = 0.0) -> Graph:
            return committee.potential.graph(atoms)

    bare = Ensemble(Bare(), committee.weights, committee.e0s)  # type: ignore[arg-type]
    adversary = Adversary(bare, Target(0.3))
    frames = walk(3)
    for atoms in frames:
        found = adversary.evaluate({0: atoms})[0]
    assert adversary.rebuilt == 3
    expected = Adversary(committee, Target(0.3)).evaluate({0: frames[-1]})[0]
    assert found.value == pytest.approx(expected.value, rel=1e-11)


def test_a_committee_of_one_attacks_nothing(committee: Ensemble) -> None:
    with pytest.raises(ModelError, match="committee of one never disagrees"):
        Adversary(committee.few([1]), Target(0.3))


def test_some_of_the_members(committee: Ensemble) -> None:
    atoms = water(0)
    whole = committee.predict([atoms]).members
    few = committee.few([0, 2]).predict([atoms]).members
    assert whole is not None
    assert few is not None
    for one, i in zip(few, (0, 2), strict=True):
        np.testing.assert_allclose(one.forces, whole[i].forces, atol=1e-12)
