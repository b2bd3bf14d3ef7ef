"""What a round asks labels for, and on what a proposal rests; proposals that took long are kept."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms

from tunesmith import tensor_files
from tunesmith.contracts import Posterior
from tunesmith.core import Frame, Label
from tunesmith.data.label_row import plain_info
from tunesmith.errors import CheckpointError
from tunesmith.explore.pool import RoundsState
from tunesmith.loop.rounds.rounds_standing import Chosen, proposal_file
from tunesmith.posterior.ensemble import Ensemble


@dataclass(frozen=True)
class Candidate:
    """One structure that a label is asked for, and what is said of it."""

    atoms: Atoms
    chosen: Chosen


@dataclass(frozen=True)
class Proposal:
    """What one round asks labels for, in order.

    state: the explorer's, after the round. spearman, about: as of `Round`.
    """

    candidates: list[Candidate]
    state: RoundsState
    spearman: dict[str, float | None] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What a proposal may rest on, all of it of the last round.

    number: of the round to come. frames: labelled, all learnt. learnt: whether a structure is among
    them. errors: of the model on the test structures, as of `Measured`, computed when asked for.
    """

    number: int
    state: RoundsState
    posterior: Posterior
    frames: list[Frame]
    learnt: Callable[[Atoms], bool]
    errors: Callable[[], dict[str, np.ndarray | None]]

    @property
    def members(self) -> Ensemble:
        """Those of the posterior: who attacks, and how many."""
        members: Ensemble = self.posterior.members
        return members


class Proposer(Protocol):
    """Who proposes; a function of what is known and the seed."""

    def first(self) -> Proposal:
        """Of round 0, before anything is learnt."""
        ...

    def propose(self, known: Known) -> Proposal: ...

    def refuses(self, label: Label) -> str | None:
        """Why a label is not learnt, as a clause; None where it is."""
        ...

    def judged(
        self, known: Known, about: dict[str, Any], labelled: list[tuple[Candidate, Label]]
    ) -> dict[str, Any]:
        """``about`` with what the round's labels, not yet learnt, say of the proposal."""
        ...


# ------------------------------------------------------------------------ kept proposals


def save(run: Path, number: int, proposal: Proposal) -> None:
    """Keep a round's proposal until the round is done."""
    tensors, rows = {}, []
    for i, one in enumerate(proposal.candidates):
        atoms = one.atoms
        for name, array in (
            ("numbers", atoms.numbers.astype(np.int64)),
            ("positions", atoms.positions),
            ("cell", atoms.cell.array),
            ("pbc", atoms.pbc),
        ):
            tensors[f"{i}.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
        rows.append({"chosen": asdict(one.chosen), "info": plain_info(atoms.info)[0]})
    info = {"candidates": rows, "done": proposal.state.rounds, "about": proposal.about}
    tensor_files.write(proposal_file(run, number), tensors, info)


def load(run: Path, number: int) -> Proposal | None:
    """What `save` kept; None where it has not. Raises `CheckpointError` for a damaged one."""
    path = proposal_file(run, number)
    if not path.exists():
        return None
    tensors, info = tensor_files.read(path)
    try:
        candidates = []
        for i, row in enumerate(info["candidates"]):
            parts = {
                n: tensors[f"{i}.{n}"].numpy() for n in ("numbers", "positions", "cell", "pbc")
            }
            candidates.append(Candidate(Atoms(**parts, info=row["info"]), Chosen(**row["chosen"])))
        return Proposal(candidates, RoundsState(info["done"]), {}, info["about"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be understood ({error}), so it is of another version of tunesmith; "
            "delete it and run the same command again."
        ) from None
