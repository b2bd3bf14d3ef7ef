"""The network itself, its files and its own ASE calculator: what a model package has anyway."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

from tinyparts.eam_zoo import FORMAT
from tunesmith.errors import ModelError

Weights = dict[str, torch.Tensor]
CHANNELS, GAUSSIANS = 8, 6


def drawn(elements: int, generator: torch.Generator) -> Weights:
    """Weights as training starts from them, float64."""
    shapes = {
        "embedding": (elements, CHANNELS),
        "radial": (CHANNELS, GAUSSIANS),
        "mix": (CHANNELS, CHANNELS),
        "readout": (CHANNELS,),
    }
    weights = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    weights["mix"] /= CHANNELS**0.5
    return weights | {"scale": torch.ones((), dtype=torch.float64)}


def atomic(
    weights: Weights, rows: torch.Tensor, edges: torch.Tensor, lines: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies (A,) and features (A, c) of atoms.

    rows: (A, c), their elements' embeddings. edges: (2, e), sender and receiver. lines: (e, 3) Å.
    """
    sender, receiver = edges
    near = lines.square().sum(1)
    r = near.sqrt()
    centres = torch.linspace(0.5, cutoff, GAUSSIANS).to(lines)
    waves = torch.exp(-2 * (r[:, None] - centres).square())
    # its second derivative vanishes at the cutoff too
    fade = (1 - near / cutoff**2).clamp(min=0) ** 3
    density = torch.zeros_like(rows).index_add(
        0, receiver, rows[sender] * (waves @ weights["radial"].T) * fade[:, None]
    )
    features = torch.tanh(rows * density)
    inner = torch.nn.functional.silu(features @ weights["mix"])
    return weights["scale"] * (inner @ weights["readout"]), features


def content(elements: list[int], cutoff: float, e0s: dict[int, float], weights: Weights) -> Any:
    """What a file holds: tensors and plain values, so that reading one can run no code."""
    held = {"elements": elements, "cutoff": cutoff, "e0s": e0s}
    weights = {k: v.detach().cpu().double().clone() for k, v in weights.items()}
    return {"format": FORMAT, **held, "weights": weights}


def read(path: Path) -> tuple[dict[str, Any], str]:
    """A file, and its sha256. Raises `ModelError` for one that holds more than plain values."""
    stored = path.read_bytes()
    try:
        held = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        raise ModelError(
            f"{path} holds more than tensors and plain values, and is not read."
        ) from None
    return held, hashlib.sha256(stored).hexdigest()


class EAMCalculator(Calculator):
    """The package's own calculator of one of its files."""

    implemented_properties = ("energy", "forces", "stress")  # type: ignore[assignment]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.held = read(path)[0]

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, changes)
        assert self.atoms is not None
        held, at = self.held, self.atoms
        i, j, lines = neighbor_list("ijD", at, held["cutoff"])
        place = {z: k for k, z in enumerate(held["elements"])}
        rows = held["weights"]["embedding"][[place[z] for z in at.numbers.tolist()]]
        vectors = torch.tensor(lines.reshape(-1, 3), requires_grad=True)
        edges = torch.from_numpy(np.stack([i, j]))
        energies = atomic(held["weights"], rows, edges, vectors, held["cutoff"])[0]
        (slope,) = torch.autograd.grad(energies.sum(), vectors)
        pulls, forces = slope.numpy(), np.zeros((len(at), 3))
        np.add.at(forces, i, pulls)
        np.add.at(forces, j, -pulls)
        own = sum(held["e0s"][z] for z in at.numbers.tolist())
        self.results = {"energy": float(energies.detach().sum()) + own, "forces": forces}
        if at.pbc.all():
            tensor = lines.T @ pulls / at.get_volume()
            self.results["stress"] = tensor.flat[[0, 4, 8, 5, 2, 1]]
