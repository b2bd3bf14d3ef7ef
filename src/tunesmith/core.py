"""The vocabulary every part shares: labels, predictions, posteriors, members.

Units everywhere: eV, Å, eV/Å, eV/Å³. Stress has ASE's sign (positive under tension) and is a
full 3×3 tensor inside the package. Arrays of a set of B structures with A atoms in all are
concatenated: energies (B,), forces (A, 3), stress (B, 3, 3).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor
    Weights = dict[str, Tensor]
else:  # torch takes a second to import, and settings, labels and messages never need it
    Tensor = Any
    Weights = dict[str, Any]


class Settings(BaseModel):
    """Base of every object a configuration can name: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def filled(cls, values: dict[str, Any]) -> dict[str, Any]:
        """What was given, and what follows from it for what was not. Twice is as once."""
        return values

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        return cls.filled(dict(values)) if isinstance(values, dict) else values


def derived_seed(seed: int, *name: object) -> int:
    """The seed of one part of a run, from the run's one seed and the part's name."""
    text = repr((seed, *name)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


#: the calibration of what members' forces differ by, noise that they predict beside it left out
BY_MEMBERS = "forces_by_members"
#: λ that regularises a kernel matrix, in units of the kernel, where nothing else is given
KERNEL_NOISE = 1e-3

# ----------------------------------------------------------------------------- labels


@dataclass(frozen=True)
class Label:
    """What the reference says of one structure, raw: never shifted, never rounded.

    energy: eV, the energy the forces are the gradient of (ASE's ``free_energy`` where there is
    one). forces: (n, 3) eV/Å, constraints not applied. stress: (3, 3) eV/Å³ or None.
    energy_zero: the energy extrapolated to zero smearing, where the engine gives both; eV.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None = None
    energy_zero: float | None = None


@dataclass(frozen=True)
class Frame:
    """One structure of a data set: its atoms (no calculator, no constraints), its label or None.

    origin: where it came from, for messages (``train.xyz#12``). weight: of this frame in the loss.
    config_type: the user's name for its kind; "IsolatedAtom" marks E0 frames. Charge and spin
    multiplicity (2S+1), where the file gives them, are ``atoms.info["charge"]`` and
    ``atoms.info["multiplicity"]``.
    """

    atoms: Atoms
    label: Label | None
    origin: str
    weight: float = 1.0
    config_type: str = "Default"


@dataclass(frozen=True)
class E0s:
    """Energies of isolated atoms, and for which compositions they fix the total energy.

    values: atomic number → eV. method and reason: how they were chosen, in words for the user.
    compositions: rows of counts over ``elements`` whose span is fixed by the labels; None when
    every composition of those elements is.
    """

    values: dict[int, float]
    method: str = "foundation"
    reason: str = ""
    elements: tuple[int, ...] = ()
    compositions: tuple[tuple[int, ...], ...] | None = None

    def fixes(self, numbers: np.ndarray) -> bool:
        """Whether the total energy of a structure with these atomic numbers is determined."""
        if self.compositions is None:
            return set(np.unique(numbers)) <= set(self.values)
        if not set(np.unique(numbers)) <= set(self.elements):
            return False
        span = np.array(self.compositions, float).reshape(-1, len(self.elements))
        row = np.array([np.sum(numbers == z) for z in self.elements], float)
        coefficients = np.linalg.lstsq(span.T, row, rcond=None)[0]
        return bool(np.linalg.norm(span.T @ coefficients - row) < 1e-6 * max(1.0, row.sum()))

    def total(self, numbers: np.ndarray) -> float:
        """Sum over atoms, eV, in float64."""
        return float(sum(self.values[int(z)] for z in numbers))


#: what can go wrong with a reference call
FAILURE_KINDS = (
    "not-converged",
    "crashed",
    "timed-out",
    "nan",
    "unphysical",
    "engine-missing",
    "refused",
    "not-reproducible",
    "inconsistent",
)


@dataclass(frozen=True)
class Failure:
    """Why there is no label. kind: one of `FAILURE_KINDS`; scratch: the folder kept, or None."""

    kind: str
    reason: str
    scratch: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAILURE_KINDS:
            raise ValueError(f"unknown kind of failure {self.kind!r}")


class Reference(Protocol):
    """Who knows the answer."""

    kind: str

    def label(self, atoms: Atoms) -> Label | Failure:
        """Label one structure. Never raises for what a calculation does; `Failure` says it."""
        ...

    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers: kind, settings, engine version. JSON values.

        Part of the label store's cache key; what changes no number (number of threads, scratch
        folder, time limit) is left out.
        """
        ...


# ----------------------------------------------------------------------- predictions

T = TypeVar("T", np.ndarray, "Tensor")


@dataclass(frozen=True)
class Quantities:
    """Energies (B,), forces (A, 3), stress (B, 3, 3) or None of a set of structures.

    Stress of structures without three periodic directions is NaN. float64.
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None = None


@dataclass(frozen=True)
class Prediction:
    """What a posterior says of a set of structures.

    mean; var_model: variance over members (M−1 denominator), None for a single member;
    var_noise: the mean of the members' predicted noise variances, or None; members: every
    member's own values (M of them), or None; n_atoms: (B,) atoms per structure.
    """

    mean: Quantities
    n_atoms: np.ndarray
    var_model: Quantities | None = None
    var_noise: Quantities | None = None
    members: tuple[Quantities, ...] | None = None

    def std(self) -> Quantities | None:
        """Raw standard deviation sqrt(var_model + var_noise); None where there is no spread."""
        parts = [v for v in (self.var_model, self.var_noise) if v is not None]
        if not parts:
            return None
        stress = [v.stress for v in parts if v.stress is not None]
        return Quantities(
            np.sqrt(sum(v.energy for v in parts)),
            np.sqrt(sum(v.forces for v in parts)),
            np.sqrt(sum(stress)) if stress else None,
        )


# ----------------------------------------------------------------------- adversaries


@dataclass(frozen=True)
class Judged:
    """An objective's value for what M models say of one structure of n atoms, and its slopes.

    std: (n,) eV/Å, the force error each atom is expected to have. slopes: of the value with respect
    to every model's energy (M,), forces (M, n, 3) and stress (M, 3, 3), None where it does not
    matter.
    """

    value: float
    std: np.ndarray
    slopes: Quantities


class Objective(Protocol):
    """What a structure is changed to make small: a function of what several models say of it."""

    @property
    def needs_stress(self) -> bool: ...

    def judge(self, members: Quantities) -> Judged:
        """members: energy (M,) eV, forces (M, n, 3), stress (M, 3, 3) or None."""
        ...


@dataclass(frozen=True)
class Point:
    """An objective at one geometry: its value, the expected force errors ``std`` (n,) eV/Å, and
    its gradient: by the positions in the same cell (n, 3), and by a strain η (3, 3) that takes
    positions x to x(1 + η) and the cell h to h(1 + η)."""

    value: float
    std: np.ndarray
    positions: np.ndarray
    strain: np.ndarray


# --------------------------------------------------------------------------- members


@dataclass(frozen=True)
class Base:
    """The model that members are differences to: how to find it and how to know it again.

    source: zoo name or path; sha256: of the file (weights); package: as its backend says; head: or
    None.
    """

    source: str
    sha256: str
    package: str
    head: str | None = None


class Subspace(Protocol):
    """Which weights may move, and how the moved ones are written (`tune/subspace.py`).

    A coordinate is named after the weight it moves, with anything behind a bar. linear: whether
    full weights are an affine function of the coordinates.
    """

    @property
    def linear(self) -> bool: ...

    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """The coordinates of the untouched model."""
        ...

    def moves(self, name: str) -> bool:
        """Whether a coordinate may move; the others are constants, kept with the members."""
        ...

    def expand(self, weights: Weights, moved: Weights) -> Weights:
        """Full weights from the model's own and the moved coordinates (differentiable)."""
        ...

    def unit(self, model: Any, start: Weights) -> Weights:
        """Of every coordinate: the rms of the pretrained weights it moves, a scalar."""
        ...


@dataclass(frozen=True)
class NoiseScale:
    """The likelihood's fixed standard deviations: σ_E (eV), σ_S (eV/Å³), and the base scale of
    the forces' (eV/Å), which a noise head multiplies atom by atom."""

    energy: float
    forces: float
    stress: float


@dataclass(frozen=True)
class Members:
    """M models as one base plus what differs, tensors with a leading member axis.

    base: what they differ from. weights: the base's full weights (not saved with the members).
    subspace: how ``moved`` is expanded. moved: name →
    (M, …). e0s: the isolated-atom energies all members share. replay: name → (M, …), the
    coordinates that the head for replayed structures has of its own. noise: name → (M, …), weights
    of noise heads, apart because they belong to no native model; noise_scale: of the likelihood
    they were sampled with, None where there was none. calibration: "energy", "forces" and "stress"
    → `tunesmith.contracts.Law` of the whole spread, `BY_MEMBERS` → of that over members alone,
    where there is one. closed: what error bars come from in place of what members differ by
    (`tunesmith.contracts.ClosedForm`); None: they come from that.
    """

    base: Base
    weights: Weights
    subspace: Subspace
    moved: Weights
    e0s: E0s
    replay: Weights = field(default_factory=dict)
    noise: Weights = field(default_factory=dict)
    noise_scale: NoiseScale | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    closed: Any = None

    def __len__(self) -> int:
        return next(iter(self.moved.values())).shape[0]

    def expand(self, i: int) -> Weights:
        """Full weights of member ``i``."""
        return self.subspace.expand(self.weights, {k: v[i] for k, v in self.moved.items()})

    def replay_head(self, i: int) -> Weights:
        """Full weights of member ``i`` with its readouts for replayed structures."""
        own = {k: v[i] for k, v in {**self.moved, **self.replay}.items()}
        return self.subspace.expand(self.weights, own)

    def noise_of(self, i: int) -> Weights:
        """Weights of the noise head of member ``i``; empty where there is none."""
        return {k: v[i] for k, v in self.noise.items()}
