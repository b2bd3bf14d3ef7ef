"""Pretrain organic-xs with tunesmith's own trainer.

    python recipes/organic-xs/pretrain.py --data build/organic-xs --out build/organic-xs/fit

Killed and started again it goes on where it stood. The description of the network stands below;
everything learnt from the data (E0s, scale, shift, mean number of neighbours) is computed here.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunesmith import files, tensor_files
from tunesmith.core import Base, E0s, Frame
from tunesmith.data.e0 import choose_e0s
from tunesmith.data.formats import read_frames
from tunesmith.potentials.mace import mace_files
from tunesmith.potentials.mace.mace_potential import MACEPotential
from tunesmith.tune.adamw import AdamW
from tunesmith.tune.anchor import NoAnchor
from tunesmith.tune.loss import Huber
from tunesmith.tune.problem import Problem
from tunesmith.tune.subspace import All

ELEMENTS = [1, 6, 7, 8]
NETWORK: dict[str, Any] = {
    "r_max": 4.5,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "hidden_irreps": "32x0e+32x1o",
    "MLP_irreps": "16x0e",
    "correlation": 2,
    "num_interactions": 2,
    "radial_MLP": [64, 64, 64],
    "elements": ELEMENTS,
}


def describe(train: list[Frame], e0s: E0s, hidden: str, neighbours: float) -> dict[str, Any]:
    """The network and the constants it takes from the data (eV, eV/Å)."""
    binding = [(f.label.energy - e0s.total(f.atoms.numbers)) / len(f.atoms) for f in train]
    forces = np.concatenate([f.label.forces.ravel() for f in train])
    return NETWORK | {
        "hidden_irreps": hidden,
        "e0s": [e0s.values[z] for z in ELEMENTS],
        "avg_num_neighbors": neighbours,
        "scale": float(np.sqrt(np.mean(forces**2))),
        "shift": float(np.mean(binding)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of generate.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and result")
    parser.add_argument("--hidden", default=NETWORK["hidden_irreps"], help="hidden irreps")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)  # mace draws its first weights from torch's own generator
    train, valid, isolated = (
        read_frames(args.data / f"{name}.xyz")[0] for name in ("train", "valid", "isolated_atoms")
    )
    zero = dict.fromkeys(ELEMENTS, 0.0)
    e0s = choose_e0s("isolated", frames=train, isolated=isolated, foundation=zero)
    sample = train[:: max(1, len(train) // 500)]
    edges = [mace_files.neighbours(f.atoms, NETWORK["r_max"])[0].shape[1] for f in sample]
    mean = sum(edges) / sum(len(f.atoms) for f in sample)
    network = describe(train, e0s, args.hidden, mean)
    potential = MACEPotential(
        mace_files.build(network), Base("organic-xs", "", "mace"), device=args.device
    )
    sampler = AdamW(
        learning_rate=args.learning_rate,
        epochs=args.epochs,
        patience=args.epochs,
        batch_size=args.batch_size,
        ema=args.ema,
        clip=10.0,
        amsgrad=True,
        schedule="cosine",
        warmup_steps=200,
    )
    problem = Problem(
        potential,
        All(),
        NoAnchor(),
        # at λ_E = 10 the total energies lag far behind the forces
        Huber(energy=30.0),
        train,
        valid,
        e0s,
        args.seed,
    )
    print(
        f"{len(train)} frames, {mean:.1f} neighbours, scale {network['scale']:.3f} eV/Å", flush=True
    )
    fit = sampler.fit(problem, args.out, lambda line: print(line, flush=True))
    moved = {name: value[0] for name, value in fit.moved.items()}
    weights = problem.subspace.expand(potential.weights(), moved)
    best = {"best_epoch": fit.details["best_epoch"]}
    tensor_files.write(args.out / "weights.safetensors", weights, best)
    settings = {"network": network, "sampler": sampler.model_dump(), "seed": args.seed}
    settings["frames"] = len(train)
    files.write_text(args.out / "model.json", json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
