"""The spread of a few members as that of more: what fewer members say is noisier, and a law that is
fitted to noisy spreads is too flat.

Where M members are drawn from a Gaussian of standard deviation s, with ν = M − 1

    ln σ̂ = ln s + ½ [ψ(ν/2) − ln(ν/2)] + noise,     variance of the noise τ_ν = ψ′(ν/2)/4

(0.41 of three members, 0.08 of eight). Points whose ln s is spread by V give, by largest
likelihood, not the exponent b but about b V/(V + τ_ν): errors in a regressor attenuate its slope
(regression calibration: Carroll et al., Measurement Error in Nonlinear Models, 2006, chapter 4).
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import digamma, polygamma


def as_of(stds: Sequence[np.ndarray], members: Sequence[int], more: int) -> list[np.ndarray]:
    """The spread that ``more`` members would have shown, by what is known of ln s from fewer.

    stds: of every structure, any shape, over zero; members: of every structure, from how many they
    are. Centre and variance V of ln s are those of all points together. Returned is the σ̂ of
    ``more`` members from which as much would be concluded: E[ln s | σ̂] is the same. Where V is no
    more than noise all points become alike.
    """
    dof = [m - 1 for m in members]
    logs = [np.log(s) - _offset(d) for s, d in zip(stds, dof, strict=True)]
    together = np.concatenate([log.ravel() for log in logs])
    noise = np.average([_noise(d) for d in dof], weights=[log.size for log in logs])
    centre, varied = together.mean(), max(together.var() - noise, 0.0)
    wanted = more - 1
    shares = [(varied + _noise(wanted)) / (varied + _noise(d)) for d in dof]
    if varied == 0:
        shares = [0.0] * len(dof)
    return [
        np.exp(centre + share * (log - centre) + _offset(wanted))
        for log, share in zip(logs, shares, strict=True)
    ]


def _offset(dof: int) -> float:
    """Mean of ln σ̂ − ln s."""
    return float(digamma(dof / 2) - np.log(dof / 2)) / 2


def _noise(dof: int) -> float:
    """Variance of ln σ̂ for given s."""
    return float(polygamma(1, dof / 2)) / 4
