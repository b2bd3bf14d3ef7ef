"""What a posterior must be, and what its error bars come from: spreads and laws of calibration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np

from tunesmith.contracts.part import Part
from tunesmith.core import BY_MEMBERS, Tensor
from tunesmith.errors import ModelError

if TYPE_CHECKING:
    from ase import Atoms

    from tunesmith.core import E0s, Frame, Members, Prediction


class Posterior(ABC):
    """What predicts a mean and how far it may be off, whoever made it: members or a closed form.

    Law: a structure's mean is the same whatever spread is asked for and whatever it is asked with;
    no variance is negative; of what is not in `judged` there is none; saved and opened again it
    says the same. e0s: isolated-atom energies; None: the energy of any composition is known.
    calibration: by quantity, for whoever shows error bars; predictions are raw.
    """

    e0s: E0s | None = None
    calibration: Mapping[str, Law] = MappingProxyType({})

    @property
    def judged(self) -> tuple[str, ...]:
        """Of which quantities it says how far they may be off: of "energy", "forces", "stress",
        and `BY_MEMBERS` where forces are judged by members, noise left out."""
        return ("energy", "forces", "stress", BY_MEMBERS)

    @property
    def members(self) -> Any:
        """The sets of weights that stand for it, an `Ensemble`: what is exported, simulated and
        attacked with, and whose disagreement is asked."""
        raise NotImplementedError

    @property
    def potential(self) -> Any:
        """What computes its members: a `Potential`."""
        return self.members.potential

    def network(self) -> Any:
        """The one network that represents structures: a `Network`."""
        return self.members.network()

    @abstractmethod
    def predict(
        self,
        frames: list[Atoms],
        *,
        stress: bool = False,
        spread: Literal["all", "energy"] = "all",
    ) -> Prediction:
        """Total energies (E0s included), forces and, if asked, stress of structures.

        spread: "energy" leaves the variances of forces and stress NaN, where that is cheaper.
        Raises `DataError` for elements it does not know.
        """
        raise NotImplementedError


class ClosedForm(Protocol):
    """A spread that a formula gives: part of `Members`, saved and opened with them."""

    @property
    def rule(self) -> Spread:
        """The settings that it was made by, which open it again."""
        ...

    def posterior(self, members: Any) -> Posterior:
        """The mean of these members, an `Ensemble`, with this spread."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All it knows, from which `Spread.opened` makes it again, to the bit."""
        ...


class Spread(Part):
    """Where error bars come from; unless it says otherwise the members.

    Law: the posterior's mean is the members', and its spread a function of members and labels
    alone, the same after it was saved and opened.
    """

    kind: ClassVar[str]
    #: how many members it asks for at least
    fewest: ClassVar[int] = 1
    #: whether it says how far forces may be off, which force targets need
    of_forces: ClassVar[bool] = True
    #: whether labels can judge it that only some of the members have learnt
    out_of_bag: ClassVar[bool] = False
    #: whether it rests on labels of energy
    needs_energies: ClassVar[bool] = False

    def fitted(self, potential: Any, members: Members, frames: list[Frame]) -> ClosedForm | None:
        """Of members that have learnt these labelled frames; None where it is their own.

        ``members.closed`` is that of fewer labels, the first of ``frames``, where there is one.
        """
        return None

    def opened(self, tensors: dict[str, Tensor]) -> ClosedForm:
        """What `ClosedForm.tensors` gave. Raises `KeyError` where something is missing."""
        raise KeyError(f"{self.kind} has no closed form")


class Law(Part):
    """Makes the error bar of one quantity honest, from the errors found so far.

    Frozen: `update` gives a new one. Arrays of one structure are one record. Law: the calibrated
    spread rises with the raw one, and an error over a threshold is the likelier for it.
    """

    kind: ClassVar[str]
    #: whether it knows in which range of errors it was seen to hold
    has_range: ClassVar[bool] = False

    def update(self, std: Any, error: Any) -> Self:
        """With one more record: raw std predicted, and the error that came of it.

        Raises `ModelError` for a law that learns nothing more.
        """
        raise ModelError(f"the calibration {self.kind!r} is as it is; another has to learn.")

    def locked_out(self, floor: float, threshold: float, probability: float) -> bool:
        """Whether even the smallest raw spread there can be, ``floor``, makes an error over the
        threshold likelier than ``probability``, by records and not by belief; else never."""
        return False

    def derivative(self, raw: Any) -> Any:
        """dσ_cal/dσ̂ of raw spreads; unless it says otherwise the factor of a law that multiplies.

        Raises `ModelError` for one that does not.
        """
        factor = float(self.std(1.0))
        if not np.isclose(self.std(2.0), 2 * factor):
            raise ModelError(
                f"the calibration {self.kind!r} is not linear and has no derivative; give it one."
            )
        return np.full(np.shape(raw), factor)

    @abstractmethod
    def std(self, raw: Any) -> Any:
        """Calibrated standard deviation of raw ones, any shape."""

    @abstractmethod
    def exceedance(self, std: Any, threshold: Any) -> Any:
        """P(|error| > threshold) for raw std, elementwise, under the predictive law."""

    def reach(self, components: int = 3) -> tuple[float, float] | None:
        """Errors between which it was seen to hold, as lengths of a vector; None: not known."""
        return None

    def check_target(self, target: float, components: int = 3) -> None:
        """Raise `ConfigError` where an error of this size is beyond what it was seen to hold for;
        a law that knows no range has none to leave."""
