"""The fused convolution is e3nn's tensor product and sum; what cannot be fused is not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import networks
from tunesmith.potentials.convolution import Convolution, regular_layout
from tunesmith.potentials.mace import mace_files, mace_potential
from tunesmith.potentials.mace.mace_interactions import can_fuse
from tunesmith.testing import compute, example_structures, interface

FUSED: dict[str, Callable[[], torch.nn.Module]] = {
    "plain-mace-zbl": lambda: networks.native("MACE", pair_repulsion=True, radial_type="gaussian"),
    "density-agnesi": lambda: networks.native(
        **networks.DENSITY, apply_cutoff=False, distance_transform="Agnesi"
    ),
    "l3-three-layers": lambda: networks.native(
        max_ell=3, num_interactions=3, hidden_irreps="2x0e+2x1o+2x2e"
    ),
    "narrow-edges": lambda: networks.native(
        edge_irreps=irreps("2x0e+2x1o"), use_agnostic_product=True, keep_last_layer_irreps=True
    ),
    "nonlinear": lambda: networks.native(
        **networks.NONLINEAR, apply_cutoff=False, readout_cls=biased_readout()
    ),
    "attention": lambda: networks.native(**networks.ATTENTION, apply_cutoff=False),
}
UNFUSED: dict[str, Callable[[], torch.nn.Module]] = {
    # edge weights that do not vanish with the radial features: padding would count
    "nonlinear": lambda: networks.native(**networks.NONLINEAR),
    "attention": lambda: networks.native(**networks.ATTENTION),
}


def biased_readout() -> Any:
    return mace_files.module("mace.modules").blocks.NonLinearBiasReadoutBlock


def irreps(text: str) -> Any:
    return mace_files.module("e3nn.o3").Irreps(text)


def crowd(potential: Any) -> list[Any]:
    """Many neighbours, few, none: much padding."""
    rng = np.random.default_rng(3)
    return [
        example_structures.molecule(potential, 4, rng),
        example_structures.crystal(potential, rng, n=1),
        example_structures.molecule(potential, 1, rng),
    ]


def second_derivative(potential: Any, frames: list[Any]) -> float:
    """d/dθ of a function of forces and stress in a fixed direction of the weights."""
    direction = compute.random_direction(potential, 5)
    weights = potential.weights()
    leaves = {k: weights[k].clone().requires_grad_() for k in direction}
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    out = potential.evaluate(weights | leaves, batch, stress=True, create_graph=True)
    total = out.forces.square().sum() + 100 * out.stress[batch.periodic].square().sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return sum(
        float((g * direction[k]).sum())
        for k, g in zip(leaves, gradients, strict=True)
        if g is not None
    )


@pytest.mark.parametrize("name", FUSED)
def test_fused_and_unfused_models_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = FUSED[name]()
    fused = networks.potential(module)
    assert all(isinstance(b.conv_tp, Convolution) for b in fused._module.interactions)
    monkeypatch.setattr(mace_potential, "can_fuse", lambda _: False)
    plain = networks.potential(module)
    assert not any(isinstance(b.conv_tp, Convolution) for b in plain._module.interactions)
    frames = crowd(fused)
    a, b = (compute.predict(p, frames, stress=True) for p in (fused, plain))
    compute.close(a.energy, b.energy, 1e-11, "energy")
    compute.close(a.forces, b.forces, 1e-10, "forces")
    compute.close(a.stress[1], b.stress[1], 1e-10, "stress")
    compute.close(compute.features(fused, frames), compute.features(plain, frames), 1e-11, "x")
    found, expected = second_derivative(fused, frames), second_derivative(plain, frames)
    assert abs(expected) > 1e-3
    assert found == pytest.approx(expected, rel=1e-9)
    interface.check_native(fused)


@pytest.mark.parametrize("name", UNFUSED)
def test_a_model_that_padding_would_change_is_not_fused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = UNFUSED[name]()
    potential = networks.potential(module)
    interface.check_batches(potential)
    interface.check_native(potential)
    frames = crowd(potential)
    right = compute.energies(potential, frames)
    # the danger is real: fused in spite of it, the energies are wrong
    monkeypatch.setattr(mace_potential, "can_fuse", lambda _: True)
    wrong = compute.energies(networks.potential(module), frames)
    assert np.abs(wrong - right).max() > 1e-6


def test_a_model_with_a_fused_kernel_of_its_own_keeps_it() -> None:
    """mace's hook for such kernels, here with its own wrapper of the e3nn product."""
    module = networks.native()
    expected = compute.predict(
        networks.potential(module), frames := crowd(networks.potential(module))
    )
    wrap = mace_files.module("mace.modules.wrapper_ops").with_scatter_sum
    for block in module.interactions:
        block.conv_tp, block.conv_fusion = wrap(block.conv_tp), True
    assert not can_fuse(module)
    found = compute.predict(networks.potential(module), frames)
    compute.close(found.energy, expected.energy, 1e-11, "energy")
    compute.close(found.forces, expected.forces, 1e-10, "forces")


def test_convolution_is_product_and_sum() -> None:
    """On arbitrary inputs, with all first and second derivatives."""
    product = networks.native(max_ell=3).interactions[1].conv_tp
    n, degree = 3, 4
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    inputs = (
        random(n, product.irreps_in1.dim),
        random(n * degree, product.irreps_in2.dim),
        random(n * degree, product.weight_numel),
    )
    senders = torch.randint(n, (n * degree,), generator=generator)
    edges = torch.stack([senders, torch.arange(n).repeat_interleave(degree)])
    cotangent = random(n, product.irreps_out.dim)
    directions = [random(*x.shape) for x in inputs]

    def everything(function: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        out = function(*inputs)
        first = torch.autograd.grad((out * cotangent).sum(), inputs, create_graph=True)
        total = sum((g * d).sum() for g, d in zip(first, directions, strict=True))
        return [out, *first, *torch.autograd.grad(total, [*inputs, cotangent])]

    def plain(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        messages = product(x[edges[0]], y, w)
        return torch.zeros(n, messages.shape[1], dtype=x.dtype).index_add(0, edges[1], messages)

    fused = Convolution(product, mace_files.module("e3nn.o3").wigner_3j)
    for a, b in zip(everything(lambda *x: fused(*x, edges)), everything(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_other_tensor_products_do_not_fit() -> None:
    o3 = mace_files.module("e3nn.o3")
    parts = o3.Irreps("2x0e+2x1o"), o3.Irreps("1x1o"), o3.Irreps("2x1o+2x0e")
    uvu = [(0, 0, 0, "uvu", True), (1, 0, 1, "uvu", True)]
    with mace_files.quiet():
        right = o3.TensorProduct(*parts, uvu, shared_weights=False, internal_weights=False)
        shared = o3.TensorProduct(*parts, uvu, shared_weights=True, internal_weights=True)
        full = o3.TensorProduct(
            *parts, [(0, 0, 0, "uvw", True)], shared_weights=False, internal_weights=False
        )
        unweighted = o3.TensorProduct(
            *parts, [(0, 0, 0, "uvu", False)], shared_weights=False, internal_weights=False
        )
    assert Convolution.fits(right)
    assert not any(Convolution.fits(p) for p in (shared, full, unweighted, None, o3.Linear))


def test_regular_layout() -> None:
    edges = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 3]])
    shifts = torch.arange(12.0).view(4, 3)
    laid, unit_shifts, padding = regular_layout(edges, shifts, 4)
    assert laid.tolist() == [[1, 2, 0, 1, 2, 2, 0, 3], [0, 0, 1, 1, 2, 2, 3, 3]]
    assert padding.tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    assert torch.equal(unit_shifts[padding == 0], shifts)
    assert not unit_shifts[padding == 1].any()
    alone, _, padding = regular_layout(torch.zeros(2, 0).long(), torch.zeros(0, 3), 2)
    assert alone.tolist() == [[0, 1], [0, 1]]
    assert padding.tolist() == [1, 1]
