"""How wrong a posterior's energies may be by the tangent kernel of its network, not its members.

In a nearly linear network what is learnt of one structure tells something of another as far as
their gradients with respect to the weights are alike. A Gaussian process with that kernel, on what
the foundation got wrong of the labels, gives every structure a variance (`residual_gp`): near zero
beside a label, up to γ̂ far from all. One backward pass of one network replaces the members' passes.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import numpy as np
from ase import Atoms

from tunesmith.core import Frame, Prediction, Quantities
from tunesmith.errors import DataError
from tunesmith.features.compute_features import REPRESENTATIONS, compute
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.posterior.residual_gp import ResidualGP


def residuals(foundation: Ensemble, frames: Sequence[Frame]) -> np.ndarray:
    """What the foundation, with the posterior's E0s, gets wrong of labels: (n,) eV.

    One by one, so that a label's is the same to the bit whatever it is asked for with.
    """
    found = [
        f.label.energy - float(foundation.predict([f.atoms], spread="energy").mean.energy[0])
        for f in frames
        if f.label is not None
    ]
    return np.array(found)


class Tangent:
    """A posterior whose energies have the kernel's variance in place of the members'.

    posterior: whose mean, and whose mean weights' gradients, count; one member will do. frames:
    all labels learnt from; wrong: their `residuals`. The noise is the likelihood's, as that of
    members. Forces have no variance (NaN). Where the labels tell no scale of errors (fewer than
    two, or errors all the same) neither have energies, which a criterion takes for a reason to ask.
    """

    def __init__(self, posterior: Ensemble, frames: Sequence[Frame], wrong: np.ndarray) -> None:
        self._posterior, self._representation = posterior, REPRESENTATIONS.get("ntk")()
        self._process: ResidualGP | None = None
        # averaged once: every step of the dynamics asks for its vector
        network = posterior.network()
        self._network = Ensemble(network.potential, [network.weights], posterior.e0s)
        if len(wrong) > 1 and np.ptp(wrong) > 0:
            features = compute(self._representation, frames, self._network)
            self._process = ResidualGP.fit(features, wrong, kernel=self._representation.kernel)

    def predict(
        self,
        frames: list[Atoms],
        *,
        stress: bool = False,
        spread: Literal["all", "energy"] = "energy",
    ) -> Prediction:
        """As `Ensemble.predict`; the variance is of energies alone, eV²."""
        own = self._posterior.predict(frames, stress=stress, spread="energy")
        std = np.full(len(frames), np.nan)
        if self._process is not None:
            # what cannot be represented, as atoms on top of each other, is as uncertain as can be
            with suppress(DataError):
                features = compute(self._representation, frames, self._network)
                std = self._process.predict(features)[1]
        none = None if own.mean.stress is None else np.full(own.mean.stress.shape, np.nan)
        variance = Quantities(std**2, np.full(own.mean.forces.shape, np.nan), none)
        return replace(own, var_model=variance)
