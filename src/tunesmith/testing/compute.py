"""What the checks of the contract share: predictions as float64 arrays, tolerances, derivatives."""

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike

from tunesmith.core import Quantities, Tensor, Weights
from tunesmith.potentials.potential import Potential


@dataclass(frozen=True)
class Tolerance:
    """How well numbers must agree, relative to the largest of them (at least 1).

    same: the same sum in another order. derivative: an analytical derivative against a finite
    difference. step: of that difference, relative to the size of what is moved.
    """

    same: float
    derivative: float
    step: float


DOUBLE = Tolerance(same=1e-9, derivative=1e-6, step=2e-4)
SINGLE = Tolerance(same=3e-5, derivative=5e-3, step=1e-2)


def tolerance(potential: Potential) -> Tolerance:
    """The tolerance that the precision a potential computes in allows."""
    return DOUBLE if potential.dtype == torch.float64 else SINGLE


def file_tolerance(potential: Potential) -> Tolerance:
    """The same, of what has been through a file of the package."""
    return tolerance(potential) if potential.capabilities.native_float64 else SINGLE


def predict(
    potential: Potential,
    frames: list[Atoms],
    *,
    weights: Weights | None = None,
    stress: bool = False,
) -> Quantities:
    """Energy without E0s, forces and stress of structures, in one batch."""
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    out = potential.evaluate(weights or potential.weights(), batch, stress=stress)
    assert out.forces is not None
    tensor = None if out.stress is None else array(out.stress)
    return Quantities(array(out.energy), array(out.forces), tensor)


def energies(potential: Potential, frames: list[Atoms]) -> np.ndarray:
    """Energy without E0s of structures, eV."""
    return predict(potential, frames).energy


def features(potential: Potential, frames: list[Atoms]) -> np.ndarray:
    """Invariant features of all atoms, (A, d)."""
    batch = potential.batch([potential.graph(atoms) for atoms in frames])
    return array(potential.features(potential.weights(), batch))


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def close(found: ArrayLike, expected: ArrayLike, relative: float, what: str) -> None:
    """Raise AssertionError unless two arrays agree within ``relative`` × max(1, largest size)."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shapes {found.shape} and {expected.shape}"
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    error = np.abs(found - expected)
    # not "error > …", which NaN would pass
    assert np.all(error <= relative * scale), (
        f"{what}: off by {np.nanmax(error):.2e} of {scale:.2e}, allowed {relative * scale:.1e}"
    )


#: five-point stencil: offsets in steps, and weights of f'(0) · step
OFFSETS = (-2, -1, 1, 2)
WEIGHTS = np.array([1, -8, 8, -1]) / 12


def slope(values: np.ndarray, step: float) -> np.ndarray:
    """Derivative from values at `OFFSETS` times ``step`` along the first axis, error O(step⁴)."""
    return np.tensordot(WEIGHTS, values, axes=1) / step


def move(start: Weights, direction: Weights, amount: float) -> Weights:
    """Weights plus ``amount`` times a direction."""
    return {k: w + amount * direction[k] if k in direction else w for k, w in start.items()}


def random_direction(potential: Potential, seed: int) -> Weights:
    """A direction in the space of trainable weights, as large as each weight is spread, at most 1.

    Frequencies of a basis are large numbers, but act as phases.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = potential.weights()
    found = {}
    for name in potential.names.trainable():
        noise = torch.randn(weights[name].shape, generator=generator, dtype=torch.float64)
        size = min(weights[name].double().square().mean().sqrt().item(), 1.0) or 0.1
        found[name] = (size * noise).to(weights[name])
    return found
