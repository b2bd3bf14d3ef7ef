"""Rounds that make their own structures (CAGO): frames of dynamics, or structures learnt already,
attacked or as they are, and filtered before and after they are labelled."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tunesmith.attack.adversary import expected_error, member_forces, real_error
from tunesmith.attack.reachable_target import aimed, said_of, within_reach
from tunesmith.attack.scaled import projectors
from tunesmith.attack.search import Attacked
from tunesmith.attack.strike import strike
from tunesmith.calibrate import scores
from tunesmith.calibrate.few_members import followed
from tunesmith.config import CagoConfig
from tunesmith.contracts import Law, Posterior
from tunesmith.core import Label, derived_seed
from tunesmith.errors import DataError, LabellingError
from tunesmith.explore.pool import RoundsState
from tunesmith.loop.rounds import proposing
from tunesmith.loop.rounds.dynamics import simulate
from tunesmith.loop.rounds.proposing import Candidate, Known, Proposal
from tunesmith.loop.rounds.rounds_prepare import RoundsPrepared
from tunesmith.loop.rounds.rounds_standing import Chosen
from tunesmith.loop.tools import Tools

_BATCH = 8  # structures predicted together


@dataclass(frozen=True)
class _Seen:
    """A structure on its way to a label. score, found: as of `Chosen`."""

    atoms: Atoms
    origin: str
    score: float | None = None
    found: dict[str, Any] = field(default_factory=dict)


class FromDynamics:
    """A `Proposer`. out: the run's folder, where a proposal is kept until its round is done."""

    def __init__(self, ready: RoundsPrepared, out: Path, tools: Tools) -> None:
        config: CagoConfig = ready.config
        self.ready, self.out, self.tools = ready, out, tools
        self.explore, self.acquire = config.explore, config.acquire
        self.target = float(config.target.forces_of(Atoms("H"))[0])

    def first(self) -> Proposal:
        """The start structures and their rattled copies."""
        found: list[Candidate] = []
        for k, start in enumerate(self.ready.starts):
            found.append(Candidate(start, Chosen(len(found), f"start {k}")))
            rng = np.random.default_rng(self._seed("rattle", k))
            for i in range(self.explore.rattled):
                moved = _rattled(start, self.explore.displacement, rng)
                found.append(Candidate(moved, Chosen(len(found), f"start {k}, rattled {i}")))
        return Proposal(found, RoundsState())

    def propose(self, known: Known) -> Proposal:
        """By what `acquire` is; kept, as it may have taken long."""
        if (kept := proposing.load(self.out, known.number)) is not None:
            return kept
        with self.tools.watch.part("propose"):
            frames, about = self._frames(known)
            frames, more = self._moved(frames, known)
            frames, filtered = self._filtered(frames, known)
        about |= more | {"filtered": filtered, "target": self.target}
        candidates = [
            Candidate(one.atoms, Chosen(i, one.origin, score=one.score, found=one.found))
            for i, one in enumerate(frames)
        ]
        about = json.loads(json.dumps(about))  # as whoever reads it finds it
        proposal = Proposal(candidates, self.explore.after(known.state), {}, about)
        proposing.save(self.out, known.number, proposal)
        return proposal

    def refuses(self, label: Label) -> str | None:
        """Where its forces are over what is learnt."""
        why: str | None = self.explore.filter.after(label.forces)
        return why and f"{why} (explore.filter.max_label_force)"

    def judged(
        self, known: Known, about: dict[str, Any], labelled: list[tuple[Candidate, Label]]
    ) -> dict[str, Any]:
        """With the members' real error on what was proposed, rms over members and atoms, eV/Å: of
        all, and of what was attacked where some frames were not.

        Raises `LabellingError` where there is nothing to start from.
        """
        if not known.number and not labelled and not self.ready.initial:
            raise LabellingError(
                f"none of the {len(self.ready.starts)} start structures or their rattled copies "
                "could be labelled; correct them or the reference."
            )
        if not known.number or not labelled or len(known.members) < 2:
            return about
        found = np.array([real_error(known.members, c.atoms, label) for c, label in labelled])
        about = about | {"error": scores.rmse(found), "errors": found.tolist()}
        attacked = np.array([bool(c.chosen.found) for c, _ in labelled])
        if about.get("as_they_are") and attacked.any():
            about["error_of_attacks"] = scores.rmse(found[attacked])
        return about

    def _seed(self, *name: object) -> int:
        return derived_seed(self.ready.config.seed, *name)

    # ---------------------------------------------------------------- where frames come from

    def _frames(self, known: Known) -> tuple[list[_Seen], dict[str, Any]]:
        number, acquire = known.number, self.acquire
        if acquire.attacked is not None and self.explore.from_training(number):
            return self._learnt(known), {"source": "structures learnt"}
        md = self.explore.dynamics(number, acquire.hotter)
        wanted = self.explore.frames_for(number, len(self.ready.starts))
        wanted = max(wanted, acquire.compared or 0)
        found, runs = [], []
        steps = 0
        for k, start in enumerate(self.ready.starts):

            def seen() -> None:
                nonlocal steps
                steps += 1
                if steps % 100 == 0:
                    whole = md.total_steps * md.walkers * len(self.ready.starts)
                    self.tools.screen.busy(f"round {number}: dynamics, step {steps} of {whole}")

            there = []
            for w, run in enumerate(
                simulate(md, known.posterior, start, self._seed("md", number, k), seen)
            ):
                at = f"round {number}, system {k}, run {w}"
                there += [
                    _Seen(atoms, f"{at}, {time:g} fs")
                    for atoms, time in zip(run.frames, run.times, strict=True)
                ]
                runs.append({"system": k, "time_fs": run.time, "wrong": run.wrong})
            rng = np.random.default_rng(self._seed("frames", number, k))
            drawn = np.sort(rng.permutation(len(there))[:wanted])
            found += [there[i] for i in drawn]
        about = {"source": "dynamics", "ensemble": md.ensemble, "runs": runs}
        return found, about | {"stable": sum(r["wrong"] is None for r in runs)}

    def _learnt(self, known: Known) -> list[_Seen]:
        """Structures of the training set by lot, of every system; again, where there are few."""
        found = []
        for k, start in enumerate(self.ready.starts):
            own = [f for f in known.frames if _same_system(f.atoms, start)]
            rng = np.random.default_rng(self._seed("training", known.number, k))
            order: list[int] = []
            while own and len(order) < self.explore.training_frames:
                order += rng.permutation(len(own)).tolist()
            for i in order[: self.explore.training_frames]:
                atoms = start.copy()  # with its constraints, charge and multiplicity
                atoms.set_cell(own[i].atoms.cell)
                atoms.positions = own[i].atoms.positions
                found.append(_Seen(atoms, own[i].origin))
        return found

    # ------------------------------------------------------------------ what is done with them

    def _moved(self, frames: list[_Seen], known: Known) -> tuple[list[_Seen], dict[str, Any]]:
        about: dict[str, Any] = {"frames": len(frames)}
        if self.acquire.attacked is not None:
            return self._attacked(frames, known)
        if self.acquire.compared is not None:
            return self._most_uncertain(frames, known), about
        return frames, about

    def _attacked(self, frames: list[_Seen], known: Known) -> tuple[list[_Seen], dict[str, Any]]:
        """What attacks make of the frames, and what is said of them.

        A frame of dynamics that is expected to err by more than can be aimed at stays as it is: an
        attack would take it to where the members err less. (Of structures learnt already nothing
        new would be labelled then: they are attacked.)
        """
        posterior = known.members
        law = posterior.law_by_members
        law_followed = followed(law, len(posterior))
        able = [one for one in frames if _can_start(self.acquire.attacked, one.atoms)]
        forces = member_forces(posterior, [one.atoms for one in able])
        expected = [expected_error(said, law_followed) for said in forces]
        plain = scores.rmse(np.array(expected)) if able else 0.0
        wanted = self.acquire.aim(self.target, plain)
        aim = wanted if self.acquire.beyond else within_reach(wanted, law)
        settings = aimed(self.acquire.attacked, aim)
        new = not self.explore.from_training(known.number)
        kept = {i for i, error in enumerate(expected) if new and aim < min(wanted, error)}
        moved = [i for i in range(len(able)) if i not in kept]
        done = 0

        def ended(_: int, __: Attacked) -> None:
            nonlocal done
            done += 1
            self.tools.screen.busy(f"round {known.number}: attack {done} of {len(moved)}")

        struck = strike(
            posterior,
            [able[i].atoms for i in moved],
            settings,
            law,
            [self._drawn(known, i) for i in moved],
            forces=[forces[i] for i in moved],
            ended=ended,
        )
        made = list(able)  # attacked or not, in their order
        for i, result, several in zip(moved, struck.results, struck.members, strict=True):
            said = result.facts() | {"members": several}
            made[i] = _Seen(result.atoms, f"{able[i].origin}, attacked", found=said)
        stopped = Counter(result.reason for result in struck.results)
        return made, {
            "frames": len(frames),
            "attacked": len(moved),
            "as_they_are": len(kept),
            "too_close_to_attack": len(frames) - len(able),
            "on_target": stopped["on target"],
            "stopped": dict(stopped),
            "by_all": sum(several == len(posterior) for several in struck.members),
            "calibration": said_of(law, wanted),
            "plain": plain,
            "wanted": wanted,
            "aim": aim,
        }

    def _drawn(self, known: Known, i: int) -> tuple[int, ...]:
        """The members that attack a frame where its error is to grow: all, or some drawn for it."""
        members, learnt = len(known.members), self.explore.from_training(known.number)
        several = self.acquire.several(learnt=learnt) or members
        rng = np.random.default_rng(self._seed("attackers", known.number, i))
        return tuple(sorted(rng.permutation(members)[:several].tolist()))

    def _most_uncertain(self, frames: list[_Seen], known: Known) -> list[_Seen]:
        """Of every system those with the largest force uncertainty of any atom, largest first."""
        law = known.posterior.calibration.get("forces")
        wanted = self.explore.frames_for(known.number, len(self.ready.starts))
        found = []
        for start in self.ready.starts:
            own = [one for one in frames if _same_system(one.atoms, start)]
            stds = [_largest_std(known.posterior, one.atoms, law) for one in own]
            order = np.argsort(stds)[::-1][:wanted]
            found += [_Seen(own[i].atoms, own[i].origin, score=stds[i]) for i in order]
        return found

    def _filtered(self, frames: list[_Seen], known: Known) -> tuple[list[_Seen], dict[str, int]]:
        """Those worth a label, and how many are not, by reason."""
        kept: list[_Seen] = []
        reasons: Counter[str] = Counter()
        there: set[bytes] = set()
        for i in range(0, len(frames), _BATCH):
            batch = frames[i : i + _BATCH]
            mean = known.posterior.predict([one.atoms for one in batch], spread="energy")
            forces = np.split(mean.mean.forces, np.cumsum(mean.n_atoms)[:-1])
            for one, own in zip(batch, forces, strict=True):
                why = self.explore.filter.before(one.atoms, own)
                key = one.atoms.positions.tobytes() + one.atoms.cell.array.tobytes()
                if why is None and (key in there or known.learnt(one.atoms)):
                    why = "known already"
                there.add(key)
                if why is None:
                    kept.append(one)
                else:
                    reasons[why] += 1
        return kept, dict(reasons)


def _largest_std(posterior: Posterior, atoms: Atoms, law: Law | None) -> float:
    """Of any atom, eV/Å, calibrated where there is a law."""
    std = posterior.predict([atoms]).std()
    assert std is not None
    components = std.forces if law is None else law.std(std.forces)
    return float(np.sqrt((components**2).sum(1)).max())


def _rattled(start: Atoms, displacement: float, rng: np.random.Generator) -> Atoms:
    atoms = start.copy()
    drawn = displacement * rng.standard_normal((len(start), 3))
    atoms.positions += np.einsum("nxy,ny->nx", projectors(start), drawn)
    return atoms


def _same_system(atoms: Atoms, start: Atoms) -> bool:
    same = len(atoms) == len(start) and (atoms.numbers == start.numbers).all()
    return bool(same and (atoms.pbc == start.pbc).all())


def _can_start(settings: Any, atoms: Atoms) -> bool:
    try:
        settings.space(atoms)
    except DataError:
        return False
    return True
