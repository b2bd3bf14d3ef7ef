"""A pool as an explorer: structures that stand in files, of which each may be taken once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from tunesmith.contracts import PoolExplorer
from tunesmith.errors import DataError
from tunesmith.settings import one_or_more


@dataclass(frozen=True)
class RoundsState:
    """rounds: done so far. taken: candidates by number, in the order they were asked for, those
    whose label failed included."""

    rounds: int = 0
    taken: tuple[int, ...] = ()


class Pool(PoolExplorer):
    """Candidates in files, of which a batch is labelled in every round."""

    kind: ClassVar[str] = "pool"
    files: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        min_length=1, description="files of candidates: extxyz, ASE db, traj, vasprun, OUTCAR"
    )
    rounds: int = Field(10, ge=0, description="rounds of choosing, labelling and learning")
    start: int = Field(0, ge=0, description="candidates labelled at random before the first round")
    rest: int | None = Field(
        None,
        ge=1,
        description="candidates, drawn by lot once, that measure each round's model too until they "
        "are asked for; needs reference: hidden; null: none",
    )

    def check(self, candidates: int, batch: int) -> None:
        """Raise `DataError` where there are fewer candidates than will be asked for."""
        needed = self.start + self.rounds * batch
        if needed > candidates:
            most = max(0, (candidates - self.start) // batch)
            first = f"{self.start} to start with and " if self.start else ""
            raise DataError(
                f"explore.rounds: {first}{self.rounds} rounds of {batch} need {needed} candidates, "
                f"but the pool has {candidates}; ask for at most {most} rounds, a smaller "
                "acquire.batch, or give more files."
            )

    def left(self, state: RoundsState, candidates: int) -> np.ndarray:
        """Numbers of the candidates not yet taken, ascending."""
        free = np.ones(candidates, bool)
        free[list(state.taken)] = False
        return np.flatnonzero(free)

    def step(self, state: RoundsState, taken: Sequence[int]) -> RoundsState:
        """After one more round, in which these were asked for."""
        return RoundsState(state.rounds + 1, (*state.taken, *(int(i) for i in taken)))

    def begin(self, candidates: int, rng: np.random.Generator) -> RoundsState:
        """Before the first round: the candidates of ``start``, drawn without replacement."""
        drawn = rng.permutation(candidates)[: self.start]
        return replace(RoundsState(), taken=tuple(int(i) for i in drawn))

    def finished(self, state: RoundsState) -> bool:
        """Whether every round is done."""
        return state.rounds >= self.rounds
