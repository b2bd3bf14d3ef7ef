"""Harmonics and cutoff against e3nn's and mace's, derivatives included."""

import pytest
import torch

from test_mace_linear import everything, made
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_edges import Cutoff, Harmonics


@pytest.mark.parametrize("highest", [1, 2, 3, 5])
def test_harmonics(highest: int) -> None:
    options = {"normalize": True, "normalization": "component"}
    theirs = made("SphericalHarmonics", list(range(highest + 1)), **options)
    assert Harmonics.fits(theirs)
    vectors = torch.randn(20, 3, dtype=torch.float64).requires_grad_()
    ours = Harmonics(theirs).double()(vectors / vectors.norm(dim=1, keepdim=True))
    expected = theirs(vectors)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(everything(ours, [vectors]), everything(expected, [vectors]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_other_harmonics_do_not_fit() -> None:
    for orders, options in (
        ([0, 1], {"normalize": True, "normalization": "integral"}),
        ([0, 1], {"normalize": False, "normalization": "component"}),
        ([0, 2], {"normalize": True, "normalization": "component"}),
    ):
        assert not Harmonics.fits(made("SphericalHarmonics", orders, **options))


@pytest.mark.parametrize("p", [2, 5, 6])
def test_cutoff(p: int) -> None:
    theirs = mace_files.module("mace.modules.radial").PolynomialCutoff(4.5, p).double()
    ours = Cutoff(theirs)
    x = torch.tensor([[0.3], [1.0], [2.7], [4.4]], dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-13)
    for a, b in zip(everything(ours(x), [x]), everything(theirs(x), [x]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_left_beyond_the_cutoff(dtype: torch.dtype) -> None:
    """Padded edges rest on exact zeros."""
    for p in range(2, 13):
        native = mace_files.module("mace.modules.radial").PolynomialCutoff(4.5, p)
        x = torch.tensor([4.5, 4.6, 9.0, 13.7], dtype=dtype).requires_grad_()
        out = Cutoff(native)(x)
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
        assert not out.any()
        assert not slope[1:].any()
        assert not bend[1:].any()
