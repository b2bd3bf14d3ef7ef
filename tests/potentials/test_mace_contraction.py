"""The joined contraction is mace's polynomial, derivatives included; what does not fit is left."""

from typing import Any

import pytest
import torch

import networks
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_contraction import Contraction, join


def symmetric(inputs: str, outputs: str, correlation: int, elements: int = 3) -> Any:
    """mace's module in float64 with random weights."""
    o3 = mace_files.module("e3nn.o3")
    module = mace_files.module("mace.modules.symmetric_contraction")
    torch.manual_seed(1)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return module.SymmetricContraction(
            o3.Irreps(inputs), o3.Irreps(outputs), correlation, num_elements=elements
        )
    finally:
        torch.set_default_dtype(default)


def case(width: int, species: list[int], elements: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(len(species), 4, width, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(torch.tensor(species), elements).double()
    return x.requires_grad_(), one_hot


CASES = {
    "scalars": ("4x0e+4x1o", "4x0e", 3),
    "two-factors": ("4x0e+4x1o+4x2e", "4x0e+4x1o", 2),
    "three-factors": ("4x0e+4x1o+4x2e+4x3o", "4x0e+4x1o+4x2e", 3),
    # no linear term reaches 2e from here: mace has an empty weight in its place
    "empty-weight": ("4x0e+4x1o", "4x0e+4x2e", 3),
}


@pytest.mark.parametrize("name", CASES)
def test_same_function_and_derivatives(name: str) -> None:
    """Elements out of order, one absent, one with a single atom."""
    theirs = symmetric(*CASES[name])
    ours = Contraction(theirs)
    width = sum(ir.dim for _, ir in theirs.irreps_in)
    x, one_hot = case(width, [2, 0, 2, 2, 0, 2, 1] if name == "two-factors" else [2, 0, 2, 2])
    found = []
    for module in (theirs, ours):
        out = module(x, one_hot)
        (slope,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        # mace switches the gradient of a weight that couples to nothing off
        weights = [w for w in module.parameters() if w.requires_grad]
        second = torch.autograd.grad(slope.square().sum(), [x, *weights])
        found.append([out, slope, *second])
    assert all(expected.abs().max() > 1e-3 for expected in found[0][:3])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_one_atom() -> None:
    theirs = symmetric(*CASES["three-factors"])
    x, one_hot = case(16, [1])
    torch.testing.assert_close(Contraction(theirs)(x, one_hot), theirs(x, one_hot))


@pytest.mark.parametrize("correlation", [1, 4])
def test_other_orders_do_not_fit(correlation: int) -> None:
    assert not Contraction.fits(symmetric("2x0e+2x1o", "2x0e", correlation))


def test_weights_keep_their_names_and_shapes() -> None:
    native = networks.native()
    before = {k: w.shape for k, w in native.named_parameters()}
    joined = join(native)
    assert all(isinstance(b.symmetric_contractions, Contraction) for b in joined.products)
    assert {k: w.shape for k, w in joined.named_parameters()} == before
