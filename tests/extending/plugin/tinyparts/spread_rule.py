"""A rule: of structures drawn by lot those on which the members disagree most."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from tunesmith.acquire.greedy import Picks
from tunesmith.contracts import Acquirer, Candidates


class Mixed(Acquirer):
    """Draws some times as many as are wanted, and takes those the members disagree on most."""

    kind: ClassVar[str] = "mixed"
    batch: int = Field(5, ge=1, description="candidates labelled in a round")
    times: int = Field(2, ge=1, description="so many times as many are drawn")

    @property
    def asks_members(self) -> bool:
        return True

    def choose(self, candidates: Candidates, n: int, rng: np.random.Generator) -> Picks:
        drawn = rng.permutation(len(candidates))[: n * self.times]
        scores = candidates.disagreement("committee-force")[drawn]
        best = np.argsort(-scores, kind="stable")[:n]
        return Picks(drawn[best], scores[best], np.full(n, -1))
