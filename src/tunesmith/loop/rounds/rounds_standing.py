"""Where rounds stand between two of them, as one frozen value; and packed."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunesmith.core import Members
from tunesmith.explore.pool import RoundsState
from tunesmith.loop.checkpoint import FOLDER, Packed


@dataclass(frozen=True)
class Chosen:
    """One candidate as it was asked for.

    number: in the pool, or of the round. origin: of its frame. score: what the rule maximised when
    it was taken, None of one taken by chance. nearest: origin of the nearest labelled structure,
    None without any. failed: why there is no label, None where there is one; refused: why it is not
    learnt. found: what an attack says of it, eV/Å and Å.
    """

    number: int
    origin: str
    score: float | None = None
    nearest: str | None = None
    failed: str | None = None
    refused: str | None = None
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def learnt(self) -> bool:
        return self.failed is None and self.refused is None


@dataclass(frozen=True)
class Round:
    """One round; the first, 0, has the labels a run starts from, which may be none.

    labels: that its model has learnt. left: candidates not yet asked for. test, valid: errors of
    its model by metric, None where not defined. spearman: rank correlations over the test
    structures, by quantity, of what the round's choice rested on (posterior variance, distance,
    disagreement) with the errors of the model that chose. fit: what is said of the fit; None
    without one. e0: how the zero of energy was chosen. about: what is said of structures that the
    round made itself (`from_dynamics`); empty for a pool. rest: errors on those of
    `RoundsPrepared.rest` not yet asked for, and the number of these ``structures``; empty where
    none measure.
    """

    round: int
    labels: int
    left: int
    chosen: tuple[Chosen, ...]
    test: dict[str, float | None]
    valid: dict[str, float | None]
    spearman: dict[str, float | None]
    fit: str | None
    e0: str
    about: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, float | None] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Candidates whose label failed."""
        return sum(c.failed is not None for c in self.chosen)


@dataclass(frozen=True)
class RoundsStanding:
    """explorer: what is taken. members: of the last round's model; None while nothing is learnt.
    keys: of every label learnt from, in order, in the label store. rounds: done so far."""

    explorer: RoundsState
    members: Members | None = None
    keys: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()


def proposal_file(run: Path, number: int) -> Path:
    """Where a round's proposal is kept until the round is done."""
    return run / FOLDER / f"proposed-{number}.safetensors"


def fit_folder(run: Path, number: int) -> Path:
    """Where the fit of a round keeps its own checkpoint."""
    return run / FOLDER / f"fit-{number}"


def pack(at: RoundsStanding) -> Packed:
    """For the checkpoint; after a round, of which there must be one."""
    info = {"done": at.explorer.rounds, "keys": at.keys, "rounds": [asdict(r) for r in at.rounds]}
    taken = torch.tensor(at.explorer.taken, dtype=torch.int64)
    return Packed(at.rounds[-1].round, at.members, {"taken": taken}, info)


def unpack(packed: Packed) -> RoundsStanding:
    """What `pack` packed. Raises `KeyError` or `TypeError` where something is missing."""
    info = packed.info
    rounds = tuple(_round(values) for values in info["rounds"])
    state = RoundsState(info["done"], tuple(int(i) for i in packed.tensors["taken"]))
    return RoundsStanding(state, packed.members, tuple(info["keys"]), rounds)


def clean(run: Path, number: int) -> None:
    """Remove the fits and proposals of rounds that are done, up to this one; those of the next one
    may already be there."""
    folder = run / FOLDER
    for fit in folder.glob("fit-*"):
        if fit != fit_folder(run, number + 1):
            shutil.rmtree(fit, ignore_errors=True)
    for proposal in folder.glob("proposed-*.safetensors"):
        if proposal != proposal_file(run, number + 1):
            proposal.unlink(missing_ok=True)


def _round(values: dict[str, Any]) -> Round:
    return Round(**values | {"chosen": tuple(Chosen(**c) for c in values["chosen"])})
