"""Where rounds stand between two of them, as one frozen value; and its checkpoint.

``checkpoint/rounds.safetensors`` holds all but the members, and names the round whose folder
``checkpoint/round-N`` holds those. It is replaced atomically, after them: a kill leaves a good
pair.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunesmith import tensor_files
from tunesmith.core import Members
from tunesmith.errors import CheckpointError
from tunesmith.explore.pool import State
from tunesmith.posterior import members_file

FOLDER = "checkpoint"
STATE = "rounds.safetensors"


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
class Standing:
    """explorer: what is taken. members: of the last round's model; None while nothing is learnt.
    keys: of every label learnt from, in order, in the label store. rounds: done so far."""

    explorer: State
    members: Members | None = None
    keys: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()


def fit_folder(run: Path, number: int) -> Path:
    """Where the fit of a round keeps its own checkpoint."""
    return run / FOLDER / f"fit-{number}"


def anew(run: Path) -> str:
    """The way out where a checkpoint is of no use: labels are in their store."""
    return (
        f"delete {run / FOLDER / STATE} and run the same command again: it begins anew, and asks "
        "for no label that it has"
    )


def state(run: Path) -> Path:
    """The file without which a run begins anew."""
    return run / FOLDER / STATE


def exists(run: Path) -> bool:
    return state(run).exists()


def save(run: Path, at: Standing, seconds: dict[str, float]) -> None:
    """Write where a run stands after a round. seconds: wall time by part."""
    number = at.rounds[-1].round
    if at.members is not None:
        members_file.save(at.members, run / FOLDER / f"round-{number}")
    info = {
        "round": number,
        "learnt": at.members is not None,
        "done": at.explorer.rounds,
        "keys": at.keys,
        "rounds": [asdict(r) for r in at.rounds],
        "seconds": seconds,
    }
    taken = torch.tensor(at.explorer.taken, dtype=torch.int64)
    tensor_files.write(run / FOLDER / STATE, {"taken": taken}, info)
    _clean(run, number)


def _clean(run: Path, number: int) -> None:
    """Remove the members of other rounds, and the fits and proposals that are done."""
    keep = {f"round-{number}", fit_folder(run, number + 1).name}
    for old in (run / FOLDER).glob("*-*"):
        if old.is_dir() and old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)
    for old in _proposals(run, number):
        old.unlink(missing_ok=True)


def _proposals(run: Path, number: int) -> list[Path]:
    """Of rounds that are done; that of the next one may already be there."""
    keep = f"proposed-{number + 1}.safetensors"
    return [p for p in (run / FOLDER).glob("proposed-*.safetensors") if p.name != keep]


def load(run: Path, *, dtype: str, device: str) -> tuple[Standing, dict[str, float]]:
    """Where a run stands, and its wall time by part until then.

    Raises `CheckpointError` for a damaged one.
    """
    path = run / FOLDER / STATE
    tensors, info = tensor_files.read(path, anew(run))
    try:
        rounds = tuple(_round(values) for values in info["rounds"])
        members = None
        if info["learnt"]:
            folder = run / FOLDER / f"round-{info['round']}"
            members = members_file.load(folder, anew(run), dtype=dtype, device=device)[1]
        taken = tuple(int(i) for i in tensors["taken"])
        at = Standing(State(info["done"], taken), members, tuple(info["keys"]), rounds)
        seconds = {k: float(v) for k, v in info["seconds"].items()}
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be understood ({error}), so it is of another version of tunesmith; "
            f"{anew(run)}."
        ) from None
    _clean(run, info["round"])
    return at, seconds


def _round(values: dict[str, Any]) -> Round:
    return Round(**values | {"chosen": tuple(Chosen(**c) for c in values["chosen"])})
