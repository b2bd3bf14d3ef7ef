"""What every sampler is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunesmith.contracts import Anchor, Loss, SubspaceRule
from tunesmith.core import E0s, Frame, NoiseScale, Weights
from tunesmith.potentials.handle import handle
from tunesmith.potentials.potential import Potential
from tunesmith.tune.replay import Replay

#: takes one line of progress
Report = Callable[[str], None]


@dataclass(frozen=True)
class Problem:
    """What is to be fitted: a potential, what may move, what holds it, the loss and the labels.

    e0s: of the labels' level of theory. replay: what a replay anchor adds. begin: coordinates that
    AdamW sets out from instead of the subspace's start, of the target's and of the replay head, as
    in `Members`: (M, …). Can be pickled: the potential travels as its handle.
    """

    potential: Potential
    subspace: SubspaceRule
    anchor: Anchor
    loss: Loss
    train: list[Frame]
    valid: list[Frame]
    e0s: E0s
    seed: int
    replay: Replay | None = None
    begin: tuple[Weights, Weights] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "potential": handle(self.potential)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, potential=state["potential"].open())

    @property
    def stress(self) -> bool:
        """Whether any label holds a stress that the loss asks for."""
        labelled = (f.label is not None and f.label.stress is not None for f in self.train)
        periodic = (bool(f.atoms.pbc.all()) for f in self.train)
        return self.loss.wants_stress and any(
            a and b for a, b in zip(labelled, periodic, strict=True)
        )


@dataclass(frozen=True)
class Fit:
    """M sets of coordinates, and how they were found.

    moved: name → (M, …), all coordinates of the target's head. replay: name → (M, …), those that
    the replay head has of its own. histories: a list of entries for each member. finished: why it
    ended, a sentence. details: for the summary. noise, noise_scale: as of `Members`.
    """

    moved: Weights
    histories: list[list[dict[str, float]]]
    finished: str
    details: dict[str, Any] = field(default_factory=dict)
    replay: Weights = field(default_factory=dict)
    noise: Weights = field(default_factory=dict)
    noise_scale: NoiseScale | None = None
