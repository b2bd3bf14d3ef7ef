"""Posteriors made of members: mean, and variance over members."""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from tunesmith.core import E0s, Prediction, Quantities, Weights
from tunesmith.errors import ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.base import Batch, Evaluation, Potential
from tunesmith.tune import members as members_file


class Ensemble:
    """M sets of weights of one potential; M = 1 has no spread.

    potential: computes. weights: M full sets. e0s: isolated-atom energies of all members.
    """

    def __init__(self, potential: Potential, weights: list[Weights], e0s: E0s) -> None:
        self.potential, self.weights, self.e0s = potential, weights, e0s

    def __len__(self) -> int:
        return len(self.weights)

    def predict(self, frames: list[Atoms], *, stress: bool = False) -> Prediction:
        """Total energies (E0s included), forces and, if asked, stress of structures.

        Raises `DataError` for elements the potential does not know.
        """
        graphs = [self.potential.graph(atoms) for atoms in frames]
        batch = self.potential.batch(graphs)
        zero = np.array([self.e0s.total(g.numbers) for g in graphs])
        each = tuple(self._member(w, batch, zero, stress) for w in self.weights)
        counts = np.array([len(g) for g in graphs])
        if len(each) == 1:
            return Prediction(each[0], counts)
        return Prediction(_mean(each), counts, var_model=_variance(each), members=each)

    def _member(self, weights: Weights, batch: Batch, zero: np.ndarray, stress: bool) -> Quantities:
        out: Evaluation = self.potential.evaluate(weights, batch, stress=stress)
        assert out.forces is not None

        def array(tensor: torch.Tensor) -> np.ndarray:
            return tensor.detach().cpu().double().numpy()

        return Quantities(
            array(out.energy) + zero,
            array(out.forces),
            None if out.stress is None else array(out.stress),
        )


def _stack(each: tuple[Quantities, ...]) -> Quantities:
    stresses = [q.stress for q in each if q.stress is not None]
    return Quantities(
        np.stack([q.energy for q in each]),
        np.stack([q.forces for q in each]),
        np.stack(stresses) if stresses else None,
    )


def _mean(each: tuple[Quantities, ...]) -> Quantities:
    all_ = _stack(each)
    stress = None if all_.stress is None else all_.stress.mean(0)
    return Quantities(all_.energy.mean(0), all_.forces.mean(0), stress)


def _variance(each: tuple[Quantities, ...]) -> Quantities:
    """Over members, M−1 denominator."""
    all_ = _stack(each)
    stress = None if all_.stress is None else all_.stress.var(0, ddof=1)
    return Quantities(all_.energy.var(0, ddof=1), all_.forces.var(0, ddof=1), stress)


def open_model(
    source: str | Path,
    *,
    head: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> Ensemble:
    """A posterior from a known name, a model file or a run folder.

    Raises `ModelError` or `RunFolderError` in one sentence.
    """
    if Path(source).expanduser().is_dir():
        if head is not None:
            raise ModelError(f"{source} is a run folder, which has one head; leave head out.")
        potential, members = members_file.load(
            Path(source).expanduser(), dtype=dtype, device=device
        )
        weights = [members.expand(i) for i in range(len(members))]
        return Ensemble(potential, weights, members.e0s)
    potential = zoo.load(str(source), head=head, dtype=dtype, device=device)
    return Ensemble(potential, [potential.weights()], E0s(potential.e0s))
