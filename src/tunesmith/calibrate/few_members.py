"""Few members: their spread is noisy, and a law that is fitted to noisy spreads is too flat.

Where M members are drawn from a Gaussian of standard deviation s, with ν = M − 1

    ln σ̂ = ln s + ½ [ψ(ν/2) − ln(ν/2)] + noise,     variance of the noise τ_ν = ψ′(ν/2)/4

(0.41 of three members, 0.08 of eight). Points whose ln s is spread by V give, by largest
likelihood, not the exponent b but about b V/(V + τ_ν): errors in a regressor attenuate its slope
(regression calibration: Carroll et al., Measurement Error in Nonlinear Models, 2006, chapter 4).

To foretell errors from the spread of as many members the flat law is right: a spread that is large
is often so by chance. Where an attack changes one structure's spread, by members that stay the
same, its noise is not drawn anew, and the law to follow is steeper (`followed`).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.special import digamma, polygamma

from tunesmith.calibrate import spreads
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.contracts import Law

#: attacks follow the law that so many members would have. At twice the plain error laws of 3, 5 and
#: 10 members so led to 1.4, 1.1 and 1.4 times the target, by themselves to 9, 3.7 and 1.8 times
#: (python -m bench cago)
MANY = 20
#: the exponent grows by this factor at most
_STEEPEST = 4.0


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


class Followed(Law):
    """A power law of fewer members for spreads that are followed, as if of `MANY`.

    A spread σ̂ is first taken back to that of the law's own members, c (σ̂/c′)^p: the inverse of
    `as_of`, power: p, at: c, to: c′.
    """

    law: PowerLaw
    power: float
    at: float
    to: float

    kind: ClassVar[str] = PowerLaw.kind

    def std(self, raw: Any) -> Any:
        """As of `PowerLaw`."""
        return self.law.std(self._own(raw))

    def exceedance(self, std: Any, threshold: Any) -> Any:
        """As of `PowerLaw`."""
        return self.law.exceedance(self._own(std), threshold)

    def derivative(self, raw: Any) -> Any:
        """As of `PowerLaw`; 0 at 0."""
        raw = np.asarray(raw, float)
        own = self._own(raw)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = self.law.derivative(own) * self.power * own / raw
        return np.where(raw > 0, slope, 0.0)[()]

    def _own(self, raw: Any) -> Any:
        return self.at * (np.asarray(raw, float) / self.to) ** self.power


def followed(law: Law | None, members: int) -> Law | None:
    """The law for an attack, of one that was fitted to the spreads of so many members.

    Any other than a power law, and one of many members, is returned as it is.
    """
    if not isinstance(law, PowerLaw) or not law.records or members >= MANY:
        return law
    rows = spreads.columns(law.table)
    variance = np.average((rows.log - np.log(rows.centre)) ** 2, weights=rows.weight)
    varied, few, many = variance - _noise(members - 1), _noise(members - 1), _noise(MANY - 1)
    power = _STEEPEST
    if varied > 0:
        power = min(power, (varied + few) / (varied + many))
    shift = np.exp(_offset(MANY - 1) - _offset(members - 1))
    to = rows.centre * float(shift)
    return Followed(law=law, power=power, at=rows.centre, to=to)


def _offset(dof: int) -> float:
    """Mean of ln σ̂ − ln s."""
    return float(digamma(dof / 2) - np.log(dof / 2)) / 2


def _noise(dof: int) -> float:
    """Variance of ln σ̂ for given s."""
    return float(polygamma(1, dof / 2)) / 4
