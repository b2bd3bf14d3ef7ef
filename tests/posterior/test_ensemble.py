"""Mean and spread of members by hand; members on disk; what damage is seen."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import fitted
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.core import E0s, Members, NoiseScale
from tunesmith.errors import CheckpointError, DataError, ModelError, RunFolderError
from tunesmith.posterior import members_file, noise_head
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.potentials import zoo


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.base_file(tmp_path_factory.mktemp("base") / "base.model")


@pytest.fixture(scope="module")
def four(base: Path) -> Members:
    return fitted.members(base, 4)


@pytest.fixture
def frames() -> list[Atoms]:
    rng = np.random.default_rng(1)
    found = [molecule("CH3OH"), bulk("C", cubic=True), molecule("CH4")]
    for atoms in found:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return found


@pytest.fixture
def run(four: Members, tmp_path: Path) -> Path:
    members_file.save(four, tmp_path / "run")
    return tmp_path / "run"


def test_mean_and_variance_are_those_of_the_members_alone(
    base: Path, four: Members, frames: list[Atoms], tmp_path: Path
) -> None:
    """Each member exported and asked through mace's own calculator."""
    potential = zoo.load(str(base), dtype="float64")
    energy, forces, stress = [], [], []
    for i in range(4):
        path = tmp_path / f"{i}.model"
        potential.export(path, four.expand(i), four.e0s.values)
        native = potential.native(path)
        for atoms in frames:
            atoms.calc = native
        energy.append([atoms.get_potential_energy() for atoms in frames])
        forces.append(np.concatenate([atoms.get_forces() for atoms in frames]))
        stress.append(frames[1].get_stress(voigt=False))
    ensemble = Ensemble(potential, [four.expand(i) for i in range(4)], four.e0s)
    found = ensemble.predict(frames, stress=True)
    assert found.var_model is not None
    assert found.members is not None
    assert found.n_atoms.tolist() == [6, 8, 5]
    assert np.std(energy, axis=0).min() > 1e-3
    for key, values in (("energy", np.array(energy)), ("forces", np.array(forces))):
        mean = sum(values) / 4
        variance = sum((v - mean) ** 2 for v in values) / 3
        np.testing.assert_allclose(getattr(found.mean, key), mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(getattr(found.var_model, key), variance, rtol=1e-6, atol=1e-12)
        for one, value in zip(found.members, values, strict=True):
            np.testing.assert_allclose(getattr(one, key), value, rtol=1e-9, atol=1e-9)
    assert found.mean.stress is not None
    assert found.var_model.stress is not None
    np.testing.assert_allclose(found.mean.stress[1], np.mean(stress, axis=0), atol=1e-10)
    np.testing.assert_allclose(found.var_model.stress[1], np.cov(
        np.reshape(stress, (4, 9)).T).diagonal().reshape(3, 3), rtol=1e-6, atol=1e-15)  # fmt: skip
    assert np.isnan(found.mean.stress[[0, 2]]).all()
    spread = found.std()
    assert spread is not None
    np.testing.assert_allclose(spread.energy, np.std(energy, axis=0, ddof=1), rtol=1e-6)


def test_energies_spread_alone(base: Path, four: Members, frames: list[Atoms]) -> None:
    """The forces of the mean energy are the mean of the members' forces; the rest is not said."""
    ensemble = Ensemble.of(zoo.load(str(base), dtype="float64"), four)
    whole = ensemble.predict(frames, stress=True)
    found = ensemble.predict(frames, stress=True, spread="energy")
    for key in ("energy", "forces", "stress"):
        expected = getattr(whole.mean, key)
        np.testing.assert_allclose(getattr(found.mean, key), expected, rtol=1e-12, atol=1e-12)
    spread, all_ = found.std(), whole.std()
    assert spread is not None
    assert all_ is not None
    np.testing.assert_allclose(spread.energy, all_.energy, rtol=1e-9)
    assert spread.forces.shape == all_.forces.shape
    assert np.isnan(spread.forces).all()
    assert np.isnan(spread.stress).all()
    assert all(np.isnan(m.forces).all() for m in found.members or ())


def test_noise_is_the_mean_of_what_the_members_say(
    base: Path, four: Members, frames: list[Atoms]
) -> None:
    potential = zoo.load(str(base), dtype="float64")
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    scale = NoiseScale(energy=2e-3, forces=5e-3, stress=3e-4)
    width = potential.features(potential.weights(), batch).shape[1]
    generator = torch.Generator().manual_seed(5)
    heads = []
    for _ in range(4):
        head = noise_head.start(width, generator, torch.float64)
        heads.append(
            {k: v + 0.3 * torch.randn(v.shape, generator=generator) for k, v in head.items()}
        )
    said = []
    for i, head in enumerate(heads):
        x = potential.features(four.expand(i), batch).numpy()
        for layer in range(3):
            x = x @ head[f"{layer}.weight"].numpy().T + head[f"{layer}.bias"].numpy()
            x = x if layer == 2 else x / (1 + np.exp(-x))
        said.append((5e-3 * np.exp(x[:, 0])) ** 2)
    stacked = {k: torch.stack([h[k] for h in heads]) for k in heads[0]}
    ensemble = Ensemble.of(potential, replace(four, noise=stacked, noise_scale=scale))
    found = ensemble.predict(frames, stress=True)
    assert found.var_noise is not None
    assert np.std(said, axis=0).min() > 1e-8
    for k in range(3):
        np.testing.assert_allclose(found.var_noise.forces[:, k], np.mean(said, axis=0), rtol=1e-8)
    np.testing.assert_allclose(found.var_noise.energy, 4e-6)
    assert found.var_noise.stress is not None
    np.testing.assert_allclose(found.var_noise.stress[1], 9e-8)
    assert np.isnan(found.var_noise.stress[[0, 2]]).all()
    # both variances add up, and a single member has its noise alone
    assert found.var_model is not None
    spread = found.std()
    assert spread is not None
    np.testing.assert_allclose(spread.energy**2, found.var_model.energy + 4e-6)
    one = Ensemble(potential, [four.expand(1)], four.e0s, noise_scale=scale, noise=heads[1:2])
    alone = one.predict(frames).std()
    assert alone is not None
    np.testing.assert_allclose(alone.forces[:, 0] ** 2, said[1], rtol=1e-8)
    # no head: the base scale; heads not asked: not said
    plain = Ensemble(potential, one.weights, four.e0s, noise_scale=scale).predict(frames).std()
    assert plain is not None
    np.testing.assert_allclose(plain.forces, 5e-3)
    energy = ensemble.predict(frames, spread="energy").var_noise
    assert energy is not None
    assert np.isnan(energy.forces).all()


def test_one_member_has_no_spread(base: Path, frames: list[Atoms]) -> None:
    found = open_model(base).predict(frames)
    assert (found.var_model, found.var_noise, found.members) == (None, None, None)
    assert found.std() is None
    assert found.mean.stress is None


def test_a_run_folder_is_what_was_saved(run: Path, four: Members, frames: list[Atoms]) -> None:
    potential, loaded = members_file.load(run, dtype="float64")
    assert len(loaded) == 4
    assert (loaded.base, loaded.subspace, loaded.e0s) == (four.base, four.subspace, four.e0s)
    assert loaded.moved.keys() == four.moved.keys()
    assert all(torch.equal(loaded.moved[k], four.moved[k]) for k in four.moved)
    assert torch.equal(loaded.noise["noise.bias"], four.noise["noise.bias"])
    expected = Ensemble(potential, [four.expand(i) for i in range(4)], four.e0s).predict(frames)
    found = open_model(run, dtype="float64").predict(frames)
    assert np.array_equal(found.mean.energy, expected.mean.energy)
    assert np.array_equal(found.mean.forces, expected.mean.forces)
    single = open_model(run, dtype="float32").predict(frames)
    np.testing.assert_allclose(single.mean.energy, expected.mean.energy, rtol=1e-8)
    np.testing.assert_allclose(single.mean.forces, expected.mean.forces, atol=1e-4)


def test_calibration_and_noise_come_back_from_the_folder(four: Members, tmp_path: Path) -> None:
    calibration = {
        "energy": GammaCalibration(3, 10).update(0.1, 0.2).update(0.3, -0.1),
        "forces": GammaCalibration(1.5, 4, memory=20).update(np.full(6, 0.1), np.full(6, 0.05)),
    }
    members = replace(four, noise_scale=NoiseScale(2e-3, 5e-3, 3e-4), calibration=calibration)
    members_file.save(members, tmp_path / "run")
    _, loaded = members_file.load(tmp_path / "run", dtype="float64")
    assert loaded.calibration == calibration
    assert loaded.noise_scale == members.noise_scale


def test_energies_of_atoms_are_added_outside(base: Path) -> None:
    """In float64: at −2042 eV an atom float32 would lose the sixth digit of an eV."""
    potential = zoo.load(str(base))
    far = E0s({z: 1e6 * e for z, e in potential.e0s.items()})
    atoms = molecule("CH4")
    near = Ensemble(potential, [potential.weights()], E0s(potential.e0s)).predict([atoms]).mean
    shifted = Ensemble(potential, [potential.weights()], far).predict([atoms]).mean
    difference = far.total(atoms.numbers) - E0s(potential.e0s).total(atoms.numbers)
    assert shifted.energy[0] - near.energy[0] == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_damaged_file_is_seen(run: Path, where: float) -> None:
    file = run / members_file.FILE
    raw = bytearray(file.read_bytes())
    raw[int(where * len(raw))] ^= 1
    file.write_bytes(raw)
    with pytest.raises(CheckpointError, match="damaged"):
        open_model(run)


def test_a_cut_file_is_seen(run: Path) -> None:
    file = run / members_file.FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        open_model(run)


def test_another_base_is_refused(four: Members, tmp_path: Path) -> None:
    path = tmp_path / "base.model"
    shutil.copy(four.base.source, path)
    mine = replace(four, base=replace(four.base, source=str(path)))
    members_file.save(mine, tmp_path / "run")
    open_model(tmp_path / "run")
    fitted.base_file(path, seed=4)
    with pytest.raises(RunFolderError, match="has changed"):
        open_model(tmp_path / "run")
    path.unlink()
    with pytest.raises((ModelError, RunFolderError), match=r"base\.model"):
        open_model(tmp_path / "run")


def test_folders_and_names_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no finished fit"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match="no such model file"):
        open_model(tmp_path / "nothing")


def test_unknown_elements_are_named(base: Path) -> None:
    with pytest.raises(DataError, match=r"N;.*H, C, O"):
        open_model(base).predict([molecule("NH3")])
