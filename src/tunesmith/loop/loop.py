"""The loop: explore one step, and wherever an error over the target is likely, ask and learn.

    state = explorer.step(state, answer)        answer: the posterior's mean, or, where labelled,
                                                the reference's own energy, forces and stress

Everything is a function of the configuration and of labels: never of the time it takes, nor of
when a checkpoint was made. That is why a run that was killed goes on to the same result.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tunesmith import units
from tunesmith.acquire.threshold import Decision, Limits, needs_forces_spread
from tunesmith.config import RunConfig
from tunesmith.core import Failure, Frame, Label, Prediction
from tunesmith.errors import LabellingError, MissingDependencyError, TunesmithError
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.state import Answer
from tunesmith.loop import checkpoint
from tunesmith.loop.labels import Labels, bare
from tunesmith.loop.learning import Asked, learnt
from tunesmith.loop.standing import Standing
from tunesmith.loop.tools import Tools
from tunesmith.loop.trajectory import Trajectory
from tunesmith.tune.problem import Problem
from tunesmith.uncertainty.ensemble import Ensemble
from tunesmith.uncertainty.tangent import Tangent, residuals

#: steps of each walker between states that one may go back to after an explosion
GOOD_EVERY = 200


@dataclass(frozen=True)
class End:
    """Why a run is over, in words; well: as it was asked for."""

    reason: str
    well: bool = True


class Loop:
    """One run from where it stands to its end.

    frames: labelled, all that ``at.members`` have learnt from, in order. foundation: the untuned
    model, with the run's E0s, to compare with.
    """

    def __init__(
        self,
        config: RunConfig,
        problem: Problem,
        labels: Labels,
        frames: list[Frame],
        at: Standing,
        out: Path,
        tools: Tools,
    ) -> None:
        self.config, self.problem, self.labels, self.out = config, problem, labels, out
        self.at, self.frames, self.tools = at, list(frames), tools
        self.explorer = config.explore
        self.judges_forces = needs_forces_spread(config.target, config.acquire)
        potential = problem.potential
        self.foundation = Ensemble(potential, [potential.weights()], at.members.e0s)
        self._wrong = np.zeros(0)
        self.posterior = self._posterior()
        self.trajectory = Trajectory(out / "trajectory.extxyz", at.written)
        known = len(at.keys) - len(at.records)
        self._known = {_fingerprint(f.atoms): f.label for f in self.frames[:known]}
        self._decision: Decision | None = None
        self._saved, self._learnt = time.monotonic(), len(at.keys)

    # ------------------------------------------------------------------------- the course

    def run(self) -> End:
        """Go on until there is a reason to end; saved by then, also when interrupted."""
        every = units.parse(self.config.loop.checkpoint_every, "wall time").value
        try:
            while (end := self.end()) is None:
                self.advance()
                due = time.monotonic() - self._saved > every
                if due or len(self.at.keys) > self._learnt or self.tools.interrupts.came:
                    self.save()
                if self.tools.interrupts.came:
                    self.tools.screen.say("saved; the same command goes on from here")
                    self.tools.interrupts.leave()
            self.save()
            return end
        finally:
            self.trajectory.close()

    def end(self) -> End | None:
        """Why the run is over, None while it is not."""
        at, loop = self.at, self.config.loop
        if at.locked > loop.lock_out.patience:
            return End(
                "even the smallest error bar there can be asks for a label at every step, and "
                f"sampling {at.longer:g} times longer did not help; allow larger errors "
                "(target), or more steps (tune.sampler.steps)",
                well=False,
            )
        if self.explorer.finished(at.explorer):
            return End("the time asked for is simulated")
        if loop.max_labels is not None and len(at.records) >= loop.max_labels:
            return End(f"loop.max_labels = {loop.max_labels} labels are made")
        rare = _fs(loop.rare)
        if rare is not None and at.clock - at.labelled_at >= rare * (1 - 1e-9):
            return End(f"no label for {loop.rare} (loop.rare)")
        return None

    def advance(self) -> None:
        """One step of the walker whose turn it is; or back to a good state after an explosion."""
        before = self.at.explorer
        try:
            with self.tools.watch.part("md"):
                after = self.explorer.step(before, self.answer)
        except ExplosionError as explosion:
            self._exploded(explosion)
            return
        at, moved = self.at, after.walkers[before.turn]
        passed = self.explorer.time_of(moved) - self.explorer.time_of(before.walkers[before.turn])
        at = replace(
            at,
            explorer=after,
            steps=at.steps + 1,
            since_good=at.since_good + 1,
            clock=at.clock + passed,
        )
        if at.since_good >= GOOD_EVERY * len(after.walkers):
            at = replace(at, good=(at.good[1], after), since_good=0, explosions=0)
        if moved.steps % self.explorer.write_steps == 0:
            with self.tools.watch.part("store"):
                at = replace(at, written=self._write(before.turn, moved))
        self.at = at
        self.tools.screen.step(self.explorer, at, self._decision)

    def save(self) -> None:
        """Write the checkpoint. Raises `RunFolderError` where that is not possible."""
        with self.tools.watch.part("checkpoint"):
            self.trajectory.flush()
            checkpoint.save(self.out, self.at, self.explorer, self.tools.watch.read())
        self._saved, self._learnt = time.monotonic(), len(self.at.keys)

    def _write(self, index: int, walker: Any) -> int:
        answer, decision = walker.answer, self._decision
        results = {"energy": answer.energy, "forces": answer.forces}
        if answer.stress is not None:
            results["stress"] = answer.stress
        info: dict[str, Any] = {"walker": index, "step": walker.steps}
        info["time_fs"] = self.explorer.time_of(walker)
        if decision is not None:
            info |= {"energy_std": decision.energy_std, "labelled": decision.label}
        return self.trajectory.append(walker.atoms(), results, info)

    # ------------------------------------------------------------------------- one answer

    def answer(self, walker: int, atoms: Atoms) -> Answer:
        """What drives a step: the posterior's mean or, where that is too uncertain, a label."""
        at, config = self.at, self.config
        if (known := self._known.get(_fingerprint(atoms))) is not None:
            self._decision = None
            return Answer(known.energy, known.forces, known.stress)
        limits = config.acquire.limits(config.target, atoms, len(at.records))
        prediction = self.posterior.predict(
            [atoms],
            stress=self.explorer.needs_stress,
            spread="all" if self.judges_forces else "energy",
        )
        gap = at.clock - at.labelled_at
        decision = config.acquire.decide(limits, prediction, at.calibration, gap)
        if at.owed and at.clock >= at.silent_until:
            decision = replace(decision, label=True, reason="again, after a failed call")
        elif decision.label and at.clock < at.silent_until:
            decision = replace(decision, label=False)
        self._decision = decision
        if decision.label:
            label = self._ask(walker, atoms, prediction, limits, decision)
            if label is not None:
                return Answer(label.energy, label.forces, label.stress)
            self._decision = replace(decision, label=False)
        mean = prediction.mean
        stress = None if mean.stress is None else mean.stress[0]
        return Answer(float(mean.energy[0]), mean.forces, stress)

    def _ask(
        self,
        walker: int,
        atoms: Atoms,
        prediction: Prediction,
        limits: Limits,
        decision: Decision,
    ) -> Label | None:
        """The reference's word on a structure, learnt from; None after a failure."""
        moment = self.explorer.time_at(self.at.explorer.walkers[walker], atoms)
        origin = f"walker {walker}, {moment:.2f} fs"
        extra = {
            "walker": walker,
            "time_fs": moment,
            "why": decision.reason,
            "probability": decision.probability,
            "predicted_energy": float(prediction.mean.energy[0]),
            "energy_std": decision.energy_std,
        }
        self.tools.screen.busy("asking the reference")
        began = time.monotonic()
        last = self.at.failures + 1 >= self._failures_allowed
        with self.tools.interrupts.at_once():
            outcome = self.labels.get(atoms, origin=origin, extra=extra, failures_count=not last)
        if isinstance(outcome, Failure):
            self._failed(outcome, origin)
            return None
        asked = time.monotonic()
        self._learn(walker, atoms, outcome, limits, decision, origin)
        self.tools.screen.label(self.at.records[-1], asked - began, time.monotonic() - asked)
        return outcome

    @property
    def _failures_allowed(self) -> int:
        loop = self.config.loop
        return 1 if loop.on_failure == "stop" else loop.max_failures

    def _failed(self, failure: Failure, origin: str) -> None:
        """Go on without that label, or raise `LabellingError` where that was not asked for."""
        at, loop = self.at, self.config.loop
        if failure.kind == "engine-missing":
            raise MissingDependencyError(failure.reason)
        said = f"{origin}: the reference failed ({failure.kind}: {failure.reason})"
        if at.failures + 1 >= self._failures_allowed:
            cure = "set loop.on_failure to skip or retry to go on without such labels"
            if loop.on_failure != "stop":
                cure = f"that were {at.failures + 1} failures in a row; look at the reference"
            raise LabellingError(f"{said}; {cure}, or run the same command to ask once more.")
        self.tools.screen.say(said)
        self.at = replace(
            at,
            failures=at.failures + 1,
            failed=at.failed + 1,
            silent_until=at.clock + (_fs(loop.retry_after) or 0.0),
            owed=loop.on_failure == "retry",
        )

    def _learn(
        self,
        walker: int,
        atoms: Atoms,
        label: Label,
        limits: Limits,
        decision: Decision,
        origin: str,
    ) -> None:
        """Teach the posterior a label."""
        moment = self.explorer.time_at(self.at.explorer.walkers[walker], atoms)
        asked = Asked(self.labels.key(atoms), walker, moment, atoms, label, limits, decision)
        self.frames.append(Frame(bare(atoms), label, origin))
        self.at = learnt(
            self.config,
            self.problem,
            self.at,
            self.frames,
            asked,
            self.posterior,
            self.foundation,
            self.tools,
        )
        self.posterior = self._posterior()

    def _posterior(self) -> Ensemble | Tangent:
        """The members, with the spread that the criteria are told to judge by."""
        members = Ensemble.of(self.problem.potential, self.at.members)
        if self.config.acquire.spread == "members":
            return members
        new = residuals(self.foundation, self.frames[len(self._wrong) :])
        self._wrong = np.append(self._wrong, new)
        return Tangent(members, self.frames, self._wrong)

    # ------------------------------------------------------------------------- explosions

    def _exploded(self, explosion: ExplosionError) -> None:
        """Learn from the structure where it can be labelled, and go back to a good one."""
        at, loop = self.at, self.config.loop
        if at.explosions + 1 > loop.max_explosions:
            raise TunesmithError(
                f"walker {explosion.walker}: {explosion.reason}, and that was explosion "
                f"{at.explosions + 1} in a row; a shorter explore.timestep, a lower temperature or "
                "a tighter target may help."
            )
        learnt = "not labelled"
        if loop.max_labels is None or len(at.records) < loop.max_labels:
            learnt = self._learn_from_explosion(explosion)
        at = self.at
        self.at = replace(
            at,
            explorer=self.explorer.restart(at.explorer, explosion.walker, at.good[0]),
            since_good=0,
            explosions=at.explosions + 1,
            exploded=at.exploded + 1,
        )
        back = self.explorer.time_of(self.at.explorer.walkers[explosion.walker])
        self.tools.screen.say(
            f"walker {explosion.walker}: {explosion.reason}; {learnt}; back to {back:.0f} fs with "
            "new velocities"
        )
        self.save()

    def _learn_from_explosion(self, explosion: ExplosionError) -> str:
        atoms, walker = explosion.atoms, explosion.walker
        if not np.isfinite(atoms.positions).all():
            return "no structure to label"
        prediction = self.posterior.predict([atoms], spread="all")
        if not np.isfinite(prediction.mean.energy).all():
            return "no prediction to learn from"
        config, at = self.config, self.at
        limits = config.acquire.limits(config.target, atoms, len(at.records))
        decision = config.acquire.decide(limits, prediction, at.calibration)
        decision = replace(decision, label=True, reason=f"explosion: {explosion.reason}")
        origin = f"walker {walker}, explosion {at.exploded + 1}"
        with self.tools.interrupts.at_once():
            outcome = self.labels.get(
                atoms, origin=origin, extra={"why": decision.reason}, failures_count=True
            )
        if isinstance(outcome, Failure):
            return f"the reference cannot label it ({outcome.kind})"
        self._learn(walker, atoms, outcome, limits, decision, origin)
        return "labelled and learnt"


def _fs(text: str | None) -> float | None:
    return None if text is None else units.parse(text, "time").value


def _fingerprint(atoms: Atoms) -> bytes:
    """The exact structure, cheaply."""
    return bytes(atoms.numbers.tobytes() + atoms.positions.tobytes() + atoms.cell.array.tobytes())
