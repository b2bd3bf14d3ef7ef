"""How wrong a posterior's energies may be by the tangent kernel of its network, not its members.

In a nearly linear network what is learnt of one structure tells something of another as far as
their gradients with respect to the weights are alike. A Gaussian process with that kernel, on what
the foundation got wrong of the labels, gives every structure a variance (`residual_gp`): near zero
beside a label, up to γ̂ far from all. One backward pass of one network replaces the members' passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from ase import Atoms

from tunesmith.contracts import Posterior, Spread
from tunesmith.core import E0s, Frame, Members, Prediction, Quantities, Tensor
from tunesmith.errors import DataError
from tunesmith.features.compute_features import REPRESENTATIONS, compute
from tunesmith.features.representation import Network
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.posterior.residual_gp import ResidualGP
from tunesmith.potentials.potential import Potential


@dataclass(frozen=True)
class Tangents:
    """What the kernel knows of n labels, a `ClosedForm`.

    features: (n, d), of the mean network of the members that have learnt them. wrong: (n,) eV,
    `residuals` of the labels.
    """

    rule: Spread
    features: np.ndarray
    wrong: np.ndarray

    def posterior(self, members: Ensemble) -> "Tangent":
        return Tangent(members, self)

    def tensors(self) -> dict[str, Tensor]:
        # copies: what comes of a file may not be written to
        return {
            "features": torch.from_numpy(np.array(self.features)),
            "wrong": torch.from_numpy(np.array(self.wrong)),
        }


def tangents(
    rule: Spread, potential: Potential, members: Members, frames: Sequence[Frame]
) -> Tangents:
    """Of members that have learnt these labels, of which ``members.closed`` knows the first."""
    wrong = np.zeros(0) if members.closed is None else members.closed.wrong
    foundation = Ensemble(potential, [potential.weights()], members.e0s)
    wrong = np.append(wrong, residuals(foundation, frames[len(wrong) :]))
    network = _averaged(Ensemble.of(potential, members))
    return Tangents(rule, compute(REPRESENTATIONS.get("ntk")(), frames, network), wrong)


def residuals(foundation: Posterior, frames: Sequence[Frame]) -> np.ndarray:
    """What the foundation, with the posterior's E0s, gets wrong of labels: (n,) eV.

    One by one, so that a label's is the same to the bit whatever it is asked for with.
    """
    found = [
        f.label.energy - float(foundation.predict([f.atoms], spread="energy").mean.energy[0])
        for f in frames
        if f.label is not None
    ]
    return np.array(found)


def _averaged(members: Ensemble) -> Ensemble:
    """Their mean network alone, averaged once: every step of the dynamics asks for its vector."""
    network = members.network()
    return Ensemble(network.potential, [network.weights], members.e0s)


class Tangent(Posterior):
    """A posterior whose energies have the kernel's variance in place of the members'.

    members: whose mean, and whose mean weights' gradients, count; one member will do. The noise is
    the likelihood's, as that of members. Forces have no variance (NaN). Where the labels tell no
    scale of errors (fewer than two, or errors all the same) neither have energies, which a
    criterion takes for a reason to ask.
    """

    e0s: E0s

    def __init__(self, members: Ensemble, known: Tangents) -> None:
        self._members, self._representation = members, REPRESENTATIONS.get("ntk")()
        self.e0s, self.calibration = members.e0s, members.calibration
        self._network = _averaged(members)
        self._process: ResidualGP | None = None
        if len(known.wrong) > 1 and np.ptp(known.wrong) > 0:
            kernel = self._representation.kernel
            self._process = ResidualGP.fit(known.features, known.wrong, kernel=kernel)

    @property
    def judged(self) -> tuple[str, ...]:
        return () if self._process is None else ("energy",)

    @property
    def members(self) -> Ensemble:
        return self._members

    def network(self) -> Network:
        return self._network.network()

    def predict(
        self,
        frames: list[Atoms],
        *,
        stress: bool = False,
        spread: Literal["all", "energy"] = "energy",
    ) -> Prediction:
        """As `Ensemble.predict`; the variance is of energies alone, eV²."""
        own = self._members.predict(frames, stress=stress, spread="energy")
        std = self._std(frames)
        none = None if own.mean.stress is None else np.full(own.mean.stress.shape, np.nan)
        variance = Quantities(std**2, np.full(own.mean.forces.shape, np.nan), none)
        return replace(own, var_model=variance, members=None)

    def _std(self, frames: list[Atoms]) -> np.ndarray:
        """(n,) eV; NaN of what cannot be represented, as atoms on top of each other: it is as
        uncertain as can be."""
        if self._process is None:
            return np.full(len(frames), np.nan)
        try:
            features = compute(self._representation, frames, self._network)
        except DataError:
            if len(frames) == 1:
                return np.full(1, np.nan)
            return np.concatenate([self._std([atoms]) for atoms in frames])
        return self._process.predict(features)[1]
