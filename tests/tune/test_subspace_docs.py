"""The numbers that the documentation gives for each subspace."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tunesmith import settings
from tunesmith.core import Settings, Weights
from tunesmith.potentials import zoo
from tunesmith.potentials.linears import linears
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_weights import weight_names
from tunesmith.tune.lora import LoRA

DOCS = (Path(__file__).parents[2] / "docs" / "reference" / "subspaces.md").read_text()
#: the architecture of MACE-OMat-0-medium, of four elements as after fine-tuning
MEDIUM = {
    "r_max": 6.0,
    "num_bessel": 10,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "hidden_irreps": "128x0e+128x1o",
    "MLP_irreps": "16x0e",
    "correlation": 3,
    "num_interactions": 2,
    "radial_MLP": [64, 64, 64],
    "elements": [3, 15, 16, 17],
    "e0s": [0.0] * 4,
    "avg_num_neighbors": 30.0,
    "scale": 1.0,
    "shift": 0.0,
}


def moving(subspace: Any, model: Any) -> int:
    start = subspace.start(model, torch.Generator())
    return sum(w.numel() for name, w in start.items() if subspace.moves(name))


def test_the_table_of_subspaces() -> None:
    model = zoo.load("organic-xs")
    weights = model.weights()
    total = sum(weights[n].numel() for n in model.names.trainable())
    rows = re.findall(r"^\| `(.+)` \|.*\| (\d+) \| ([\d.]+) % \|$", DOCS, re.MULTILINE)
    assert len(rows) == 8
    for text, number, percent in rows:
        subspace = settings.build(Settings, yaml.safe_load(text), "tune.subspace")
        assert moving(subspace, model) == int(number), text
        digits = len(percent.partition(".")[2])
        assert f"{100 * int(number) / total:.{digits}f}" == percent, text
    assert f"{total:_}".replace("_", " ") in DOCS


@pytest.mark.slow
def test_ranks_have_the_shares_of_table_7() -> None:
    module = mace_files.build(MEDIUM)

    class Model:
        names = weight_names(module)
        linears = tuple(linears(module))

        def weights(self) -> Weights:
            state = module.state_dict()
            return {name: state[name] for name in self.names.trainable()}

    model = Model()
    total = sum(w.numel() for w in model.weights().values())
    numbers = [moving(LoRA(rank=rank), model) for rank in (4, 16, 64)]
    shares = [f"{100 * n / total:.2g}" for n in numbers]
    assert f"{shares[0]} % of a network" in DOCS
    assert f"(rank 16: {shares[1]} %, rank 64: {shares[2]} %" in DOCS
    within = [100 * n / (total + n) for n in numbers]
    assert f"{within[0]:.2g}, {within[1]:.2g} and {within[2]:.2g} %" in DOCS
    for share, printed in zip(within, (2.5, 10, 30), strict=True):
        assert share == pytest.approx(printed, rel=0.35)
