"""Fresh weights against modules that mace itself has just made."""

import re
from collections.abc import Callable

import pytest
import torch
from scipy.stats import ks_2samp

import networks
from tunesmith.errors import ModelError
from tunesmith.potentials.mace.mace_untaught import fresh

SMALL = {"hidden_irreps": "8x0e", "max_ell": 1}
#: between them all layers that mace's energy models are made of
KINDS: dict[str, Callable[[int], torch.nn.Module]] = {
    "density": lambda seed: networks.native(
        seed=seed, **networks.DENSITY, **SMALL | {"correlation": 3}
    ),
    "nonlinear": lambda seed: networks.native(seed=seed, **networks.NONLINEAR, **SMALL),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_the_law_mace_draws_it_from(kind: str) -> None:
    made = [KINDS[kind](seed) for seed in (20, 21)]
    names = tuple(n for n, p in made[0].named_parameters() if p.numel())
    mace = [{n: m.get_parameter(n).detach().double() for n in names} for m in made]
    ours = [fresh(made[0], names, mace[0], torch.Generator().manual_seed(s)) for s in range(40)]
    laws: dict[str, tuple[list[float], list[float]]] = {}
    for name in names:
        assert {d[name].shape for d in ours} == {mace[0][name].shape}, name
        if torch.equal(mace[0][name], mace[1][name]):
            assert all(torch.equal(d[name], mace[0][name]) for d in ours), f"{name} is constant"
            continue
        alike = re.sub(r"^(\w+)\.\d+|source|target", r"\1", name) + str(mace[0][name].shape[1:2])
        pair = laws.setdefault(alike, ([], []))
        for values, drawn in zip(pair, (mace, ours), strict=True):
            values.extend(torch.cat([d[name].flatten() for d in drawn]).tolist())
    for name, (expected, found) in laws.items():
        same = ks_2samp(found, expected).pvalue
        assert same > 1e-4, f"{name}: drawn from another law (p = {same:.1e})"
        assert len(set(found)) == len(found), f"{name}: values repeat"


def test_what_is_not_known_is_refused() -> None:
    model = networks.native(seed=1)
    model.node_embedding.register_parameter("gain", torch.nn.Parameter(torch.ones(2)))
    with pytest.raises(ModelError, match=r"node_embedding\.gain .*LinearNodeEmbeddingBlock"):
        fresh(model, ("node_embedding.gain",), {}, torch.Generator())
