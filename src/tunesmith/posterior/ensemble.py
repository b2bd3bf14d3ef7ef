"""Posteriors made of members: mean, variance over members, and the members' own noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from ase import Atoms

from tunesmith.contracts import ClosedForm, Law, Posterior
from tunesmith.core import (
    BY_MEMBERS,
    E0s,
    Members,
    NoiseScale,
    Prediction,
    Quantities,
    Tensor,
    Weights,
)
from tunesmith.errors import ModelError
from tunesmith.features.representation import Network
from tunesmith.posterior import members_file, noise_head
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Batch, Evaluation, Potential, stack


class Ensemble(Posterior):
    """M sets of weights of one potential; M = 1 has no spread over members.

    potential: computes. weights: M full sets; tensors that all of them share are computed with
    once. e0s: isolated-atom energies of all members. noise_scale: of the likelihood they were
    sampled with; None: no noise is predicted. noise: weights of every member's noise head, or
    none. calibration: as of `Members`, for whoever shows error bars; predictions are raw.
    """

    e0s: E0s

    def __init__(
        self,
        potential: Potential,
        weights: Sequence[Weights],
        e0s: E0s,
        *,
        noise_scale: NoiseScale | None = None,
        noise: Sequence[Weights] = (),
        calibration: Mapping[str, Law] | None = None,
    ) -> None:
        self._potential, self.weights, self.e0s = potential, list(weights), e0s
        self.noise_scale, self.noise = noise_scale, [w for w in noise if w]
        self.calibration = dict(calibration or {})
        self._shared, self._stacked = stack(self.weights)

    @classmethod
    def of(cls, potential: Potential, members: Members) -> Self:
        """Members of this potential, with their noise and calibration."""
        all_ = range(len(members))
        return cls(
            potential,
            [members.expand(i) for i in all_],
            members.e0s,
            noise_scale=members.noise_scale,
            noise=[members.noise_of(i) for i in all_],
            calibration=members.calibration,
        )

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def potential(self) -> Potential:
        return self._potential

    @property
    def members(self) -> Self:
        return self

    @property
    def judged(self) -> tuple[str, ...]:
        if len(self) > 1:
            return ("energy", "forces", "stress", BY_MEMBERS)
        return () if self.noise_scale is None else ("energy", "forces", "stress")

    def predict(
        self,
        frames: list[Atoms],
        *,
        stress: bool = False,
        spread: Literal["all", "energy"] = "all",
    ) -> Prediction:
        """Total energies (E0s included), forces and, if asked, stress of structures.

        spread: "energy" leaves the variances and the members' own values of forces and stress NaN
        and takes the forces from one backward pass of the mean energy.
        Raises `DataError` for elements the potential does not know.
        """
        graphs = [self.potential.graph(atoms) for atoms in frames]
        batch = self.potential.batch(graphs)
        each = spread == "all"
        features = each and bool(self.noise)
        out = self.evaluate(batch, each=each, stress=stress, features=features)
        zero = np.array([self.e0s.total(g.numbers) for g in graphs])
        members, mean = self._members(out, zero, each)
        counts = np.array([len(g) for g in graphs])
        noise = None if self.noise_scale is None else self._noise(out, batch, self.noise_scale)
        if len(self) == 1:
            return Prediction(mean, counts, var_noise=noise)
        each_member = tuple(
            Quantities(e, f, None if members.stress is None else members.stress[i])
            for i, (e, f) in enumerate(zip(members.energy, members.forces, strict=True))
        )
        return Prediction(mean, counts, _variance(members), noise, each_member)

    def evaluate(self, batch: Batch, **options: bool) -> Evaluation:
        """`Potential.evaluate_members` of these members."""
        return self.potential.evaluate_members(self._shared, self._stacked, batch, **options)

    def network(self) -> Network:
        """The one network that represents structures: the member, or of several the mean weights.

        Not the mean of the members' vectors: one pass instead of M, and the vectors then belong to
        one network, whose linearisation a kernel is.
        """
        several = len(self) > 1
        return Network(self.potential, mean_weights(self.weights) if several else self.weights[0])

    def few(self, indices: Sequence[int]) -> "Ensemble":
        """The posterior of some of the members, with all else that this one has."""
        return Ensemble(
            self.potential,
            [self.weights[i] for i in indices],
            self.e0s,
            noise_scale=self.noise_scale,
            noise=[self.noise[i] for i in indices] if self.noise else (),
            calibration=self.calibration,
        )

    @property
    def law_by_members(self) -> Law | None:
        """The calibration of what members' forces differ by, noise left out; None: there is none.

        Raises `ModelError` where there is only one of the whole spread, noise included.
        """
        if self.noise_scale is None:
            return self.calibration.get("forces")
        if len(self) > 1 and "forces" in self.calibration and BY_MEMBERS not in self.calibration:
            raise ModelError(
                "the run is of an older version of tunesmith, which calibrated the spread of "
                "forces only with predicted noise in it; tune or run it again, in another folder."
            )
        return self.calibration.get(BY_MEMBERS)

    def _atom_noise(self, features: Tensor | None, atoms: int) -> Tensor | None:
        """Mean over members of the variance they predict of an atom's force components (B.9).

        features: (M, A, d), which is only asked where members have noise heads; atoms: A.
        (A,) eV²/Å², float64 on the CPU; None where no noise is predicted.
        """
        if self.noise_scale is None:
            return None
        if not self.noise or features is None:
            value = torch.nan if self.noise else self.noise_scale.forces**2
            return torch.full((atoms,), value, dtype=torch.float64)
        heads = zip(self.noise, features, strict=True)
        own = [noise_head.variance(w, x, self.noise_scale.forces) for w, x in heads]
        return torch.stack([v.cpu().double() for v in own]).mean(0)

    def _members(
        self, out: Evaluation, zero: np.ndarray, each: bool
    ) -> tuple[Quantities, Quantities]:
        """Every member's values, with a leading axis, and their mean."""
        assert out.forces is not None
        energy, forces = _array(out.energy) + zero, _array(out.forces)
        stress = None if out.stress is None else _array(out.stress)
        if each:
            members = Quantities(energy, forces, stress)
            return members, _mean(members)
        unknown = Quantities(
            energy,
            np.full((len(self), *forces.shape), np.nan),
            None if stress is None else np.full((len(self), *stress.shape), np.nan),
        )
        return unknown, Quantities(energy.mean(0), forces, stress)

    def _noise(self, out: Evaluation, batch: Batch, scale: NoiseScale) -> Quantities:
        """Mean over members of the variances they predict for a label (B.9)."""
        n = len(batch)
        atoms = self._atom_noise(out.features, len(batch.index))
        assert atoms is not None
        forces = np.repeat(_array(atoms)[:, None], 3, axis=1)
        stress = None
        if out.stress is not None:
            periodic = _array(batch.periodic)[:, None, None]
            stress = np.where(periodic, scale.stress**2, np.nan) * np.ones((n, 3, 3))
        return Quantities(np.full(n, scale.energy**2), forces, stress)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _mean(all_: Quantities) -> Quantities:
    stress = None if all_.stress is None else all_.stress.mean(0)
    return Quantities(all_.energy.mean(0), all_.forces.mean(0), stress)


def _variance(all_: Quantities) -> Quantities:
    """Over members, M−1 denominator."""
    stress = None if all_.stress is None else all_.stress.var(0, ddof=1)
    return Quantities(all_.energy.var(0, ddof=1), all_.forces.var(0, ddof=1), stress)


def mean_weights(weights: Sequence[Weights]) -> Weights:
    """Every weight's mean over members."""
    return {
        name: torch.stack([w[name].double() for w in weights]).mean(0).to(first)
        for name, first in weights[0].items()
    }


def posterior_of(potential: Potential, members: Members) -> Posterior:
    """The posterior that members of this potential are: with a spread of their own, or in closed
    form."""
    own = Ensemble.of(potential, members)
    if members.closed is None:
        return own
    closed: ClosedForm = members.closed
    return closed.posterior(own)


def open_model(
    source: str | Path,
    *,
    head: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> Posterior:
    """A posterior from a known name, a model file or a run folder.

    Raises `ModelError` or `RunFolderError` in one sentence.
    """
    if Path(source).expanduser().is_dir():
        if head is not None:
            raise ModelError(f"{source} is a run folder, which has one head; leave head out.")
        potential, members = members_file.load(
            Path(source).expanduser(), dtype=dtype, device=device
        )
        return posterior_of(potential, members)
    potential = zoo.load(str(source), head=head, dtype=dtype, device=device)
    return Ensemble(potential, [potential.weights()], E0s(potential.e0s))
