"""Checks of a potential's weights: their names and blocks, and where training starts from."""

import numpy as np
import torch

from tunesmith.core import Weights
from tunesmith.potentials.potential import Potential
from tunesmith.testing.compute import predict
from tunesmith.testing.example_structures import samples


def check_names(potential: Potential, seed: int = 0) -> None:
    """Names cover the weights once, and a linear layer's blocks lie apart inside its weight."""
    weights = potential.weights()
    names = [*potential.names.trainable(), *potential.names.scale]
    assert len(set(names)) == len(names), "a weight has two parts"
    assert set(names) == set(weights), "names and weights differ"
    for linear in potential.linears:
        used = np.zeros(weights[linear.weight].numel(), int)
        for block in linear.blocks:
            rows, columns = block.shape
            used[block.start : block.start + rows * columns] += 1
            assert block.start + rows * columns <= used.size, f"{linear.weight}: block too long"
        assert used.max(initial=0) <= 1, f"{linear.weight}: blocks overlap"


def check_untaught(potential: Potential, seed: int = 0) -> None:
    """Fresh weights: of the same names and shapes, a function of the seed alone, and sensible."""
    own, kept = potential.weights(), potential.weights()
    before = torch.get_rng_state()

    def fresh(number: int) -> Weights:
        # far from seeds that a test's own model may have been made with
        return potential.untaught(torch.Generator().manual_seed(4321 + number))

    one, again, other = fresh(seed), fresh(seed), fresh(seed + 1)
    assert torch.equal(before, torch.get_rng_state()), "the global random numbers are used"
    assert all(torch.equal(own[k], w) for k, w in kept.items()), "the model's weights are changed"
    assert list(one) == list(own), "names differ from the weights'"
    for name, w in one.items():
        expected = (own[name].shape, own[name].dtype, own[name].device)
        assert (w.shape, w.dtype, w.device) == expected, f"{name}: another shape or type"
        assert torch.equal(w, again[name]), f"{name}: the same seed gives something else"
        fixed = name in potential.names.scale
        assert not fixed or torch.equal(w, own[name]), f"{name} is drawn, but never trained"
    drawn = [(one[k], other[k], own[k]) for k in potential.names.trainable()]
    total = sum(w.numel() for w, _, _ in drawn)
    # some may start from constants, such as biases from zero
    for i, what in ((1, "another seed"), (2, "the model")):
        moved = sum(int((row[0] != row[i]).sum()) for row in drawn)
        assert moved > total / 2, f"fresh weights are those of {what}"
    frames = samples(potential, np.random.default_rng(seed))
    out = predict(potential, frames, weights=one)
    assert np.all(np.isfinite(out.energy)), "energies from fresh weights are not finite"
    size = float(np.sqrt(np.mean(out.forces**2)))
    assert 1e-4 < size < 1e3, f"forces from fresh weights have an rms of {size:.1e} eV/Å"
