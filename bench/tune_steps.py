"""Heavy steps of `tune.py`, each in a process of its own: ``python tune_steps.py STEP JSON``."""

import json
import sys
import time
from pathlib import Path
from typing import Any


def prepare(data: str, folder: str, n_train: int, n_valid: int, sizes: list[str]) -> dict[str, Any]:
    """Write train.xyz (isolated atoms in front) and valid.xyz, and one start model per size."""
    import ase.io
    import numpy as np

    out = Path(folder)
    frames = ase.io.read(Path(data) / "acac" / "train_300K.xyz", ":")
    atoms = ase.io.read(Path(data) / "acac" / "isolated_atoms.xyz", ":")
    order = np.random.default_rng(0).permutation(len(frames))
    if n_train + n_valid > len(frames):
        sys.exit(f"acac/train_300K.xyz has {len(frames)} frames, not {n_train + n_valid}.")
    chosen = [frames[i] for i in order[: n_train + n_valid]]
    for frame in (*chosen, *atoms):
        results = frame.calc.results
        frame.calc = None
        frame.info = {"REF_energy": results["energy"], "config_type": "300K_MD"}
        if len(frame) == 1:
            frame.info["config_type"] = "IsolatedAtom"
            results["forces"] = np.zeros((1, 3))
        frame.arrays["REF_forces"] = results["forces"]
    ase.io.write(out / "train.xyz", atoms + chosen[:n_train], format="extxyz")
    ase.io.write(out / "valid.xyz", chosen[n_train:], format="extxyz")
    return {size: _start(size, out / f"{size}.model", chosen[:n_train], atoms) for size in sizes}


def _start(size: str, path: Path, train: list[Any], isolated: list[Any]) -> dict[str, Any]:
    """A start model as a file; for a size other than organic-xs with random weights."""
    import numpy as np
    import torch
    from ase.neighborlist import neighbor_list

    from tunesmith.core import Base
    from tunesmith.potentials import zoo
    from tunesmith.potentials.mace import mace_files
    from tunesmith.potentials.mace.mace_potential import MACEPotential

    if size == "organic-xs":
        potential: Any = zoo.load(size, dtype="float64")
        e0s = potential.e0s
    else:
        e0s = {int(a.numbers[0]): a.info["REF_energy"] for a in isolated}
        config = {
            # everything but the irreps is mace_run_train's default
            **{"r_max": 5.0, "num_bessel": 8, "num_polynomial_cutoff": 5, "max_ell": 3},
            **{"hidden_irreps": size, "MLP_irreps": "16x0e", "correlation": 3},
            **{"num_interactions": 2, "radial_MLP": [64, 64, 64]},
            "elements": sorted(e0s),
            "e0s": [e0s[z] for z in sorted(e0s)],
        }
        degrees = [len(neighbor_list("i", a, config["r_max"])) / len(a) for a in train[:50]]
        binding = [
            (a.info["REF_energy"] - sum(e0s[int(z)] for z in a.numbers)) / len(a) for a in train
        ]
        config["avg_num_neighbors"] = float(np.mean(degrees))
        config["shift"] = float(np.mean(binding))
        config["scale"] = float(np.std(np.concatenate([a.arrays["REF_forces"] for a in train])))
        torch.manual_seed(0)
        module = mace_files.build(config)
        potential = MACEPotential(module, Base(size, "", "mace"), dtype=torch.float64)
    weights = potential.weights()
    potential.export(path, weights, e0s)
    return {
        "path": str(path),
        "weights": sum(weights[n].numel() for n in potential.names.trainable()),
    }


def tunesmith(stamps: str, arguments: list[str]) -> dict[str, Any]:
    """The command ``tunesmith ARGUMENTS`` with a stopwatch in the callback after every epoch."""
    from tunesmith import cli
    from tunesmith.tune.adamw import AdamW

    fit, moments, history = AdamW.fit, [], []

    def timed(self: Any, problem: Any, checkpoint: Any = None, report: Any = None) -> Any:
        def stamp(entry: dict[str, float], left: float) -> None:
            moments.append(time.time())
            history.append(entry)
            report(entry, left)

        moments.append(time.time())
        return fit(self, problem, checkpoint, stamp)

    AdamW.fit = timed  # type: ignore[method-assign]
    sys.argv = ["tunesmith", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
    Path(stamps).write_text(json.dumps({"moments": moments, "history": history}))
    return {}


def judge(models: list[str], frames: str) -> dict[str, Any]:
    """Errors of model files on labelled frames, all by the same evaluator, in float64."""
    from tunesmith.data.formats import read_frames
    from tunesmith.posterior.ensemble import open_model
    from tunesmith.potentials.trust import trust
    from tunesmith.report.evaluate import evaluate

    labelled, _ = read_frames(frames)
    found = {}
    for path in models:
        trust(path)  # made by the programs this bench has just run
        found[path] = evaluate(open_model(path, dtype="float64"), labelled).summary()
    return found


def draw(curves: dict[str, dict[str, list[dict[str, list[float]]]]], path: str) -> dict[str, Any]:
    """Validation errors of the averaged weights per epoch. curves: size → program → seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(curves), 2, figsize=(9, 3.2 * len(curves)), squeeze=False, layout="constrained"
    )
    colours = {"tunesmith": "tab:blue", "mace_run_train": "tab:orange"}
    for row, (size, programs) in zip(axes, curves.items(), strict=True):
        for program, seeds in programs.items():
            for seed, curve in enumerate(seeds):
                label = program if seed == 0 else None
                for axis, key in zip(row, ("force_mae", "energy_mae"), strict=True):
                    epochs = range(1, len(curve[key]) + 1)
                    axis.plot(epochs, curve[key], colours[program], lw=1, alpha=0.8, label=label)
        for axis, what in zip(row, ("force MAE (meV/Å)", "energy MAE (meV/atom)"), strict=True):
            axis.set(yscale="log", xlabel="epoch", ylabel=f"validation {what}", title=size)
            axis.legend()
    figure.savefig(path, dpi=110)
    return {}


if __name__ == "__main__":
    steps = {f.__name__: f for f in (prepare, tunesmith, judge, draw)}
    print(json.dumps(steps[sys.argv[1]](**json.loads(sys.argv[2]))))
