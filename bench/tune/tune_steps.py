"""What the bench does in large processes of its own: start models, the command with a stopwatch,
judging."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.neighborlist import neighbor_list

from bench.shared.data_sets import drawn, isolated, labelled, put
from tunesmith import cli, evaluate, open_model, read_frames
from tunesmith.core import Base, Frame
from tunesmith.potentials import zoo
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.potentials.trust import trust
from tunesmith.tune.adamw_fit import AdamWFit


def prepare(data: str, folder: str, sizes: list[str], n_train: int, n_valid: int) -> None:
    """Write train.xyz (isolated atoms in front) and valid.xyz, and one start model per size."""
    out, frames = Path(folder), labelled(Path(data), "acac")
    atoms = isolated(Path(data), "acac")
    train, valid = drawn(frames, [n_train, n_valid], "acac", seed=0)
    put(out / "train.xyz", atoms + train)
    put(out / "valid.xyz", valid)
    for size in sizes:
        start(size, out / f"{size}.model", train, atoms)


def start(size: str, path: Path, train: list[Frame], isolated: list[Frame]) -> None:
    """A start model as a file; for a size other than organic-xs with random weights."""
    if size == "organic-xs":
        potential: Any = zoo.load(size, dtype="float64")
        e0s = potential.e0s
    else:
        e0s = {int(f.atoms.numbers[0]): f.label.energy for f in isolated if f.label}
        config = {
            # everything but the irreps is mace_run_train's default
            **{"r_max": 5.0, "num_bessel": 8, "num_polynomial_cutoff": 5, "max_ell": 3},
            **{"hidden_irreps": size, "MLP_irreps": "16x0e", "correlation": 3},
            **{"num_interactions": 2, "radial_MLP": [64, 64, 64]},
            "elements": sorted(e0s),
            "e0s": [e0s[z] for z in sorted(e0s)],
        }
        known = [(f.atoms, f.label) for f in train if f.label]
        degrees = [len(neighbor_list("i", a, config["r_max"])) / len(a) for a, _ in known[:50]]
        binding = [(y.energy - sum(e0s[int(z)] for z in a.numbers)) / len(a) for a, y in known]
        config["avg_num_neighbors"] = float(np.mean(degrees))
        config["shift"] = float(np.mean(binding))
        config["scale"] = float(np.std(np.concatenate([y.forces for _, y in known])))
        torch.manual_seed(0)
        module = mace_files.build(config)
        potential = MACEPotential(module, Base(size, "", "mace"), dtype=torch.float64)
    potential.export(path, potential.weights(), e0s)


def tunesmith(stamps: str, arguments: list[str]) -> None:
    """The command ``tunesmith ARGUMENTS`` with a stopwatch at the end of every epoch."""
    go, close, moments, history = AdamWFit.go, AdamWFit._close_epoch, [], []

    def begun(self: AdamWFit, report: Any) -> Any:
        moments.append(time.time())
        return go(self, report)

    def closed(self: AdamWFit, number: int) -> None:
        close(self, number)
        moments.append(time.time())
        history.append(self.progress.history[-1])

    AdamWFit.go, AdamWFit._close_epoch = begun, closed  # type: ignore[method-assign]
    sys.argv = ["tunesmith", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
    Path(stamps).write_text(json.dumps({"moments": moments, "history": history}))


def judge(model: str, frames: str) -> dict[str, Any]:
    """Errors of a model file on labelled frames, all by the same evaluator, in float64."""
    trust(Path(model))  # made by the programs this bench has just run
    found = open_model(model, dtype="float64")
    potential: Any = found.potential
    weights = found.weights[0]
    moved = sum(weights[n].numel() for n in potential.names.trainable())
    return {"weights": moved, **evaluate(found, read_frames(frames)[0]).summary()}
