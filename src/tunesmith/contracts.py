"""What every exchangeable part of a run must be: its law, and what it says it can do.

A part is the frozen settings of one section of a configuration, registered under its ``kind``
(`tunesmith.registry`), here or in a package of one's own. Capabilities are declared, with the
default that most parts have, so that nobody asks these parts what attributes they have.
`tunesmith.testing.parts_contract` holds the tests of their laws.

| section | class | law |
|---|---|---|
| ``tune.sampler`` | `Sampler` | a function of problem and seed, however often it is interrupted |
| ``tune.anchor`` | `Anchor` | its penalty is minus the log of the Gaussian of `std`, over n |
| ``tune.loss`` | `Loss` | a mean over the batch, smallest where predictions are the labels |
| ``tune.subspace`` | `SubspaceRule` | its start expands to the model, unless it is fresh |
| ``tune.spread`` | `Spread` | the mean stays the members', whatever its error bars come from |
| ``acquire``, from a pool | `Acquirer` | n different candidates, in whatever order they stand |
| ``calibrate`` | `Law` | the calibrated spread rises with the raw one |
| ``check`` | `Check` | it changes nothing of what it examines, and finds the same again |

What comes of them is a `Posterior`. Beside them stand protocols where they are used:
`tunesmith.core` for `Reference`, `tunesmith.loop.recipe` for recipes,
`tunesmith.potentials.potential` for backends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np

from tunesmith.core import BY_MEMBERS, Settings, Tensor, Weights
from tunesmith.errors import ModelError

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    import torch
    from ase import Atoms
    from rich.console import Console

    from tunesmith.core import E0s, Frame, Members, Prediction
    from tunesmith.kernels import Kernel


class Part(Settings):
    """Settings whose names may not be those of what a part says of itself."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.model_fields:
            if any(isinstance(vars(base).get(name), property) for base in cls.__mro__):
                raise TypeError(
                    f"{cls.__name__}.{name}: a setting of this name would never be read, as a part "
                    "says something of itself by it; call the setting otherwise."
                )


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


class Candidates(Protocol):
    """Structures to choose from, as far as a rule looks at them. A look is computed when taken."""

    def __len__(self) -> int: ...

    def features(self, representation: Any) -> np.ndarray:
        """(n, d), of the candidates."""
        ...

    def labelled(self, representation: Any) -> np.ndarray | None:
        """(m, d), of what is labelled; None where nothing is."""
        ...

    def disagreement(self, score: str) -> np.ndarray:
        """(n,) how far members disagree about the candidates, by a committee's score, in eV or
        eV/Å (`tunesmith.posterior.disagreement.committee_scores`)."""
        ...


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
    #: whether it says how far forces may be off, which force targets and attacks on them need
    of_forces: ClassVar[bool] = True
    #: whether labels can judge it that only some of the members have learnt
    out_of_bag: ClassVar[bool] = False

    def fitted(self, potential: Any, members: Members, frames: list[Frame]) -> ClosedForm | None:
        """Of members that have learnt these labelled frames; None where it is their own.

        ``members.closed`` is that of fewer labels, the first of ``frames``, where there is one.
        """
        return None

    def opened(self, tensors: dict[str, Tensor]) -> ClosedForm:
        """What `ClosedForm.tensors` gave. Raises `KeyError` where something is missing."""
        raise KeyError(f"{self.kind} has no closed form")


class Dynamics(Part):
    """Explores step by step, as ``explore`` of a run on the fly.

    Law: a state is a value. The next one is a function of it and of the answer, to the bit; packed
    and unpacked it is the same. It has settings ``start``, files of structures, and ``time``.
    """

    kind: ClassVar[str]

    @property
    def needs_stress(self) -> bool:
        """Whether a step asks for the stress."""
        return False

    @property
    @abstractmethod
    def write_steps(self) -> int:
        """Steps between frames that are kept."""
        raise NotImplementedError

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Steps of each walker, of the whole run."""
        raise NotImplementedError

    @abstractmethod
    def init(self, structures: list[Atoms], seed: int) -> Any:
        """The state before the first step. Raises `DataError` for a structure that cannot run."""
        raise NotImplementedError

    @abstractmethod
    def step(self, state: Any, answer: Any) -> Any:
        """After one step of the walker whose turn it is. answer: (walker, structure) → `Answer`.
        Raises `ExplosionError`."""
        raise NotImplementedError

    @abstractmethod
    def restart(self, state: Any, walker: int, good: Any) -> Any:
        """With that walker back where it is in the state ``good``."""
        raise NotImplementedError

    @abstractmethod
    def finished(self, state: Any) -> bool:
        """Whether all that was asked for is explored."""
        raise NotImplementedError

    @abstractmethod
    def time_of(self, walker: Any) -> float:
        """Simulated time, fs."""
        raise NotImplementedError

    @abstractmethod
    def time_at(self, walker: Any, atoms: Atoms) -> float:
        """Simulated time, fs, of a structure that `step` asks about."""
        raise NotImplementedError

    @abstractmethod
    def pack(self, state: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by name and a JSON-able mapping that together are the state."""
        raise NotImplementedError

    @abstractmethod
    def unpack(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> Any:
        """What `pack` packed. Raises `KeyError` or `TypeError` where something is missing."""
        raise NotImplementedError


class Rounds(Part):
    """Explores in rounds, of which a setting ``rounds`` says how many there are to do."""

    kind: ClassVar[str]

    @abstractmethod
    def finished(self, state: Any) -> bool:
        """Whether every round is done."""
        raise NotImplementedError


class Criterion(Part):
    """Whether one structure, that dynamics is at, is labelled, as ``acquire`` of a run on the fly.

    Law: the decision is a function of what was predicted, the calibration and the limits; whoever
    is more uncertain is labelled sooner. ``start_labels``: a setting, the labels after which its
    limits are those of the target.
    """

    kind: ClassVar[str]

    def judges_forces(self, target: Any) -> bool:
        """Whether it asks how far forces may be off."""
        return bool(target.forces is not None)

    @abstractmethod
    def limits(self, target: Any, atoms: Atoms, labels: int) -> Any:
        """What is allowed of this structure after so many labels: `Limits`. Raises `ConfigError`
        where the target does not fit it."""
        raise NotImplementedError

    @abstractmethod
    def decide(self, limits: Any, prediction: Prediction, calibration: Any, gap: float = 0) -> Any:
        """Whether to label: a `Decision`. gap: simulated time since the last label, fs."""
        raise NotImplementedError


class FrameRule(Part):
    """What rounds from dynamics make of its frames: ``acquire`` of ``cago``.

    Unless it says otherwise frames are taken by lot, as they are, from the dynamics as it is set.
    """

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """Of the method, for people."""
        return self.kind

    @property
    def hotter(self) -> str | None:
        """The temperature of all dynamics in place of the explorer's."""
        return None

    @property
    def compared(self) -> int | None:
        """How many frames of a system are compared by how uncertain their forces are, the most
        uncertain of which are taken; None: they are taken by lot."""
        return None

    @property
    def attacked(self) -> Any:
        """How frames are attacked (`Attack`); None: they are not."""
        return None

    @property
    def beyond(self) -> bool:
        """Whether it aims also where the calibration is not known to hold."""
        return False

    def check(self, members: int) -> None:
        """Raise `ConfigError` where so many members are too few."""

    def several(self, *, learnt: bool) -> int | None:
        """How many members attack a frame; None: all. learnt: those of frames that were learnt."""
        return None

    def aim(self, target: float, plain: float) -> float:
        """The error to aim at, eV/Å. plain: that expected of the frames as they are."""
        return target


class ReferenceRule(Part):
    """Who labels, as ``reference`` says it: a `tunesmith.core.Reference`, or who makes one.

    Law: equal structures have equal labels, as far as the calculation converges, under one
    identity; what goes wrong is a `Failure`, and is not raised.
    """

    kind: ClassVar[str]
    #: whether it answers for any structure, or only for those of a pool
    computes: ClassVar[bool] = True

    def among(self, pool: Any) -> Any:
        """The `Reference` for the structures of a pool, with what labels their files hold."""
        return self


class Acquirer(Part):
    """Which of many candidates are labelled next.

    Law: ``choose`` gives n different candidates, and the same ones in whatever order they stand,
    unless it draws by lot. Every rule has a setting ``batch``: how many a round asks for.
    """

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """Of the method, for people."""
        return self.kind

    @property
    def asks_members(self) -> bool:
        """Whether it rests on how far members disagree, of which there must then be several."""
        return False

    @property
    def compares_by(self) -> tuple[Any, Kernel] | None:
        """The representation whose features it asks for, and the kernel between them; None: it
        asks for no features."""
        return None

    @abstractmethod
    def choose(self, candidates: Candidates, n: int, rng: np.random.Generator) -> Any:
        """``n`` candidates in the order of taking, with scores and nearest: `Picks`."""

    def rate(self, structures: Candidates) -> np.ndarray | None:
        """(n,) how much each of any structures would tell; None where the rule rates nothing."""
        return None


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
    def posterior(self) -> Any:
        """The model and its members (`tunesmith.posterior.ensemble.Ensemble`)."""
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
        (`tunesmith.check.examination.Dynamics`)."""
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
