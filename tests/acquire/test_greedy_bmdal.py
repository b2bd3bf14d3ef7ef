"""The same picks in the same order as bmdal_reg, the authors' own implementation, in float64."""

import numpy as np
import pytest
import torch

import brute
from tunesmith.acquire import lcmd, posterior_variance

NOISE = 1e-3


@pytest.fixture(autouse=True)
def old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """bmdal_reg uses a name that NumPy 2 removed."""
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)


def bmdal(rule: str, x: np.ndarray, labelled: np.ndarray, n: int) -> np.ndarray:
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
    from bmdal_reg.bmdal.features import Features
    from bmdal_reg.bmdal.selection import (
        LargestClusterMaxDistSelectionMethod,
        MaxDetSelectionMethod,
    )

    pool, known = (
        Features(IdentityFeatureMap(a.shape[1]), TensorFeatureData(torch.tensor(a))).precompute()
        for a in (x, labelled)
    )
    options = {"sel_with_train": True, "verbosity": 0}
    if rule == "lcmd":
        method = LargestClusterMaxDistSelectionMethod(pool, known, **options)
    else:
        method = MaxDetSelectionMethod(pool, known, noise_sigma=NOISE**0.5, **options)
    found = method.select(n)
    assert method.get_status() is None
    return np.asarray(found)


@pytest.mark.parametrize("kind", ["random", "decaying", "clustered", "offset"])
@pytest.mark.parametrize("seed", [0, 1])
def test_lcmd_is_the_same_pick_for_pick(kind: str, seed: int) -> None:
    x, labelled = brute.pool(kind, "linear", n=3000, d=48, m=20, seed=seed)
    assert (lcmd(x, labelled, 100) == bmdal("lcmd", x, labelled, 100)).all()


@pytest.mark.parametrize("kind", ["random", "decaying", "clustered", "offset"])
@pytest.mark.parametrize("seed", [0, 1])
def test_posterior_variance_is_max_determinant_pick_for_pick(kind: str, seed: int) -> None:
    x, labelled = brute.pool(kind, "linear", n=3000, d=48, m=20, seed=seed)
    picks = posterior_variance(x, labelled, 100, noise=NOISE)
    assert (picks == bmdal("maxdet", x, labelled, 100)).all()


@pytest.mark.parametrize("rule", ["lcmd", "maxdet"])
def test_of_copies_either_may_be_taken(rule: str) -> None:
    x, labelled = brute.pool("duplicated", "linear")
    ours = (lcmd if rule == "lcmd" else posterior_variance)(x, labelled, 60)
    theirs = bmdal(rule, x, labelled, 60)
    # the same structures in the same order, whichever copy
    assert (x[ours] == x[theirs]).all()
