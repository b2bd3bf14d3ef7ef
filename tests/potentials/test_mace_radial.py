"""Radial networks with their constants folded in, against e3nn's own."""

import pytest
import torch

from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_radial import RadialNetwork


@pytest.mark.parametrize("activation", [torch.nn.functional.silu, torch.tanh])
@pytest.mark.parametrize("hidden", [[], [7], [16, 12]])
def test_the_same_function_and_derivatives(activation, hidden: list[int]) -> None:
    nn = mace_files.module("e3nn.nn")
    torch.manual_seed(0)
    net = nn.FullyConnectedNet([5, *hidden, 9], activation).double()
    assert RadialNetwork.fits(net)
    folded = RadialNetwork(net)
    assert list(folded.state_dict()) == list(net.state_dict())
    x = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (net, folded):
        out = function(x)
        (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        weights = list(net.parameters())
        results.append((out, slope, *torch.autograd.grad(slope.square().sum(), weights)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_variances_are_kept() -> None:
    nn = mace_files.module("e3nn.nn")
    net = nn.FullyConnectedNet([5, 8, 9], torch.tanh, variance_in=2.0, variance_out=3.0).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(RadialNetwork(net)(x), net(x), rtol=1e-12, atol=1e-12)


def test_what_does_not_fit_is_left_alone() -> None:
    nn = mace_files.module("e3nn.nn")
    silu = torch.nn.functional.silu
    active = nn.FullyConnectedNet([5, 8, 9], silu, out_act=True)
    assert not any(RadialNetwork.fits(x) for x in (active, None, torch.nn.Sequential()))
