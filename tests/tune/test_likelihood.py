"""The likelihood against torch's own distributions, the noise head against its definition."""

import ase.units
import pytest
import torch
from torch.distributions import Normal

from tiny import crystals, e0s, molecules, potential
from tunesmith.errors import ConfigError, ModelError, UnitError
from tunesmith.posterior import noise_head
from tunesmith.tune.examples import collate, examples
from tunesmith.tune.likelihood import GaussianLikelihood

KBAR = 0.1 * ase.units.GPa


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("head", [False, True])
def test_sum_of_log_densities(head: bool) -> None:
    """Energy, 3N force components, nine of stress where labelled; mean over structures."""
    model = potential()
    data = examples(model, molecules(3) + crystals(2), e0s())
    batch, targets = collate(model, data)
    out = model.evaluate(model.weights(), batch, stress=True, features=True)
    assert out.features is not None
    weights = noise_head.start(out.features.shape[1], generator(), torch.float64)
    weights = {k: w + 0.1 for k, w in weights.items()}
    loss = GaussianLikelihood(energy="3 meV", forces="20 meV/Å", stress="1 kbar")
    sigma = torch.full((len(batch.index),), 0.02, dtype=torch.float64)
    if head:
        sigma = noise_head.variance(weights, out.features, 0.02).sqrt()
    assert out.forces is not None
    assert out.stress is not None
    energy = Normal(out.energy, 0.003).log_prob(targets.energy)
    forces = Normal(out.forces, sigma[:, None]).log_prob(targets.forces).sum(1)
    total = [
        energy[b] + forces[batch.index == b].sum()
        + (Normal(out.stress[b], KBAR).log_prob(targets.stress[b]).sum() if b > 2 else 0)
        for b in range(5)
    ]  # fmt: skip
    found = loss(out, batch, targets, weights if head else None)
    torch.testing.assert_close(found, -torch.stack(total).mean(), rtol=1e-6, atol=0.0)


def test_an_untrained_head_says_the_base_scale_and_can_learn() -> None:
    weights = {k: w.requires_grad_() for k, w in noise_head.start(64, generator()).items()}
    assert {k: tuple(w.shape) for k, w in weights.items()}["0.weight"] == (32, 64)
    features = torch.randn(7, 64, generator=generator())
    variance = noise_head.variance(weights, features, 4.34e-3)
    torch.testing.assert_close(variance, torch.full((7,), 4.34e-3**2))
    gradients = torch.autograd.grad(variance.sum(), [weights["2.weight"], weights["2.bias"]])
    assert all(g.abs().min() > 0 for g in gradients)


def test_layers_of_the_paper() -> None:
    shapes = [
        tuple(w.shape) for k, w in noise_head.start(256, generator()).items() if "weight" in k
    ]
    assert shapes == [(64, 256), (16, 64), (1, 16)]


def test_bad_scales_are_refused() -> None:
    with pytest.raises(UnitError, match="needs a number and a unit"):
        GaussianLikelihood(energy="0.002")
    with pytest.raises(ConfigError, match="per atom"):
        GaussianLikelihood(energy="1 meV per atom")
    with pytest.raises(ConfigError, match="over zero"):
        GaussianLikelihood(forces="0 eV/Å")


def test_a_head_of_other_features_is_refused() -> None:
    head = noise_head.start(64, generator())
    with pytest.raises(ModelError, match="64 features of an atom, but the model has 128"):
        noise_head.variance(head, torch.zeros(3, 128), 4.34e-3)
