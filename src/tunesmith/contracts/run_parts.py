"""What the parts of a run must be: who explores, who chooses and who labels."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tunesmith.contracts.part import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from tunesmith.core import Frame, Prediction
    from tunesmith.kernels import Kernel


class Dynamics(Part):
    """Explores step by step, as ``explore`` of a run on the fly.

    Law: a state is a value. The next one is a function of it and of the answer, to the bit; packed
    and unpacked it is the same. It has settings ``start``, files of structures, and ``time``. A
    state has ``walkers``, each as of `tunesmith.explore.state.Walker`, and ``turn``, whose is next.
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
    """Explores in rounds, of which a setting ``rounds`` says how many there are to do.

    A state says how many are done, ``rounds``, and which candidates of files were ``taken``.
    """

    kind: ClassVar[str]

    @abstractmethod
    def finished(self, state: Any) -> bool:
        """Whether every round is done."""
        raise NotImplementedError


class PoolExplorer(Rounds):
    """Candidates in files. It has settings ``files``, ``rounds``, ``start``, how many are labelled
    by lot before the first round, and ``rest``, how many measure every round's model, or None."""

    @abstractmethod
    def check(self, candidates: int, batch: int) -> None:
        """Raise `DataError` where there are fewer candidates than will be asked for."""

    @abstractmethod
    def begin(self, candidates: int, rng: np.random.Generator) -> Any:
        """The state before the first round: those labelled by lot are taken."""

    @abstractmethod
    def left(self, state: Any, candidates: int) -> np.ndarray:
        """Numbers of the candidates not yet taken, ascending."""

    @abstractmethod
    def step(self, state: Any, taken: Sequence[int]) -> Any:
        """After one more round, in which these were asked for."""


class FrameExplorer(Rounds):
    """Structures that rounds make for themselves, by dynamics from the files of ``start``; of each
    ``rattled`` copies are labelled too, moved by ``displacement``, and ``filter`` says what is
    worth a label. The first rounds take ``training_frames`` structures that were learnt."""

    @abstractmethod
    def dynamics(self, number: int, temperature: str | None = None) -> Any:
        """The dynamics of a round, a `Dynamics`; temperature: in place of its own."""

    @abstractmethod
    def from_training(self, number: int) -> bool:
        """Whether a round begins at structures that were learnt."""

    @abstractmethod
    def frames_for(self, number: int, systems: int) -> int:
        """Structures of every system in a round."""

    @abstractmethod
    def check(self, starts: list[Atoms], wanted: int) -> None:
        """Raise `DataError` where the dynamics of these cannot be, or is too short."""

    @abstractmethod
    def after(self, state: Any) -> Any:
        """With one more round done."""


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
    """Who labels, as ``reference`` says it: a `tunesmith.core.Reference` itself; that of a pool's
    own labels (`hidden`) only makes one.

    Law: equal structures have equal labels, as far as the calculation converges, under one
    identity; what goes wrong is a `Failure`, and is not raised.
    """

    kind: ClassVar[str]
    #: whether it answers for any structure, or only for those of a pool
    computes: ClassVar[bool] = True

    def assumed(self, frames: Sequence[Frame]) -> str | None:
        """What it takes for granted of these structures and may be wrong, in a sentence."""
        return None

    def among(self, pool: Any) -> Any:
        """The `Reference` for the structures of a pool, with what labels their files hold."""
        return self


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
    def compares_by(self) -> tuple[Any, Kernel] | None:
        """The representation whose features it asks for, and the kernel between them; None: it
        asks for no features."""
        return None

    @property
    def asks_members(self) -> bool:
        """Whether it rests on how far members disagree, of which there must then be several."""
        return False

    @abstractmethod
    def choose(self, candidates: Candidates, n: int, rng: np.random.Generator) -> Any:
        """``n`` candidates in the order of taking, with scores and nearest: `Picks`."""

    def rate(self, structures: Candidates) -> np.ndarray | None:
        """(n,) how much each of any structures would tell; None where the rule rates nothing."""
        return None
