"""The loop: explore one step, and wherever an error over the target is likely, ask and learn.

    state = explorer.step(state, answer)        answer: the posterior's mean, or, where labelled,
                                                the reference's own energy, forces and stress

Everything is a function of the configuration and of labels: never of the time it takes, nor of
when a checkpoint was made. That is why a run that was killed goes on to the same result.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from tunesmith import units
from tunesmith.acquire.threshold import Decision, Limits
from tunesmith.core import Failure, Frame, Label, Prediction
from tunesmith.errors import LabellingError, MissingDependencyError
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.state import Answer
from tunesmith.loop import checkpoint
from tunesmith.loop.labels import Labels, bare
from tunesmith.loop.onthefly import adversaries, doubt, explosions
from tunesmith.loop.onthefly.learning import Asked, noted, updated
from tunesmith.loop.onthefly.onthefly_prepare import DynamicsPrepared
from tunesmith.loop.onthefly.onthefly_standing import OnTheFlyStanding, pack
from tunesmith.loop.onthefly.trajectory_file import Trajectory
from tunesmith.loop.recipe import End
from tunesmith.loop.tools import Tools
from tunesmith.posterior.ensemble import Ensemble, posterior_of
from tunesmith.words import counted

#: steps of each walker between states that one may go back to after an explosion
GOOD_EVERY = 200


class OnTheFlyCourse:
    """One run from where it stands to its end.

    frames: labelled, all that ``at.members`` have learnt from, in order. foundation: the untuned
    model, with the run's E0s, to compare with.
    """

    def __init__(
        self,
        ready: DynamicsPrepared,
        labels: Labels,
        frames: list[Frame],
        at: OnTheFlyStanding,
        out: Path,
        tools: Tools,
    ) -> None:
        config, problem = ready.config, ready.problem
        self.ready, self.config, self.problem, self.labels = ready, config, problem, labels
        self.at, self.frames, self.out, self.tools = at, list(frames), out, tools
        self.explorer = config.explore
        self.judges_forces = config.acquire.judges_forces(config.target)
        potential = problem.potential
        self.foundation = Ensemble(potential, [potential.weights()], at.members.e0s)
        self.posterior = posterior_of(potential, at.members)
        self.trajectory = Trajectory(out / "trajectory.extxyz", at.written, checkpoint.anew(out))
        self._known = {_fingerprint(f.atoms): f.label for f in self.frames[: at.given]}
        self._decision: Decision | None = None
        self._new = False  # whether there is a label since the last line on the screen
        self._saved, self._learnt = time.monotonic(), len(at.keys)

    # ------------------------------------------------------------------------- the course

    def run(self) -> None:
        """Go on until there is a reason to end; saved by then, also when interrupted."""
        every = units.parse(self.config.loop.checkpoint_every, "wall time").value
        self.tools.screen.begin(self.at)
        try:
            while self.end() is None:
                self.advance()
                due = time.monotonic() - self._saved > every
                if due or len(self.at.keys) > self._learnt or self.tools.interrupts.came:
                    self.save()
                if self.tools.interrupts.came:
                    self.tools.screen.say("saved; the same command goes on from here")
                    self.tools.interrupts.leave()
            self.save()
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
        if loop.max_labels is not None and at.made >= loop.max_labels:
            return End(f"loop.max_labels = {loop.max_labels} labels are made")
        rare = _fs(loop.rare)
        if rare is not None and at.clock - at.labelled_at >= rare * (1 - 1e-9):
            return End(f"no label for {loop.rare} (loop.rare)")
        return None

    def is_of(self, summary: Mapping[str, Any]) -> bool:
        """Whether a summary was written after just these steps and updates."""
        return (summary.get("steps"), summary.get("updates")) == (self.at.steps, self.at.updates)

    def advance(self) -> None:
        """One step of the walker whose turn it is; or back to a good state after an explosion."""
        before = self.at.explorer
        try:
            with self.tools.watch.part("md"):
                after = self.explorer.step(before, self.answer)
        except ExplosionError as explosion:
            explosions.recover(self, explosion)
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
        self.tools.screen.step(self.explorer, at, self._decision, new=self._new)
        self._new = False

    def save(self) -> None:
        """Write the checkpoint. Raises `RunFolderError` where that is not possible."""
        with self.tools.watch.part("checkpoint"):
            self.trajectory.flush()
            checkpoint.save(self.out, pack(self.at, self.explorer), self.tools.watch.read())
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
            if isinstance(outcome, Label):
                outcome = doubt.believed(self, atoms, prediction, outcome, origin)
        if isinstance(outcome, Failure):
            self._failed(outcome, origin)
            return None
        seconds, before = time.monotonic() - began, len(self.at.attacks)
        one = self.asked(walker, atoms, outcome, limits, decision, origin)
        learning = self.learn(one, attacked=True)
        self.tools.screen.label(self.at.records[-1], seconds, learning)
        for record in self.at.attacks[before:]:
            self.tools.screen.attack(record)
        self._new = True
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

    def asked(
        self,
        walker: int,
        atoms: Atoms,
        label: Label,
        limits: Limits,
        decision: Decision,
        origin: str,
    ) -> Asked:
        """A structure that a walker has come to, with its label."""
        state = self.at.explorer.walkers[walker]
        moment = self.explorer.time_at(state, atoms)
        clock = self.at.clock + moment - self.explorer.time_of(state)
        key = self.labels.key(atoms)
        return Asked(key, walker, moment, clock, atoms, label, limits, decision, origin)

    def learn(self, one: Asked, *, attacked: bool) -> float:
        """Teach the posterior a label, and with it that of an attack on the structure; the seconds
        that learning took."""
        at = noted(self.config, self.at, one, self.posterior, self.foundation, self.tools)
        frames = [Frame(bare(one.atoms), one.label, one.origin)]
        if attacked and adversaries.may_attack(self.config, at):
            start = self.at.explorer.walkers[one.walker].constrained(one.atoms)
            more = adversaries.beside(
                self.config, at, self.posterior, start, one.origin, self.labels, self.tools
            )
            at = replace(at, attacks=(*at.attacks, more.record))
            frames = [*more.frames, *frames]  # what the dynamics is at stays the newest
        keys = (self.labels.key(frame.atoms) for frame in frames)
        at = replace(at, keys=(*at.keys, *keys))
        self.frames += frames
        began = time.monotonic()
        self.tools.screen.busy(f"learning {counted(len(self.frames), 'label')}")
        self.at = updated(self.config, self.problem, at, self.frames, self.tools)
        self.posterior = posterior_of(self.problem.potential, self.at.members)
        return time.monotonic() - began


def _fs(text: str | None) -> float | None:
    return None if text is None else units.parse(text, "time").value


def _fingerprint(atoms: Atoms) -> bytes:
    """The exact structure, cheaply."""
    return bytes(atoms.numbers.tobytes() + atoms.positions.tobytes() + atoms.cell.array.tobytes())
