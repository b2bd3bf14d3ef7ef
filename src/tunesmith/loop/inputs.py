"""What every run works on, read and checked, whatever its recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from ase import Atoms

from tunesmith.core import E0s, Frame, Reference, derived_seed
from tunesmith.data.formats import read_frames
from tunesmith.data.label_row import canonical
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential
from tunesmith.run_folder import stamp
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.problem import Problem
from tunesmith.words import counted

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run works on; recipes add what only they have.

    problem: what is to be learnt, as yet without labels. foundation: the untuned model. reference:
    who labels. starts: structures with their constraints, where dynamics begins. initial, isolated:
    labelled frames there are already. identity: of all that decides results.
    """

    config: Any
    problem: Problem
    foundation: Ensemble
    reference: Reference
    starts: list[Atoms]
    initial: list[Frame]
    isolated: list[Frame]
    identity: dict[str, str]

    @property
    def potential(self) -> Potential:
        return self.problem.potential


def opened(config: Any) -> Potential:
    """The potential to start from, at the run's number of threads."""
    torch.set_num_threads(config.execute.threads)
    model = config.model
    return zoo.load(model.source, head=model.head, dtype=model.dtype, device=model.device)


def untuned(potential: Potential) -> Ensemble:
    """The model as it is, with its own isolated-atom energies."""
    return Ensemble(potential, [potential.weights()], E0s(potential.e0s))


def read(config: Any, names: Sequence[str], say: Say) -> list[Frame]:
    """The structures of files, with what labels they have under the configuration's keys."""
    data, frames = config.data, []
    for name in names:
        found, used = read_frames(
            name,
            energy_key=data.energy_key,
            forces_key=data.forces_key,
            stress_key=data.stress_key,
        )
        say(f"{name}: {counted(len(found), 'structure')}; {used}")
        frames += found
    return frames


def read_starts(names: Sequence[str], say: Say) -> tuple[list[Frame], list[Atoms]]:
    """Start structures: as frames without labels, and with their constraints."""
    frames, structures = [], []
    for name in names:
        given, keys = read_frames(name, constraints=True)
        for note in keys.notes:
            say(f"{name}: {note}")
        for frame in given:
            bare = frame.atoms.copy()
            bare.set_constraint()
            frames.append(replace(frame, atoms=bare, label=None))
            structures.append(frame.atoms)
    return frames, structures


def to_learn(
    config: Any, potential: Potential, loss: Any, frames: list[Frame], valid: list[Frame], say: Say
) -> tuple[Problem, list[Frame]]:
    """What is to be learnt by ``loss``, and the structures that are replayed for ``frames``."""
    tune, seed = config.tune, derived_seed(config.seed, "tune")
    replayed = tune.anchor.select(potential, frames, seed)
    at = pretrained(potential, tune.subspace, seed)
    Coordinates(potential, tune.subspace, at, replay=bool(replayed))  # refuses what cannot be
    replay = tune.anchor.replay(potential, replayed, loss) if replayed else None
    if replay:
        say(replay.reason)
    zero = E0s(potential.e0s)
    problem = Problem(potential, tune.subspace, tune.anchor, loss, [], valid, zero, seed, replay)
    return problem, replayed


def identity_of(
    potential: Potential, sets: Sequence[Sequence[Frame]], reference: dict[str, Any]
) -> dict[str, str]:
    """Of all that decides results. sets: of structures, in an order that is always the same."""
    return {
        "model": potential.base.sha256,
        "data": " ".join(stamp.fingerprint(part) for part in sets),
        "reference": canonical(reference),
    }
