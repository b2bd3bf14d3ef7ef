"""What is asked of the course of a run by what helps it on: explosions, doubts."""

from typing import Any, Protocol

from ase import Atoms

from tunesmith.acquire.threshold import Decision, Limits
from tunesmith.config import RunConfig
from tunesmith.contracts import Posterior
from tunesmith.core import Frame, Label
from tunesmith.loop.labels import Labels
from tunesmith.loop.onthefly.learning import Asked
from tunesmith.loop.onthefly.onthefly_standing import OnTheFlyStanding
from tunesmith.loop.tools import Tools


class Running(Protocol):
    """A run on its way. at: where it stands; a helper may set it. frames: learnt from, in order."""

    config: RunConfig
    explorer: Any
    labels: Labels
    tools: Tools
    at: OnTheFlyStanding
    frames: list[Frame]
    posterior: Posterior

    def asked(
        self,
        walker: int,
        atoms: Atoms,
        label: Label,
        limits: Limits,
        decision: Decision,
        origin: str,
    ) -> Asked:
        """A structure that a walker has come to, with its label."""
        ...

    def learn(self, one: Asked, *, attacked: bool) -> float:
        """Teach the posterior a label; the seconds that it took."""
        ...

    def save(self) -> None:
        """Write the checkpoint."""
        ...
