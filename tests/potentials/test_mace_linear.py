"""e3nn's linear layers and products with elements, as matrices: derivatives included."""

from typing import Any

import pytest
import torch

from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_linear import Channels, ElementChannels, elements


def made(name: str, *args: Any, **options: Any) -> Any:
    """A module of e3nn in float64 with random weights."""
    o3 = mace_files.module("e3nn.o3")
    torch.manual_seed(1)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mace_files.quiet():
            return getattr(o3, name)(*args, **options)
    finally:
        torch.set_default_dtype(default)


def turned(x: torch.Tensor, irreps: Any) -> torch.Tensor:
    """e3nn's layout (n, irreps) as (k, c, n)."""
    slots = zip(irreps.slices(), irreps, strict=True)
    return torch.cat([x[:, s].view(len(x), mul, ir.dim).permute(2, 1, 0) for s, (mul, ir) in slots])


def everything(out: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    """Value, slope, and the gradient of the squared slope."""
    (slope, *_) = torch.autograd.grad(out.sin().sum(), leaves, create_graph=True)
    return [slope, *torch.autograd.grad(slope.square().sum(), leaves)]


def check(theirs: torch.Tensor, ours: torch.Tensor, leaves: list[torch.Tensor], to: Any) -> None:
    torch.testing.assert_close(ours, turned(theirs, to), rtol=1e-12, atol=1e-12)
    pairs = zip(everything(ours, leaves), everything(theirs, leaves), strict=True)
    for found, expected in pairs:
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("4x0e+4x1o", "3x0e+3x1o"),
        ("4x0e+4x1o+4x2e", "4x0e"),
        ("4x0e+4x1o+4x2e", "2x1o+2x2e"),
        ("5x0e", "1x0e"),
    ],
)
def test_linear(inputs: str, outputs: str) -> None:
    linear = made("Linear", inputs, outputs)
    assert Channels.fits(linear)
    x = torch.randn(6, linear.irreps_in.dim, dtype=torch.float64).requires_grad_()
    ours = Channels(linear).double()
    assert not list(ours.parameters())
    found = ours(turned(x, linear.irreps_in))
    check(linear(x), found, [x, linear.weight], linear.irreps_out)


@pytest.mark.parametrize(
    ("inputs", "outputs"), [("4x0e+4x1o", "4x0e"), ("4x0e+4x1o+4x2e", "3x0e+3x1o+3x2e")]
)
def test_matrices_of_elements(inputs: str, outputs: str) -> None:
    """Four elements, the second absent."""
    product = made("FullyConnectedTensorProduct", inputs, "4x0e", outputs)
    assert ElementChannels.fits(product)
    species = torch.tensor([0, 0, 2, 3, 3, 3])
    one_hot = torch.nn.functional.one_hot(species, 4).double()
    x = torch.randn(6, product.irreps_in1.dim, dtype=torch.float64).requires_grad_()
    found = ElementChannels(product)(turned(x, product.irreps_in1), elements(species))
    check(product(x, one_hot), found, [x, product.weight], product.irreps_out)


def test_others_do_not_fit() -> None:
    for name, args, options in (
        ("Linear", ("4x0e+2x1o", "4x0e+4x1o"), {}),
        ("Linear", ("4x0e+4x0e", "4x0e"), {}),
        ("Linear", ("4x0e", "4x0e"), {"biases": True}),
        ("Linear", ("4x0e", "4x0e+4x1o"), {}),
        ("Linear", ("4x1o+4x0e", "4x0e+4x1o"), {}),
        ("Norm", ("4x0e",), {}),
    ):
        assert not Channels.fits(made(name, *args, **options)), args
    for parts in (("4x0e", "2x0e+1x0e", "4x0e"), ("4x1o", "2x1o", "4x0e")):
        assert not ElementChannels.fits(made("FullyConnectedTensorProduct", *parts))
    assert not ElementChannels.fits(made("Linear", "4x0e", "4x0e"))
