"""Everything that can be checked before rounds that make their own structures cost anything."""

from collections.abc import Callable
from dataclasses import replace

from ase import Atoms

from tunesmith.attack.scaled import projectors
from tunesmith.config import CagoConfig
from tunesmith.core import E0s, Frame
from tunesmith.data import checks
from tunesmith.data.formats import read_frames
from tunesmith.errors import ConfigError, DataError
from tunesmith.loop.rounds.rounds_prepare import (
    Prepared,
    check_e0,
    identity_of,
    labelled,
    opened,
    refuse_overlap,
    to_learn,
)
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.references.engine import assumed


def prepare(config: CagoConfig, say: Callable[[str], None]) -> Prepared:
    """Read and check; writes nothing.

    Raises `DataError`, `ConfigError`, `ModelError` and their kin, one sentence each, where rounds
    cannot work.
    """
    potential = opened(config)
    initial, isolated, valid, test = labelled(config, potential.elements, say)
    frames, starts = _starts(config, say)
    checks.check_structures(frames, potential.elements)
    if remark := assumed(config.reference, frames):
        say(remark)
    parts = {"data.initial": initial, "data.valid": valid}
    refuse_overlap(parts | ({"data.test": test} if test is not valid else {}))
    _check_starts(config, frames, starts)
    _check_first_labels(config, len(initial) + len(starts) * (1 + config.explore.rattled), valid)
    check_e0(config, potential, [*frames, *initial], isolated)
    reference = config.reference
    told = reference.identity()  # an engine that is missing says so here
    problem, replayed = to_learn(config, potential, [*frames, *initial], valid, say)
    foundation = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    sets = (frames, initial, isolated, valid, test, replayed)
    identity = identity_of(potential, sets, told)
    return Prepared(
        config, problem, foundation, [], reference, initial, isolated, valid, test, identity, starts
    )


def _starts(config: CagoConfig, say: Callable[[str], None]) -> tuple[list[Frame], list[Atoms]]:
    """Start structures as frames without labels, and with their constraints."""
    frames, structures = [], []
    for name in config.explore.start:
        given, keys = read_frames(name, constraints=True)
        for note in keys.notes:
            say(f"{name}: {note}")
        for frame in given:
            bare = frame.atoms.copy()
            bare.set_constraint()
            frames.append(replace(frame, atoms=bare, label=None))
            structures.append(frame.atoms)
    if alone := next((f for f in frames if checks.is_isolated(f)), None):
        raise DataError(
            f"explore.start: {alone.origin} is an isolated atom, which has no dynamics; move it to "
            "a file of data.initial."
        )
    return frames, structures


def _check_starts(config: CagoConfig, frames: list[Frame], starts: list[Atoms]) -> None:
    explore, attack = config.explore, getattr(config.acquire, "attack", None)
    for frame, atoms in zip(frames, starts, strict=True):
        try:
            if attack is not None:
                attack.space(atoms)
            if explore.rattled:
                projectors(atoms)
        except DataError as error:
            raise DataError(f"explore.start: {frame.origin}: {error}") from None
    rounds = range(1, explore.rounds + 1)
    of_dynamics = [n for n in rounds if attack is None or not explore.from_training(n)]
    if of_dynamics:
        explore.check(starts, max(explore.wanted(n, len(starts)) for n in of_dynamics))


def _check_first_labels(config: CagoConfig, labels: int, valid: list[Frame]) -> None:
    """A committee must be able to differ, and to say by how much it errs."""
    sampler = config.tune.sampler
    if labels < 2 and not valid:
        raise ConfigError(
            "explore.rattled: from one label nobody can say how far a committee errs; let rattled "
            "copies be labelled too, as 4, or give data.initial or data.valid."
        )
    if not valid and not sampler.judges_itself and labels < 3:
        raise ConfigError(
            f"explore.rattled: of {labels} labels one is set apart to calibrate error bars, as "
            f"{sampler.kind} judges none out of the bag; let more rattled copies be labelled."
        )
