"""The course of rounds from a pool: choose, label, learn from the pretrained weights on, measure.

Everything is a function of the configuration and of labels: never of the time it takes, nor of
when it was interrupted. That is why a run that was killed goes on to the same result.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunesmith.core import E0s, Failure, Members, derived_seed
from tunesmith.engines.processes import unbroken
from tunesmith.errors import MissingDependencyError
from tunesmith.loop.labels import Labels
from tunesmith.loop.rounds import standing
from tunesmith.loop.rounds.choosing import Choice, rank_correlations
from tunesmith.loop.rounds.measure import Measured, measure
from tunesmith.loop.rounds.prepare import Prepared
from tunesmith.loop.rounds.standing import Chosen, Round, Standing
from tunesmith.loop.screen import duration
from tunesmith.loop.tools import Tools
from tunesmith.tune.intake import align
from tunesmith.tune.job import members_of
from tunesmith.uncertainty.ensemble import Ensemble


class Course:
    """Rounds from where they stand to their end. frames: labelled, all learnt from, in order."""

    def __init__(
        self, ready: Prepared, labels: Labels, at: Standing, out: Path, tools: Tools
    ) -> None:
        self.ready, self.labels, self.at, self.out, self.tools = ready, labels, at, out, tools
        self.explorer, self.acquire = ready.config.explore, ready.config.acquire
        self.frames = labels.frames(at.keys)
        everything = (*ready.pool, *ready.initial, *ready.test)
        self._elements = {int(z) for f in everything for z in f.atoms.numbers}
        self._measured: Measured | None = None

    @property
    def posterior(self) -> Ensemble:
        """The model of the last round; the foundation while nothing is learnt."""
        members = self.at.members
        if members is None:
            foundation = self.ready.foundation
            return Ensemble(foundation.potential, foundation.weights, self._unlearnt)
        return Ensemble.of(self.ready.potential, members)

    @property
    def _unlearnt(self) -> E0s:
        """Before the first label only isolated atoms can tell the labels' zero of energy."""
        ready = self.ready
        settings = ready.config.tune.e0
        if ready.isolated and settings.method in ("auto", "isolated", "reestimate"):
            settings = settings.model_copy(update={"method": "isolated"})
        elif settings.method != "table":
            return ready.foundation.e0s
        return align(settings, ready.foundation, [], ready.isolated)

    @property
    def _aligned(self) -> bool:
        """Whether energies of the posterior are of the labels' level of theory."""
        asked = self.ready.config.tune.e0.method == "foundation"
        return asked or self.at.members is not None or self._unlearnt.method != "foundation"

    # ------------------------------------------------------------------------- the course

    def run(self) -> None:
        """All rounds there are still to do; saved after each, and left at once when asked to."""
        with self.tools.interrupts.at_once():
            if not self.at.rounds:
                self._begin()
            while not self.explorer.finished(self.at.explorer):
                self._round()

    def _begin(self) -> None:
        """Round 0: what there is to start from."""
        ready, began = self.ready, time.monotonic()
        rng = np.random.default_rng(derived_seed(ready.config.seed, "start"))
        state = self.explorer.begin(len(ready.pool), rng)
        at = replace(self.at, explorer=state, keys=self.labels.imported(ready.initial))
        self._learn(at, self._asked([Chosen(i, ready.pool[i].origin) for i in state.taken]), {})
        self._say(began)

    def _round(self) -> None:
        """Choose by the last model, label, learn, measure."""
        began, ready, state = time.monotonic(), self.ready, self.at.explorer
        number = state.rounds + 1
        left = self.explorer.left(state, len(ready.pool))
        self.tools.screen.busy(f"round {number}: choosing among {len(left)} candidates")
        with self.tools.watch.part("choose"):
            choice = Choice(self.acquire, self.posterior, self.frames, self._elements)
            rng = np.random.default_rng(derived_seed(ready.config.seed, "acquire", number))
            picks = choice.picks([ready.pool[i] for i in left], self.acquire.batch, rng)
            ratings = choice.ratings(ready.test)
        spearman = rank_correlations(ratings, self._test().errors)
        chosen = [
            Chosen(
                number=int(left[i]),
                origin=ready.pool[left[i]].origin,
                score=float(s) if np.isfinite(s) else None,
                nearest=self.frames[j].origin if j >= 0 else None,
            )
            for i, s, j in zip(picks.indices, picks.scores, picks.nearest, strict=True)
        ]
        state = self.explorer.step(state, [c.number for c in chosen])
        self._learn(replace(self.at, explorer=state), self._asked(chosen, number), spearman)
        self._say(began)

    # -------------------------------------------------------------------------- its parts

    def _asked(self, chosen: Sequence[Chosen], number: int = 0) -> list[Chosen]:
        """The candidates with what came of asking for their labels, each committed at once."""
        found = []
        for rank, one in enumerate(chosen):
            atoms = self.ready.pool[one.number].atoms
            self.tools.screen.busy(f"round {number}: label {rank + 1} of {len(chosen)}")
            extra = {"round": number, "rank": rank, "score": one.score, "nearest": one.nearest}
            outcome = self.labels.get(atoms, origin=one.origin, extra=extra)
            if isinstance(outcome, Failure):
                if outcome.kind == "engine-missing":
                    raise MissingDependencyError(outcome.reason)
                self.tools.screen.say(f"{one.origin}: no label ({outcome.kind}: {outcome.reason})")
                one = replace(one, failed=f"{outcome.kind}: {outcome.reason}")
            found.append(one)
        return found

    def _learn(
        self, at: Standing, chosen: Sequence[Chosen], spearman: dict[str, float | None]
    ) -> None:
        """A model from the pretrained weights on all labels, measured; and the checkpoint."""
        ready, number = self.ready, at.explorer.rounds
        pool = ready.pool
        new = [self.labels.key(pool[c.number].atoms) for c in chosen if c.failed is None]
        at = replace(at, keys=(*at.keys, *new))
        self.frames = self.labels.frames(at.keys)
        said = None
        if new or (self.frames and at.members is None):
            members, said = self._fitted(number)
            at = replace(at, members=members)
        self.at = at
        self.tools.screen.busy(f"round {number}: measuring")
        with self.tools.watch.part("measure"):
            self._measured = measure(self.posterior, ready.test, aligned=self._aligned)
            valid = self._measured
            if ready.valid is not ready.test:
                valid = measure(self.posterior, ready.valid, aligned=self._aligned)
        done = Round(
            round=number,
            labels=len(at.keys),
            left=len(pool) - len(at.explorer.taken),
            chosen=tuple(chosen),
            test=self._measured.metrics,
            valid=valid.metrics,
            spearman=spearman,
            fit=said,
            e0=self.posterior.e0s.reason,
        )
        self.at = replace(at, rounds=(*at.rounds, done))
        with self.tools.watch.part("checkpoint"):
            standing.save(self.out, self.at, self.tools.watch.read())

    def _fitted(self, number: int) -> tuple[Members, str]:
        """Members that have learnt all labels, and what is said of their fit."""
        ready, tune, frames = self.ready, self.ready.config.tune, self.frames
        fresh = getattr(tune.subspace, "initial", "pretrained") == "random"
        e0s = align(tune.e0, ready.foundation, frames, ready.isolated, fresh=fresh)
        problem = replace(ready.problem, train=frames, e0s=e0s)
        if check := getattr(tune.sampler, "check", None):
            check(problem)
        self.tools.screen.busy(f"round {number}: learning {len(frames)} labels")

        def report(text: str) -> None:
            self.tools.screen.busy(f"round {number}: {text}")

        with unbroken(), self.tools.watch.part("update"):
            place = standing.fit_folder(self.out, number)
            fit = tune.sampler.fit(problem, place, report, self.tools.executor)
        return members_of(problem, fit, ready.config.calibrate), fit.finished

    def _test(self) -> Measured:
        """Of the last round's model, measured again after an interruption."""
        if self._measured is None:
            self._measured = measure(self.posterior, self.ready.test, aligned=self._aligned)
        return self._measured

    def _say(self, began: float) -> None:
        last = self.at.rounds[-1]
        errors = [
            f"{name} {last.test[key]:.1f} {unit}"
            for name, key, unit in (
                ("force RMSE", "force_rmse_meV_per_A", "meV/Å"),
                ("energy RMSE", "energy_rmse_meV_per_atom", "meV/atom"),
            )
            if last.test[key] is not None
        ]
        seconds = time.monotonic() - began
        said = (
            f"round {last.round} of {self.explorer.rounds}: {last.labels} labels; "
            f"{', '.join(errors)}; {duration(seconds)}"
        )
        if last.fit is not None:  # else the round says little of those to come
            left = (self.explorer.rounds - last.round) * seconds
            said += f", about {duration(left)} left"
        self.tools.screen.say(f"{said}.")
