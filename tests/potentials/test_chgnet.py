"""CHGNet by our own path against the package itself, its files, and what is refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.units import GPa

pytest.importorskip("chgnet")

from chgnet.model.dynamics import CHGNetCalculator
from chgnet.model.model import CHGNet
from pymatgen.io.ase import AseAtomsAdaptor

from tunesmith.errors import DataError, MissingDependencyError, ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.chgnet import chgnet_files, chgnet_graph, chgnet_zoo
from tunesmith.potentials.chgnet.chgnet_calculator import boxed
from tunesmith.potentials.potential import Potential
from tunesmith.testing.compute import array, features, predict, random_direction

SEED = 11


def _crystals() -> list[Atoms]:
    """With angles, across cell boundaries, with atoms that are their own neighbours."""
    rng = np.random.default_rng(SEED)
    salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    salt.rattle(0.1, rng=rng)
    silicon = bulk("Si", "diamond", 5.43).repeat((2, 1, 1))
    silicon.rattle(0.1, rng=rng)
    silicon.set_cell(
        silicon.cell.array @ (np.eye(3) + rng.normal(scale=0.04, size=(3, 3))), scale_atoms=True
    )
    titanate = Atoms(
        "BaTiO3",
        cell=4.0 * np.eye(3),
        pbc=True,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    titanate.positions[1] += titanate.cell[0] - 2 * titanate.cell[2]  # outside of its cell
    return [salt, silicon, titanate, bulk("Cu", "fcc", 3.6), bulk("Fe", "bcc", 2.87)]


def _molecules() -> list[Atoms]:
    """Many angles; two bonds; one bond and no angle; a lone atom; a slab, periodic in two ways."""
    rng = np.random.default_rng(SEED)
    frames = [molecule(name) for name in ("CH3CH2OH", "H2O", "H2")] + [Atoms("O")]
    frames.append(fcc111("Al", (2, 2, 2), vacuum=None))
    for atoms in frames[:-2] + frames[-1:]:
        atoms.rattle(0.05, rng=rng)
    return frames


@pytest.fixture(scope="module", params=chgnet_zoo.VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def package(version: str) -> Any:
    """The package's own model."""
    model = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    model.graph_converter.set_isolated_atom_response("ignore")
    return model


@pytest.fixture(scope="module")
def ours() -> Potential:
    return zoo.load("chgnet:0.3.0")


# ------------------------------------------------------------------- against the package


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_the_packages(version: str, package: Any, dtype: str) -> None:
    """To float32 rounding, in one batch of ours against one structure after the other."""
    potential = zoo.load(f"chgnet:{version}", dtype=dtype)
    frames = [*_crystals(), *_molecules()]
    found = predict(potential, frames, stress=True)
    assert found.stress is not None
    start = 0
    for i, atoms in enumerate(frames):
        inside = AseAtomsAdaptor.get_structure(boxed(atoms, 13.0))
        right = package.predict_structure(inside, task="efs")
        total = found.energy[i] + sum(potential.e0s[z] for z in atoms.numbers)
        assert total / len(atoms) == pytest.approx(float(right["e"]), abs=1e-5)
        own = slice(start, start + len(atoms))
        np.testing.assert_allclose(found.forces[own], right["f"], atol=2e-4)
        if atoms.pbc.all():
            np.testing.assert_allclose(found.stress[i], right["s"] * GPa, atol=1e-5)
        else:
            assert np.isnan(found.stress[i]).all()
        start += len(atoms)


def test_graphs_are_the_packages(version: str, package: Any) -> None:
    """The same edges, bonds and angles, by their counts and by what they join."""
    potential = zoo.load(f"chgnet:{version}")
    for atoms in [*_crystals(), *_molecules()]:
        inside = boxed(atoms, 13.0)
        right = package.graph_converter(AseAtomsAdaptor.get_structure(inside))
        graph = potential.graph(atoms)
        assert isinstance(graph, chgnet_graph.BondGraph)
        assert graph.edges.shape[1] == len(right.atom_graph)
        assert len(graph.edge_of) == len(right.undirected2directed)
        assert graph.angles.shape[1] == len(right.bond_graph)
        if not len(right.bond_graph):
            continue

        def cosines(centres: Any, vectors: Any, one: Any, other: Any) -> np.ndarray:
            units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
            pairs = np.stack([centres, np.sum(units[one] * units[other], axis=1)])
            return np.array(sorted(pairs.T.round(4).tolist()))

        ends = graph.positions.numpy()[graph.edges.numpy()]
        vectors = ends[1] - ends[0] + graph.unit_shifts.numpy() @ graph.cell.numpy()
        one, other = graph.angles.numpy()
        found = cosines(graph.edges[1].numpy()[one], vectors, one, other)
        pair, image = right.atom_graph.numpy(), right.neighbor_image.numpy()
        places = right.atom_frac_coord.detach().numpy() @ inside.cell.array
        theirs = places[pair[:, 0]] - places[pair[:, 1]] - image @ inside.cell.array
        centre, _, first, _, second = right.bond_graph.numpy().T
        np.testing.assert_allclose(found, cosines(centre, theirs, first, second), atol=3e-4)


def test_features_are_what_the_package_has_of_atoms(version: str, package: Any) -> None:
    """After every atom convolution of its own pass; and what it gives out of them itself, before
    the last convolution and, normalised and summed, after it."""
    potential, taken = zoo.load(f"chgnet:{version}"), []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: taken.append(array(out)))
        for layer in package.atom_conv_layers
    ]
    for atoms in [*_crystals(), *_molecules()]:
        taken.clear()
        inside = AseAtomsAdaptor.get_structure(boxed(atoms, 13.0))
        right = package.predict_structure(
            inside, task="e", return_atom_feas=True, return_crystal_feas=True
        )
        found = features(potential, [atoms])
        assert found.shape == (len(atoms), 4 * 64)
        np.testing.assert_allclose(found, np.hstack(taken), atol=2e-4)
        *_, before, last = np.split(found, 4, axis=1)
        np.testing.assert_allclose(before, right["atom_fea"], atol=2e-4)
        if package.readout_norm is not None:
            last = array(package.readout_norm(torch.from_numpy(last).float()))
        np.testing.assert_allclose(last.sum(0), right["crystal_fea"], atol=1e-3)
    for hook in hooks:
        hook.remove()


def test_derivatives_in_float32_are_those_in_float64(ours: Potential) -> None:
    """Of energy and forces, in all weights: what finite differences cannot resolve in float32."""
    frames = [molecule("CH3CH2OH"), *_crystals()[:3]]

    def gradients(dtype: str) -> dict[str, np.ndarray]:
        potential = zoo.load("chgnet:0.3.0", dtype=dtype)
        weights = {k: w.requires_grad_() for k, w in potential.weights().items()}
        batch = potential.batch([potential.graph(a) for a in frames])
        out = potential.evaluate(weights, batch, stress=True, create_graph=True)
        assert out.forces is not None
        assert out.stress is not None
        loss = out.energy.square().sum() + out.forces.square().sum()
        loss = loss + out.stress[1:].square().sum()
        found = torch.autograd.grad(loss, list(weights.values()))
        return {k: array(g) for k, g in zip(weights, found, strict=True)}

    single, double = gradients("float32"), gradients("float64")
    for name, right in double.items():
        error = np.linalg.norm(single[name] - right) / np.linalg.norm(right)
        assert error < 1e-3, f"{name}: {error:.1e}"


# ---------------------------------------------------------------------------- its files


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_exported_file_is_one_of_chgnet(
    tmp_path: Path, version: str, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """chgnet's own loader gives our numbers, with other E0s; untouched it gives its own, magnetic
    moments too. Nothing of it is heard from."""
    potential = zoo.load(f"chgnet:{version}", dtype=dtype)
    bent = random_direction(potential, SEED)
    weights = {k: w + 0.02 * bent[k] if k in bent else w for k, w in potential.weights().items()}
    e0s = {z: 0.5 * e - 3.0 for z, e in potential.e0s.items()}
    potential.export(tmp_path / "new" / "bent.pth", weights, e0s)
    potential.export(tmp_path / "same.pth", potential.weights(), potential.e0s)
    assert os.listdir(tmp_path / "new") == ["bent.pth"]
    native = potential.native(tmp_path / "new" / "bent.pth")
    assert capsys.readouterr().out == ""
    plain = CHGNetCalculator.from_file(str(tmp_path / "new" / "bent.pth"), use_device="cpu")
    same = CHGNetCalculator.from_file(str(tmp_path / "same.pth"), use_device="cpu")
    first = CHGNetCalculator(CHGNet.load(model_name=version, use_device="cpu"), use_device="cpu")
    for atoms in _crystals()[:3]:
        found = predict(potential, [atoms], weights=weights, stress=True)
        assert found.stress is not None
        total = found.energy[0] + sum(e0s[z] for z in atoms.numbers)
        for calculator in (plain, native):
            atoms.calc = calculator
            assert atoms.get_potential_energy() == pytest.approx(total, abs=1e-5 * len(atoms))
            np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=5e-4)
            np.testing.assert_allclose(atoms.get_stress(voigt=False), found.stress[0], atol=1e-5)
        copies = [atoms.copy(), atoms.copy()]
        copies[0].calc, copies[1].calc = same, first
        energies = [a.get_potential_energy() for a in copies]
        assert energies[0] == pytest.approx(energies[1], abs=1e-6 * len(atoms))
        np.testing.assert_allclose(*(a.get_magnetic_moments() for a in copies), atol=1e-6)


def test_the_native_calculator_takes_what_has_no_cell(tmp_path: Path, ours: Potential) -> None:
    ours.export(tmp_path / "a.pth", ours.weights(), ours.e0s)
    native = ours.native(tmp_path / "a.pth")
    for atoms in _molecules():
        atoms.calc = native
        found = predict(ours, [atoms])
        total = found.energy[0] + sum(ours.e0s[z] for z in atoms.numbers)
        assert atoms.get_potential_energy() == pytest.approx(total, abs=1e-5 * len(atoms))
        np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=2e-4)
        assert "stress" not in native.results


def test_a_float64_file_keeps_every_digit_for_us(tmp_path: Path) -> None:
    """chgnet rounds it; tunesmith need not."""
    potential = zoo.load("chgnet:0.3.0", dtype="float64")
    weights = {k: w * (1 + 1e-12) for k, w in potential.weights().items()}
    e0s = {z: e + 1e-9 for z, e in potential.e0s.items()}
    potential.export(tmp_path / "a.pth", weights, e0s)
    again = zoo.load(str(tmp_path / "a.pth"), dtype="float64")
    assert again.e0s == e0s
    assert all(torch.equal(w, weights[k]) for k, w in again.weights().items())


def test_only_what_the_energy_needs_is_a_weight(ours: Potential) -> None:
    """Every weight moves the energy; magnetic moments and the last angle update have none."""
    weights = {k: w.requires_grad_() for k, w in ours.weights().items()}
    batch = ours.batch([ours.graph(molecule("CH3CH2OH"))])
    energy = ours.evaluate(weights, batch, forces=False, create_graph=True).energy
    gradients = torch.autograd.grad(energy.sum(), list(weights.values()))
    assert all(bool(g.any()) for g in gradients)
    assert not any(k.startswith(("site_wise", "angle_layers.2", "composition")) for k in weights)


# ------------------------------------------------------------------------------ refused


def test_a_changed_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = chgnet_zoo._folder()
    shutil.copytree(folder / "pretrained", tmp_path / "pretrained")
    monkeypatch.setattr(chgnet_zoo, "_folder", lambda: tmp_path)
    assert zoo.load("chgnet:0.2.0").base.source == "chgnet:0.2.0"
    for version, model in chgnet_zoo.VERSIONS.items():
        path = tmp_path / "pretrained" / model.file
        path.write_bytes(path.read_bytes() + b"\0")
        with pytest.raises(ModelError, match="reinstall chgnet"):
            zoo.load(f"chgnet:{version}")
        path.unlink()
        with pytest.raises(ModelError, match="reinstall chgnet"):
            zoo.load(f"chgnet:{version}")


@pytest.mark.parametrize("forced", [False, True])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: bool, ours: Potential
) -> None:
    """Also where the process has switched safe loading off, as mace does."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "trap.pth"
    torch.save({"model": {"state_dict": {}, "model_args": {"trap": Trap()}}}, path)
    with pytest.raises(ModelError, match="tensors and plain values"):
        zoo.load(str(path))
    with pytest.raises(ModelError, match="tensors and plain values"):
        ours.native(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"mlp_first": False}, "mlp_first=True"),
        ({"composition_model": "MPF"}, "reference energies"),
        ({"atom_fea_dim": 8}, "size mismatch"),
        ({"num_angular": 4}, "odd integer"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, args: dict[str, Any], says: str) -> None:
    small = {"n_conv": 2, "num_radial": 5, "num_angular": 5}
    held = chgnet_files.build(small).as_dict()
    held["model_args"] |= args
    torch.save({"model": held}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=says):
        zoo.load(str(tmp_path / "a.pth"))


def test_a_network_without_reference_energies(tmp_path: Path) -> None:
    """Has E0s of zero, and a file with others is one that chgnet loads."""
    for intensive in (True, False):
        args = {"n_conv": 2, "composition_model": None, "is_intensive": intensive}
        torch.save({"model": chgnet_files.build(args).as_dict()}, tmp_path / "a.pth")
        potential = zoo.load(str(tmp_path / "a.pth"))
        assert set(potential.e0s.values()) == {0.0}
        assert len(potential.elements) == 89
        e0s = {z: -1.0 * z for z in potential.elements}
        potential.export(tmp_path / "b.pth", potential.weights(), e0s)
        native = CHGNetCalculator.from_file(str(tmp_path / "b.pth"), use_device="cpu")
        atoms = _crystals()[0]
        atoms.calc = native
        total = predict(potential, [atoms]).energy[0] + sum(e0s[z] for z in atoms.numbers)
        assert atoms.get_potential_energy() == pytest.approx(total, abs=1e-4 * len(atoms))


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """chgnet alone is what the package loads; others are told what there is."""
    assert zoo.load("chgnet").base.source == "chgnet:0.3.0"
    with pytest.raises(ModelError, match=r"mean 'chgnet:0\.3\.0'"):
        zoo.load("chgnet:0.3")
    with pytest.raises(ModelError, match=r"leave model\.head out"):
        zoo.load("chgnet:0.3.0", head="PBE")
    monkeypatch.setattr(chgnet_zoo, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"tunesmith\[chgnet\]"):
        zoo.load("chgnet:0.3.0")


def test_elements_without_data_are_refused(ours: Potential) -> None:
    assert len(ours.elements) == 89
    assert 70 in ours.elements
    second = zoo.load("chgnet:r2scan")
    assert set(ours.elements) - set(second.elements) == {70}  # MP-r2SCAN has no Yb
    for potential, symbol in ((ours, "Po"), (second, "Yb")):
        with pytest.raises(DataError, match=symbol):
            potential.graph(Atoms(symbol))


def test_one_head_only(tmp_path: Path, ours: Potential) -> None:
    with pytest.raises(ModelError, match="several heads"):
        ours.check_heads()
    weights = ours.weights()
    with pytest.raises(ModelError, match="several heads"):
        ours.export(tmp_path / "a.pth", weights, ours.e0s, {"pt_head": (weights, ours.e0s)})
    assert not any(tmp_path.iterdir())
