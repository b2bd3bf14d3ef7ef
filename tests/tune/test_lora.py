"""Adapters: what they add, its derivatives, members of them, and the model that comes out."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

import tiny
from tunesmith.core import Weights
from tunesmith.errors import ConfigError
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.potential import Block, Linear
from tunesmith.testing.compute import OFFSETS, predict, slope
from tunesmith.tune.lora import LoRA
from tunesmith.tune.vector import Vector

POTENTIAL = tiny.potential()
OWN = POTENTIAL.weights()
RANK = 2


def start(subspace: LoRA, seed: int = 0) -> Weights:
    return subspace.start(POTENTIAL, torch.Generator().manual_seed(seed))


def random(subspace: LoRA, seed: int = 0) -> Weights:
    """Coordinates with B as large as A."""
    generator = torch.Generator().manual_seed(seed)
    first = subspace.start(POTENTIAL, generator)
    drawn = {k: torch.randn(w.shape, generator=generator, dtype=w.dtype) for k, w in first.items()}
    return {k: drawn[k] if subspace.moves(k) else w for k, w in first.items()}


def sizes(subspace: LoRA) -> dict[str, tuple[int, ...]]:
    return {name: tuple(w.shape) for name, w in start(subspace).items()}


def test_every_linear_layer_has_adapters_of_the_rank_it_can_use() -> None:
    both, outer = sizes(LoRA(rank=3)), sizes(LoRA(rank=3, factors="outer"))
    # 3 elements × 4 channels; 4 × 4 per irrep; two paths of 4 channels of 1o on 4; 4 on one energy
    for weight, inputs, outputs, rank in (
        ("node_embedding.linear.weight|0", 3, 4, 3),
        ("interactions.1.linear_up.weight|16", 4, 4, 3),
        ("interactions.1.linear.weight|32", 8, 4, 3),
        ("interactions.1.conv_tp_weights.layer0.weight|0", 4, 8, 3),
        ("readouts.0.linear.weight|0", 4, 1, 1),
    ):
        assert both[f"{weight}|A"] == (inputs, rank)
        assert both[f"{weight}|B"] == (rank, outputs)
        assert outer[f"{weight}|A"] == (inputs, 3)
        assert outer[f"{weight}|B"] == (3, outputs)
    for name in both:
        assert "skip_tp" not in name
        assert "contraction" not in name


@pytest.mark.parametrize("factors", ["both", "outer"])
def test_a_rank_no_layer_has_is_refused(factors: Literal["both", "outer"]) -> None:
    with pytest.raises(ConfigError, match=r"tune\.subspace\.rank: .*tiny .* over 8;"):
        start(LoRA(rank=9, factors=factors))
    assert start(LoRA(rank=8, factors=factors))


def test_the_start_is_a_function_of_the_generator() -> None:
    one, again, other = start(LoRA()), start(LoRA()), start(LoRA(), seed=1)
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one if k.endswith("|A"))
    drawn = torch.cat([w.flatten() for k, w in start(LoRA(init_std=0.3)).items() if k[-1] == "A"])
    assert kstest(drawn.numpy(), "norm", (0, 0.3)).pvalue > 1e-3


def test_outer_columns_are_orthonormal_so_that_b_keeps_its_length() -> None:
    """At α = 1 a prior's width on B is its width on the weights."""
    subspace = LoRA(rank=RANK, factors="outer")
    assert subspace.linear
    assert not LoRA().linear
    moved = random(subspace)
    full = subspace.expand(OWN, moved)
    change = sum(float((full[n] - OWN[n]).square().sum()) for n in OWN)
    length = sum(float(w.square().sum()) for k, w in moved.items() if k.endswith("|B"))
    assert change == pytest.approx(length, rel=1e-10)
    for name, a in moved.items():
        if name.endswith("|A"):
            torch.testing.assert_close(a.T @ a, torch.eye(a.shape[1], dtype=a.dtype))
    # affine: the change of a sum is the sum of changes, exactly what `linear` says
    doubled = {k: 2 * w if subspace.moves(k) else w for k, w in moved.items()}
    twice = subspace.expand(OWN, doubled)
    for n in OWN:
        torch.testing.assert_close(twice[n] - OWN[n], 2 * (full[n] - OWN[n]))


@pytest.mark.parametrize(("factors", "by_rank"), [("both", True), ("outer", False)])
def test_alpha_scales_what_is_added(factors: Literal["both", "outer"], by_rank: bool) -> None:
    moved = random(LoRA(rank=RANK, factors=factors))
    name = "interactions.1.linear.weight"
    a, b = moved[f"{name}|32|A"].numpy(), moved[f"{name}|32|B"].numpy()
    full = LoRA(rank=RANK, factors=factors, alpha=0.7).expand(OWN, moved)
    change = (full[name] - OWN[name])[32:64].numpy().reshape(8, 4)
    expected = np.zeros((8, 4))
    for i, j, k in np.ndindex(8, 4, RANK):
        expected[i, j] += (0.7 / RANK if by_rank else 0.7) * a[i, k] * b[k, j]
    np.testing.assert_allclose(change, expected, rtol=1e-12, atol=1e-14)


def test_unit_is_the_rms_of_the_matrix_that_changes() -> None:
    coordinates = start(LoRA())
    units = LoRA().unit(POTENTIAL, coordinates)
    assert list(units) == list(coordinates)
    own = OWN["interactions.1.linear.weight"].numpy()
    for factor in "AB":
        found = float(units[f"interactions.1.linear.weight|32|{factor}"])
        assert found == pytest.approx(np.sqrt(np.mean(own[32:64] ** 2)))


@pytest.mark.parametrize("factors", ["both", "outer"])
def test_gradient_by_finite_differences(factors: Literal["both", "outer"]) -> None:
    """Of energies, forces and stress, so through two derivatives of the network."""
    subspace = LoRA(rank=RANK, factors=factors)
    moved = random(subspace)
    moving = {k: w for k, w in moved.items() if subspace.moves(k)}
    vector = Vector(moving)
    frames = [f.atoms for f in (*tiny.molecules(2), *tiny.crystals(1))]
    batch = POTENTIAL.batch([POTENTIAL.graph(atoms) for atoms in frames])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        weights = subspace.expand(OWN, {**moved, **vector.split(flat)})
        out = POTENTIAL.evaluate(weights, batch, stress=True, create_graph=True)
        assert out.forces is not None
        assert out.stress is not None
        parts = (out.energy, 10 * out.forces, 100 * out.stress[2:])
        return torch.stack([p.square().mean() for p in parts]).sum()

    leaf = vector.flat.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        direction = torch.randn(len(leaf), generator=generator, dtype=leaf.dtype)
        values = [loss(vector.flat + o * 1e-4 * direction).item() for o in OFFSETS]
        rate = slope(np.array(values), 1e-4)
        assert float(gradient @ direction) == pytest.approx(float(rate), rel=1e-6)


def test_members_at_once_are_members_one_by_one() -> None:
    subspace = LoRA(rank=RANK)
    members = [random(subspace, seed) for seed in range(3)]
    stacked = {k: torch.stack([m[k] for m in members]) for k in members[0]}
    together = torch.vmap(lambda own: subspace.expand(OWN, own), out_dims=0)(stacked)
    alone = [subspace.expand(OWN, m) for m in members]
    adapted = {linear.weight for linear in POTENTIAL.linears}
    for name in OWN:
        torch.testing.assert_close(together[name], torch.stack([w[name] for w in alone]))
        # members share the very tensors that no adapter changes: they are computed with once
        assert (alone[0][name] is OWN[name]) == (name not in adapted)


def test_weights_between_blocks_stay() -> None:
    """A backend may list part of a weight only, and store a matrix transposed."""
    weight = torch.arange(20.0, dtype=torch.float64).reshape(4, 5)

    class Model:
        linears = (Linear("w", (Block(2, (2, 3), "0e"), Block(12, (2, 3), "1o", transposed=True))),)

        def weights(self) -> Weights:
            return {"w": weight}

    subspace = LoRA(rank=1)
    moved = {k: torch.ones_like(w) for k, w in subspace.start(Model(), torch.Generator()).items()}
    moved["w|12T|A"] = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    moved["w|12T|B"] = torch.tensor([[1.0, 10.0, 100.0]], dtype=torch.float64)
    change = (subspace.expand({"w": weight}, moved)["w"] - weight).flatten().tolist()
    assert change == [0] * 2 + [1] * 6 + [0] * 4 + [1, 2, 10, 20, 100, 200] + [0] * 2


def test_the_exported_model_is_a_plain_one(tmp_path: Path) -> None:
    """Merged into the file: mace's own calculator agrees, and what it computes turns with us."""
    subspace = LoRA(rank=RANK)
    weights = subspace.expand(OWN, random(subspace))
    POTENTIAL.export(tmp_path / "lora.model", weights, POTENTIAL.e0s)
    native = mace_files.calculator(tmp_path / "lora.model")
    assert set(POTENTIAL.weights()) <= set(native.models[0].state_dict())
    assert not any("lora" in name for name in native.models[0].state_dict())
    atoms = tiny.molecules(2)[1].atoms
    ours = predict(POTENTIAL, [atoms], weights=weights)
    energy, forces = computed(native, atoms)
    zero = sum(POTENTIAL.e0s[z] for z in atoms.numbers)
    assert ours.energy[0] + zero == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(ours.forces, forces, atol=1e-9)
    untouched = predict(POTENTIAL, [atoms])
    assert np.abs(ours.forces - untouched.forces).max() > 0.1, "the adapters do nothing"
    turn = Rotation.random(random_state=3).as_matrix()
    turned = atoms.copy()
    turned.positions = atoms.positions @ turn.T
    after, pushed = computed(native, turned)
    assert after == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(pushed, forces @ turn.T, atol=1e-9)


def computed(calculator: mace_files.NativeModule, atoms: Atoms) -> tuple[float, np.ndarray]:
    here = atoms.copy()
    here.calc = calculator
    return here.get_potential_energy(), here.get_forces()
