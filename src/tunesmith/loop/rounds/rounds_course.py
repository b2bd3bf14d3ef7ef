"""The course of rounds: propose, label, learn all labels anew, measure.

Everything is a function of the configuration and of labels: never of the time it takes, nor of
when it was interrupted. That is why a run that was killed goes on to the same result.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from tunesmith.commands.fine_tune import members_of
from tunesmith.commands.training_data import align
from tunesmith.contracts import Posterior
from tunesmith.core import E0s, Failure, Label, Members
from tunesmith.engines.processes import unbroken
from tunesmith.errors import MissingDependencyError
from tunesmith.loop import checkpoint
from tunesmith.loop.labels import Labels
from tunesmith.loop.recipe import End
from tunesmith.loop.rounds import rounds_standing
from tunesmith.loop.rounds.calibration_split import set_apart
from tunesmith.loop.rounds.measure import Measured, measure
from tunesmith.loop.rounds.proposing import Candidate, Known, Proposal, Proposer
from tunesmith.loop.rounds.round_in_words import told
from tunesmith.loop.rounds.rounds_prepare import RoundsPrepared
from tunesmith.loop.rounds.rounds_standing import Chosen, Round, RoundsStanding
from tunesmith.loop.screen import duration
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble, posterior_of
from tunesmith.words import counted


class RoundsCourse:
    """Rounds from where they stand to their end. frames: labelled, all learnt from, in order."""

    def __init__(
        self,
        ready: RoundsPrepared,
        proposer: Proposer,
        labels: Labels,
        at: RoundsStanding,
        out: Path,
        tools: Tools,
    ) -> None:
        self.ready, self.proposer, self.labels = ready, proposer, labels
        self.at, self.out, self.tools = at, out, tools
        self.explorer, self.acquire = ready.config.explore, ready.config.acquire
        self.frames = labels.frames(at.keys)
        self._measured: Measured | None = None

    @property
    def posterior(self) -> Posterior:
        """The model of the last round; the foundation while nothing is learnt."""
        members = self.at.members
        if members is None:
            foundation = self.ready.foundation
            return Ensemble(foundation.potential, foundation.weights, self._unlearnt)
        return posterior_of(self.ready.potential, members)

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

    def end(self) -> End | None:
        """All rounds that are asked for are done; None while they are not."""
        if not self.at.rounds or not self.explorer.finished(self.at.explorer):
            return None
        done = self.at.rounds[-1].round
        return End(f"all {done} rounds are done" if done != 1 else "the round asked for is done")

    def is_of(self, summary: Mapping[str, Any]) -> bool:
        """Whether a summary was written after just these rounds."""
        return len(summary.get("rounds", ())) == len(self.at.rounds)

    def _begin(self) -> None:
        """Round 0: what there is to start from."""
        began = time.monotonic()
        self.at = replace(self.at, keys=self.labels.imported(self.ready.initial))
        self.frames = self.labels.frames(self.at.keys)
        self._done(self._known(0), self.proposer.first(), began)

    def _round(self) -> None:
        """Propose by the last model, label, learn, measure."""
        began = time.monotonic()
        known = self._known(self.at.explorer.rounds + 1)
        self._done(known, self.proposer.propose(known), began)

    def _known(self, number: int) -> Known:
        keys = frozenset(self.at.keys)
        return Known(
            number,
            self.at.explorer,
            self.posterior,
            self.frames,
            lambda atoms: self.labels.key(atoms) in keys,
            lambda: self._test().errors,
        )

    def _done(self, known: Known, proposal: Proposal, began: float) -> None:
        chosen, labelled = self._asked(proposal.candidates, known.number)
        about = self.proposer.judged(known, proposal.about, labelled)
        self._learn(
            replace(self.at, explorer=proposal.state),
            chosen,
            [candidate.atoms for candidate, _ in labelled],
            replace(proposal, about=about),
        )
        self._say(began)

    # -------------------------------------------------------------------------- its parts

    def _asked(
        self, candidates: list[Candidate], number: int
    ) -> tuple[list[Chosen], list[tuple[Candidate, Label]]]:
        """What came of asking for every label, each committed at once; and those to learn."""
        chosen, labelled = [], []
        for rank, candidate in enumerate(candidates):
            one = candidate.chosen
            self.tools.screen.busy(f"round {number}: label {rank + 1} of {len(candidates)}")
            extra = {"round": number, "rank": rank, "score": one.score, "nearest": one.nearest}
            outcome = self.labels.get(candidate.atoms, origin=one.origin, extra=extra | one.found)
            if isinstance(outcome, Failure):
                if outcome.kind == "engine-missing":
                    raise MissingDependencyError(outcome.reason)
                why = f"{outcome.kind}: {outcome.reason}"
                self.tools.screen.say(f"{one.origin}: no label ({why})")
                one = replace(one, failed=why)
            elif (refused := self.proposer.refuses(outcome)) is not None:
                self.tools.screen.say(f"{one.origin}: its label is not learnt ({refused})")
                one = replace(one, refused=refused)
            else:
                labelled.append((candidate, outcome))
            chosen.append(one)
        return chosen, labelled

    def _learn(
        self, at: RoundsStanding, chosen: list[Chosen], new: list[Atoms], proposal: Proposal
    ) -> None:
        """A model of all labels, measured; and the checkpoint."""
        ready, number = self.ready, at.explorer.rounds
        at = replace(at, keys=(*at.keys, *(self.labels.key(atoms) for atoms in new)))
        self.frames = self.labels.frames(at.keys)
        said = None
        if new or (self.frames and at.members is None):
            members, said = self._fitted(number)
            at = replace(at, members=members)
        self.at = at
        posterior = self.posterior
        self.tools.screen.busy(f"round {number}: measuring")
        with self.tools.watch.part("measure"):
            self._measured = measure(posterior, ready.test, aligned=self._aligned)
            valid = self._measured
            if ready.valid is not ready.test:
                valid = measure(posterior, ready.valid, aligned=self._aligned)
            rest = self._rest(posterior)
        done = Round(
            round=number,
            labels=len(at.keys),
            left=len(ready.pool) - len(at.explorer.taken),
            chosen=tuple(chosen),
            test=self._measured.metrics,
            valid=valid.metrics,
            spearman=proposal.spearman,
            fit=said,
            e0=posterior.members.e0s.reason,
            about=proposal.about,
            rest=rest,
        )
        self.at = replace(at, rounds=(*at.rounds, done))
        with self.tools.watch.part("checkpoint"):
            checkpoint.save(self.out, rounds_standing.pack(self.at), self.tools.watch.read())
            rounds_standing.clean(self.out, number)

    def _fitted(self, number: int) -> tuple[Members, str]:
        """Members that have learnt all labels, and what is said of their fit."""
        ready, tune, frames = self.ready, self.ready.config.tune, self.frames
        fresh = tune.subspace.fresh
        e0s = align(tune.e0, ready.foundation, frames, ready.isolated, fresh=fresh)
        problem = replace(ready.problem, train=frames, e0s=e0s)
        if not ready.valid:
            train, valid = set_apart(frames, tune.sampler, ready.config.seed)
            problem = replace(problem, train=train, valid=valid)
        if tune.goes_on and (last := self.at.members) is not None:
            problem = replace(problem, begin=(last.moved, last.replay))
        tune.sampler.check(problem)
        self.tools.screen.busy(f"round {number}: learning {counted(len(frames), 'label')}")

        def report(text: str) -> None:
            self.tools.screen.busy(f"round {number}: {text}")

        with unbroken(), self.tools.watch.part("update"):
            place = rounds_standing.fit_folder(self.out, number)
            fit = tune.sampler.fit(problem, place, report, self.tools.executor)
            members = members_of(problem, fit, tune.spread, ready.config.calibrate)
        return members, fit.finished

    def _test(self) -> Measured:
        """Of the last round's model, measured again after an interruption."""
        if self._measured is None:
            self._measured = measure(self.posterior, self.ready.test, aligned=self._aligned)
        return self._measured

    def _rest(self, posterior: Posterior) -> dict[str, float | None]:
        """Errors on what is left of the candidates that measure; empty where none do."""
        drawn, taken = self.ready.rest, set(self.at.explorer.taken)
        if not drawn:
            return {}
        left = [frame for number, frame in drawn.items() if number not in taken]
        found = measure(posterior, left, aligned=self._aligned)
        return {"structures": len(left), **found.metrics}

    def _say(self, began: float) -> None:
        last = self.at.rounds[-1]
        said = [f"round {last.round} of {self.explorer.rounds}: {counted(last.labels, 'label')}"]
        errors = [
            f"{name} {last.test[key]:.1f} {unit}"
            for name, key, unit in (
                ("force RMSE", "force_rmse_meV_per_A", "meV/Å"),
                ("energy RMSE", "energy_rmse_meV_per_atom", "meV/atom"),
            )
            if last.test[key] is not None
        ]
        said += [", ".join(errors)] if errors else []
        said += told(last.about)
        seconds = time.monotonic() - began
        said.append(duration(seconds))
        if last.fit is not None:  # else the round says little of those to come
            left = (self.explorer.rounds - last.round) * seconds
            said[-1] += f", about {duration(left)} left"
        self.tools.screen.say(f"{'; '.join(said)}.")
