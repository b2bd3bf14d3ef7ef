"""What a check of a model must be."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tunesmith.contracts.part import Part

if TYPE_CHECKING:
    from ase import Atoms
    from rich.console import Console

    from tunesmith.contracts.posterior_parts import Posterior


@dataclass(frozen=True)
class Health:
    """What a check has found. verdict: one sentence. well: whether the model is in order in this
    respect; None where a check only tells. values: what it rests on, JSON values."""

    verdict: str
    well: bool | None
    values: dict[str, Any]


class Examined(Protocol):
    """A model, as far as a check looks at it. What takes long is computed when it is looked at."""

    @property
    def posterior(self) -> Posterior:
        """The model, with its `members`."""
        ...

    @property
    def start(self) -> Atoms:
        """The structure given, for a check that ``needs`` "start"."""
        ...

    @property
    def seed(self) -> int:
        """The one source of every random number."""
        ...

    @property
    def dynamics(self) -> Any:
        """Its members simulated, for a check that ``needs`` "dynamics"
        (`tunesmith.check.examination.Simulated`)."""
        ...


class Check(Part):
    """One question to a model, asked by ``tunesmith check --checks``.

    Law: it changes nothing of what it examines, and finds the same again.
    """

    kind: ClassVar[str]
    #: what it looks at beside the posterior: "start", "dynamics"
    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def run(self, examined: Examined) -> Health:
        """Look and judge. Raises `DataError` where the structure cannot be asked about."""

    def show(self, health: Health, screen: Console) -> None:
        """What the verdict rests on, for people; it is printed itself behind what all show."""
