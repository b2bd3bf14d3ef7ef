"""Rounds from a pool: candidates that stand in files, chosen by the model of the last round."""

from typing import Any

import numpy as np

from tunesmith.core import Label, derived_seed
from tunesmith.loop.rounds.choosing import SeenBy, rank_correlations
from tunesmith.loop.rounds.proposing import Candidate, Known, Proposal
from tunesmith.loop.rounds.rounds_prepare import RoundsPrepared
from tunesmith.loop.rounds.rounds_standing import Chosen
from tunesmith.loop.tools import Tools


class FromPool:
    """A `Proposer`."""

    def __init__(self, ready: RoundsPrepared, tools: Tools) -> None:
        self.ready, self.tools = ready, tools
        self.explorer, self.acquire = ready.config.explore, ready.config.acquire
        everything = (*ready.pool, *ready.initial, *ready.test)
        self._elements = {int(z) for f in everything for z in f.atoms.numbers}

    def first(self) -> Proposal:
        """Those that are labelled by lot."""
        pool, seed = self.ready.pool, self.ready.config.seed
        rng = np.random.default_rng(derived_seed(seed, "start"))
        state = self.explorer.begin(len(pool), rng)
        drawn = [Candidate(pool[i].atoms, Chosen(i, pool[i].origin)) for i in state.taken]
        return Proposal(drawn, state)

    def propose(self, known: Known) -> Proposal:
        """A batch of those that are left."""
        ready, number = self.ready, known.number
        left = self.explorer.left(known.state, len(ready.pool))
        self.tools.screen.busy(f"round {number}: choosing among {len(left)} candidates")
        with self.tools.watch.part("choose"):
            candidates = [ready.pool[i] for i in left]
            seen = SeenBy(candidates, known.posterior, known.frames, self._elements)
            rng = np.random.default_rng(derived_seed(ready.config.seed, "acquire", number))
            picks = self.acquire.choose(seen, self.acquire.batch, rng)
            ratings = self.acquire.rate(seen.of(ready.test))
        found = []
        for i, score, nearest in zip(picks.indices, picks.scores, picks.nearest, strict=True):
            frame = ready.pool[left[i]]
            chosen = Chosen(
                number=int(left[i]),
                origin=frame.origin,
                score=float(score) if np.isfinite(score) else None,
                nearest=known.frames[nearest].origin if nearest >= 0 else None,
            )
            found.append(Candidate(frame.atoms, chosen))
        state = self.explorer.step(known.state, [c.chosen.number for c in found])
        return Proposal(found, state, rank_correlations(ratings, known.errors()))

    def refuses(self, label: Label) -> str | None:
        """None is: the reference has its own limits."""
        return None

    def judged(
        self, known: Known, about: dict[str, Any], labelled: list[tuple[Candidate, Label]]
    ) -> dict[str, Any]:
        """Nothing is said."""
        return about
