"""Residual Gaussian processes of a pool, representation by representation (C.4 of the paper).

As there: from the same first labels, drawn by lot, the order of posterior variance goes on, and a
process learns as much of it as the validation frames want.
"""

from typing import Any

import numpy as np
import torch

from bench.shared.training import energies_of
from tunesmith.acquire import posterior_variance
from tunesmith.calibrate import scores
from tunesmith.data.e0 import choose_e0s
from tunesmith.features.compute_features import compute
from tunesmith.posterior.ensemble import Ensemble, open_model
from tunesmith.posterior.residual_gp import fit_prefix
from tunesmith.registry import REPRESENTATIONS
from tunesmith.tune.subspace import All

#: shares of a pool that are learnt from, validate and test
SHARES = (0.4, 0.2, 0.4)
#: frames of a pool that are drawn at most, and of them the first labels
MOST, START = 1000, 10
#: title → representation, and whether the model is the pretrained one
KINDS = {
    "ntk": ("ntk", True),
    "activation": ("activation", True),
    "soap": ("soap", True),
    "ntk, random weights": ("ntk", False),
    "activation, random weights": ("activation", False),
}


def table(model: str, pool: Any, seed: int) -> dict[str, dict[str, float]]:
    """Scores of the process of every representation on a pool's frames, energies in eV.

    Learnt, validation and test frames are drawn from the pool; E0s are estimated again from those
    that are learnt, so that model and labels share their zero.
    """
    rng = np.random.default_rng([3, seed])
    drawn = rng.permutation(len(pool))[:MOST]
    first, second = (int(s * len(drawn)) for s in np.cumsum(SHARES)[:2])
    frames = [pool[i] for i in drawn]
    known = open_model(model)
    labels = np.array([f.label.energy for f in frames])
    own = energies_of(known, frames)
    old: Any = known.potential.e0s
    e0s = choose_e0s("reestimate", frames=frames[:first], foundation=old, predicted=own[:first])
    zeros = [[e.total(f.atoms.numbers) for f in frames] for e in (e0s, known.e0s)]
    residuals = labels - own - np.subtract(*zeros)
    train, valid, test = np.split(np.arange(len(frames)), [first, second])
    fresh = Ensemble(known.potential, [untaught(known.potential, seed)], known.e0s)
    found = {}
    for title, (kind, taught) in KINDS.items():
        representation = REPRESENTATIONS.get(kind)()
        x = compute(representation, frames, known if taught else fresh)
        kernel = representation.kernel
        begun, rest = train[:START], train[START:]
        order = posterior_variance(x[rest], x[begun], len(rest), kernel=kernel)
        rows = np.concatenate([begun, rest[order]])
        process, _ = fit_prefix(x[rows], residuals[rows], x[valid], residuals[valid], kernel=kernel)
        correction, std = process.predict(x[test])
        error = correction - residuals[test]
        found[title] = {
            "n": process.n,
            "nll": scores.gaussian_nll(error, np.maximum(std, 1e-9)),
            "rmse_meV": 1e3 * scores.rmse(error),
            "rmse_before_meV": 1e3 * scores.rmse(residuals[test] - residuals[train].mean()),
            "ece": scores.ece(error, std),
            "ence": scores.ence(error, std),
            "coverage90": scores.coverage(error, std, 0.9),
        }
    return found


def untaught(potential: Any, seed: int) -> Any:
    """Fresh weights of the same architecture."""
    fresh = All(initial="random").start(potential, torch.Generator().manual_seed(seed))
    return {**potential.weights(), **fresh}
