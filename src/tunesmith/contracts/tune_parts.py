"""What the parts of ``tune`` must be: samplers, anchors, losses and subspaces."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tunesmith.contracts.part import Part
from tunesmith.core import Tensor, Weights

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    import torch


class Sampler(Part):
    """How weights move: from a problem to members.

    Law: the members are a function of the problem and its seed alone, to the bit at a fixed number
    of threads: with or without an executor, and however often ``place`` was left half-way.
    """

    kind: ClassVar[str]
    #: whether what it samples is a posterior, for which the loss must be a likelihood
    needs_likelihood: ClassVar[bool] = False
    #: whether members go on from where they stand when a label comes (``start``, ``update``)
    goes_on: ClassVar[bool] = False
    #: whether it sets out from other members where ``problem.begin`` gives them
    begins_at_members: ClassVar[bool] = False

    @property
    def count(self) -> int:
        """How many members it ends with."""
        return 1

    @property
    def splits(self) -> bool:
        """Whether each member sets structures of its own aside to find its best epoch on."""
        return False

    @property
    def judges_itself(self) -> bool:
        """Whether each member leaves labels out, by which the others' spread can be judged."""
        return False

    @property
    def decay(self) -> float:
        """How strongly weights are drawn to zero."""
        return 0.0

    @property
    def rate_limit(self) -> tuple[str, float] | None:
        """The setting that limits its learning rate, and that rate; None where it has none."""
        return None

    def epochs_for(self, n: int) -> int | None:
        """Epochs of a fit to ``n`` structures; None where it has no epochs."""
        return None

    def trial(self, n: int, *, one: bool = False) -> Sampler | None:
        """A single epoch of a fit to ``n`` structures, to be timed; one: of one member. None where
        it has no epochs."""
        return None

    def require_fixed(self) -> None:
        """Raise `ConfigError` for settings that mean nothing where all labels are there."""

    def check(self, problem: Any) -> None:
        """Raise `TrainingError` where this problem would give members that are all the same."""

    @abstractmethod
    def fit(
        self,
        problem: Any,
        place: Path | None = None,
        report: Any = None,
        executor: Executor | None = None,
    ) -> Any:
        """Members that have learnt ``problem`` (`tunesmith.tune.problem`): a `Fit`.

        One that `goes_on` has ``start(problem)`` and ``update(members, problem, *, number,
        executor, longer)`` too, both to `Members`, ``steps`` and ``batch_size`` (`SGHMC`).

        place: folder of checkpoints, from which it goes on. report: takes a line of progress every
        few seconds. executor: where members may be computed; None: here.
        """


class Anchor(Part):
    """What holds the weights near the foundation model. Unless it says otherwise: nothing."""

    kind: ClassVar[str]
    #: whether the foundation's knowledge has a head of its own, which `select` gives frames to
    has_head: ClassVar[bool] = False

    def std(self, unit: Tensor) -> Tensor | None:
        """(d,) standard deviation of the prior of every coordinate; None for a flat one.

        unit: (d,), size of the pretrained weights that each coordinate moves.
        """
        return None

    def penalty(self, moved: Tensor, start: Tensor, unit: Tensor, n: int) -> Tensor | None:
        """What is added to the loss of a step; None for nothing.

        moved, start, unit: (d,) coordinates, those of the foundation, and their size. n: training
        structures.
        """
        return None

    def wider(self, factor: float) -> Self:
        """The anchor with a prior of ``factor`` times the standard deviation."""
        return self

    def select(self, potential: Any, frames: list[Any], seed: int) -> list[Any]:
        """The structures to replay while ``frames`` are learnt; none without a head of its own."""
        return []

    def replay(self, potential: Any, selected: list[Any], loss: Any) -> Any:
        """What is learnt of selected structures beside the target: a `Replay`."""
        raise NotImplementedError

    @property
    def keeps_head(self) -> bool:
        """Whether final.model has the head of replayed structures beside the tuned one."""
        return False


class Loss(Part):
    """What a step makes small: a mean over the structures of a batch."""

    kind: ClassVar[str]
    #: whether it is a negative log-likelihood, which samplers of posteriors ask for
    is_likelihood: ClassVar[bool] = False
    #: the fixed standard deviations of a likelihood (`NoiseScale`), None of others
    scale: ClassVar[Any] = None

    @property
    def wants_stress(self) -> bool:
        """Whether labels of stress are learnt."""
        return True

    def for_replay(self, given: dict[str, float]) -> Self:
        """The loss of replayed structures. given: weights that were asked for there, by name."""
        return self.model_copy(update=given)

    @property
    def wants_energy(self) -> bool:
        """Whether labels of energy are learnt; else structures may come without."""
        return True

    @abstractmethod
    def __call__(self, out: Any, batch: Any, targets: Any) -> Tensor:
        """The loss of a batch, a scalar: of an `Evaluation` and the `Targets` of its structures."""


class SubspaceRule(Part):
    """Which weights may move, and how the moved ones are written: `tunesmith.core.Subspace`."""

    kind: ClassVar[str]

    @property
    def linear(self) -> bool:
        """Whether full weights are an affine function of the coordinates."""
        return True

    @property
    def fresh(self) -> bool:
        """Whether it starts from random weights, so that nothing is reused."""
        return False

    @property
    def only_readouts(self) -> bool:
        """Whether nothing moves but what heads have of their own."""
        return False

    @property
    def adapts(self) -> bool:
        """Whether coordinates change pretrained weights instead of being weights themselves."""
        return False

    @abstractmethod
    def start(self, model: Any, generator: torch.Generator) -> Weights:
        """The coordinates of the untouched model (or, where `fresh`, of a new one)."""

    def moves(self, name: str) -> bool:
        """Whether a coordinate may move; the others are constants, kept with the members."""
        return True

    @abstractmethod
    def expand(self, weights: Weights, moved: Weights) -> Weights:
        """Full weights from the model's own and the moved coordinates (differentiable)."""

    @abstractmethod
    def unit(self, model: Any, start: Weights) -> Weights:
        """Of every coordinate: the rms of the pretrained weights it moves, a scalar."""
