"""SevenNet against sevenn itself: numbers, files, heads, and what is refused."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sevenn", reason="needs sevenn, which is not in this environment")

from ase import Atoms
from ase.build import bulk, molecule

import sevennets
from tunesmith.errors import ModelError, TrustError
from tunesmith.potentials import trust as trust_module
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential
from tunesmith.potentials.sevennet import sevennet_files, sevennet_zoo
from tunesmith.potentials.trust import trust
from tunesmith.testing.compute import features, predict
from tunesmith.tune.lora import LoRA

MODELS = {
    "7net-0": ("7net-0", None),
    "7net-0_22May2024": ("7net-0_22May2024", None),
    "7net-l3i5": ("7net-l3i5", None),
    "7net-mf-0:PBE": ("7net-mf-0", "PBE"),
    "7net-mf-0:R2SCAN": ("7net-mf-0", "R2SCAN"),
}


def shaken() -> list[Atoms]:
    frames = [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", 5.6).repeat((2, 1, 1)), bulk("Si")]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, rng=np.random.default_rng(i))
    return frames


def totals(potential: Potential, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Energy with E0s, forces and, of a crystal, stress."""
    out = predict(potential, [atoms], stress=bool(atoms.pbc.all()))
    energy = float(out.energy[0]) + sum(potential.e0s[int(z)] for z in atoms.numbers)
    return energy, out.forces, None if out.stress is None else out.stress[0]


def calculator(model: str, modal: str | None = None) -> Any:
    """sevenn's own, of a name or a file."""
    with sevennet_files.quiet():
        kind = sevennet_files.module("sevenn.calculator").SevenNetCalculator
        return kind(model, device="cpu", modal=modal)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_those_of_the_package(name: str) -> None:
    own, modal = MODELS[name]
    theirs = calculator(own, modal)
    potential = zoo.load(name)
    assert (potential.base.source, potential.base.head) == (name, None)
    for atoms in shaken():
        energy, forces, stress = totals(potential, atoms)
        atoms.calc = theirs
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=3e-6 * len(atoms))
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=3e-5)
        if stress is not None:
            np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-6)


def handed_on(theirs: Any, atoms: Atoms) -> list[np.ndarray]:
    """What every interaction hands on in sevenn's own pass, the last to the readout (A, c)."""
    taken: list[np.ndarray] = []
    takers = [
        layer
        for name, layer in theirs.model.named_children()
        if name.endswith("_self_connection_intro") or name == "reduce_input_to_hidden"
    ]
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args: taken.append(args[0]["x"].numpy(force=True))
        )
        for layer in takers
    ]
    theirs.calculate(atoms.copy())
    for hook in hooks:
        hook.remove()
    # the first interaction takes the embedding, which knows of no neighbours
    return taken[1:]


def check_features(
    potential: Potential, theirs: Any, frames: list[Atoms], widths: list[int], *, mirrors: bool
) -> None:
    """Against the columns that stay when a molecule is turned and, of O(3) models, mirrored."""
    first = frames[0]
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn) * (-1 if mirrors else 1)
    pairs = zip(
        handed_on(theirs, first),
        handed_on(theirs, Atoms(first.numbers, first.positions @ turn.T)),
        strict=True,
    )
    stay = [np.abs(a - b).max(0) <= 1e-2 * np.abs(a).max(0) for a, b in pairs]
    assert [int(columns.sum()) for columns in stay] == widths
    for atoms in frames:
        found = np.split(features(potential, [atoms]), np.cumsum(widths)[:-1], axis=1)
        for own, right, columns in zip(found, handed_on(theirs, atoms), stay, strict=True):
            right = right[:, columns]
            np.testing.assert_allclose(own, right, rtol=0, atol=1e-5 * np.abs(right).max())


@pytest.mark.parametrize("name", MODELS)
def test_features_are_the_scalars_of_every_interaction(name: str) -> None:
    theirs = calculator(*MODELS[name])
    check_features(zoo.load(name), theirs, shaken(), 5 * [128], mirrors=False)


@pytest.mark.parametrize(
    ("changes", "widths"),
    [
        ({"num_convolution_layer": 1}, [8]),
        # the third has eight scalars that turn their sign in a mirror, before the others
        ({"num_convolution_layer": 4}, [8, 8, 8, 8]),
        # or made even by their activation
        (
            {
                "num_convolution_layer": 4,
                "act_scalar": {"e": "silu", "o": "abs"},
                "act_gate": {"e": "silu", "o": "abs"},
            },
            [8, 8, 16, 8],
        ),
    ],
)
def test_features_have_no_sign_that_a_mirror_turns(
    tmp_path: Path, changes: dict[str, Any], widths: list[int]
) -> None:
    made = sevennets.checkpoint(**changes)
    path = tmp_path / "parity.pth"
    sevennet_files.write(made, path, made.state, None)
    frames = [shaken()[0], bulk("CO", "zincblende", 3.4).repeat((2, 1, 1))]
    frames[1].rattle(0.05, rng=np.random.default_rng(3))
    potential = sevennets.potential(made)
    check_features(potential, calculator(str(path)), frames, widths, mirrors=True)


def test_a_head_is_named_by_the_name_or_beside_it() -> None:
    one, other = zoo.load("7net-mf-0:PBE"), zoo.load("7net-mf-0", head="PBE")
    assert one.e0s == other.e0s
    assert one.e0s != zoo.load("7net-mf-0:R2SCAN").e0s
    with pytest.raises(ModelError, match=r"set model\.head to one of R2SCAN, PBE"):
        zoo.load("7net-mf-0")
    with pytest.raises(ModelError, match="did you mean '7net-mf-0:PBE'"):
        zoo.load("7net-mf-0:PBE0")
    with pytest.raises(ModelError, match="name one head"):
        zoo.load("7net-mf-0:PBE", head="R2SCAN")
    with pytest.raises(ModelError, match="one head; leave head out"):
        zoo.load("7net-0", head="PBE")
    with pytest.raises(ModelError, match="did you mean '7net-0'"):
        zoo.load("7net-1")


def test_a_tuned_model_of_two_heads_knows_its_own(tmp_path: Path) -> None:
    """The file stays one of two modalities, for sevenn; for tunesmith it is the tuned one."""
    potential = sevennets.potential(sevennets.two_heads(), "two")
    path = tmp_path / "final.model"
    e0s = {z: e + 1.0 for z, e in potential.e0s.items()}
    potential.export(path, potential.weights(), e0s)
    again = zoo.load(str(path), dtype="float64")
    assert again.e0s == pytest.approx(e0s)
    assert again.base.head == "two"
    assert zoo.load(str(path), head="one").e0s == pytest.approx(
        dict(zip((1, 6, 8), sevennets.E0S, strict=True))
    )
    assert again.native(path).modal == "two"


def test_one_shift_for_all_elements_becomes_one_for_each(tmp_path: Path) -> None:
    made = sevennets.checkpoint(shift=-2.5, scale=1.5)
    assert made.state["rescale_atomic_energy.shift"].numel() == 1
    path = tmp_path / "theirs.pth"
    sevennet_files.write(made, path, made.state, None)
    potential = zoo.load(str(path), dtype="float64")
    assert potential.e0s == dict.fromkeys((1, 6, 8), -2.5)
    atoms = molecule("CH3OH")
    atoms.calc = calculator(str(path))
    assert totals(potential, atoms)[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    potential.export(tmp_path / "ours.pth", potential.weights(), {1: -1.0, 6: -2.0, 8: -3.0})
    assert zoo.load(str(tmp_path / "ours.pth")).e0s == {1: -1.0, 6: -2.0, 8: -3.0}


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    potential = sevennets.potential(sevennets.checkpoint())
    for name in ("a", "b"):
        potential.export(tmp_path / name, potential.weights(), potential.e0s)
    # of what is in the archive: torch names it by the file
    contents = []
    for name in ("a", "b"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            contents.append({n.partition("/")[2]: archive.read(n) for n in archive.namelist()})
    assert contents[0] == contents[1]


def test_adapters_keep_the_symmetry() -> None:
    """LoRA by irrep block: what is added to an equivariant layer is equivariant."""
    potential = sevennets.potential(sevennets.checkpoint(lmax=2))
    assert {b.irrep for layer in potential.linears for b in layer.blocks} >= {"0e", "1o", "2e"}
    generator = torch.Generator().manual_seed(0)
    space = LoRA(rank=2, init_std=0.3)
    start = space.start(potential, generator)
    moved = {k: 0.3 * torch.randn(v.shape, generator=generator).to(v) for k, v in start.items()}
    weights = space.expand(potential.weights(), moved)
    atoms = molecule("CH3CH2OH")
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T)
    a, b = (predict(potential, [x], weights=weights) for x in (atoms, turned))
    np.testing.assert_allclose(a.energy, b.energy, atol=1e-9)
    np.testing.assert_allclose(a.forces @ turn.T, b.forces, atol=1e-9)
    assert np.abs(a.forces - predict(potential, [atoms]).forces).max() > 1e-2


def test_no_file_keeps_a_replay_head() -> None:
    potential = sevennets.potential(sevennets.checkpoint())
    with pytest.raises(ModelError, match="leave keep_head out"):
        potential.check_heads()


# ------------------------------------------------------------------------------- trust


def test_somebody_elses_checkpoint_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    source = sevennet_zoo._package() / "pretrained_potentials" / sevennet_zoo.MODELS["7net-0"].file
    copy = tmp_path / "theirs.pth"
    shutil.copy(source, copy)
    with pytest.raises(TrustError, match="tunesmith trust"):
        zoo.load(str(copy))
    trust(copy)
    assert zoo.load(str(copy)).e0s == zoo.load("7net-0").e0s


def test_a_changed_file_inside_the_package_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint in its place that would leave a trace when unpickled leaves none."""

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "trace",)

    monkeypatch.setattr(sevennet_zoo, "_package", lambda: tmp_path)
    path = tmp_path / "pretrained_potentials" / sevennet_zoo.MODELS["7net-0"].file
    path.parent.mkdir(parents=True)
    torch.save({"model_state_dict": {}, "config": Malicious()}, path)
    with pytest.raises(ModelError, match="not the file that sevenn"):
        zoo.load("7net-0")
    assert not (tmp_path / "trace").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "load", [lambda p: zoo.load(str(p)), lambda p: sevennet_files.calculator(p, None)]
)
def test_what_is_loaded_is_what_was_hashed(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is replaced the moment after it was looked at."""

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "trace",)

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    source = sevennet_zoo._package() / "pretrained_potentials" / sevennet_zoo.MODELS["7net-0"].file
    path = tmp_path / "theirs.pth"
    shutil.copy(source, path)
    trust(path)
    known = trust_module._read

    def replaced() -> dict[str, str]:
        torch.save({"model_state_dict": {}, "config": {"_type_map": Malicious()}}, path)
        return known()

    monkeypatch.setattr(trust_module, "_read", replaced)
    load(path)
    assert not (tmp_path / "trace").exists()
    with pytest.raises(TrustError):
        load(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"model_state_dict": {}, "config": {"version": "0.13.0", "_type_map": {}}}, path)
    trust(path)
    with pytest.raises(ModelError, match="not a readable SevenNet checkpoint"):
        zoo.load(str(path))
