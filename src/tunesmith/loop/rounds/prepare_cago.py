"""Everything that can be checked before rounds that make their own structures cost anything."""

from ase import Atoms

from tunesmith.attack.scaled import projectors
from tunesmith.config import CagoConfig
from tunesmith.core import Frame
from tunesmith.data import checks
from tunesmith.errors import ConfigError, DataError
from tunesmith.loop.inputs import Say, identity_of, opened, read_starts, to_learn, untuned
from tunesmith.loop.rounds.rounds_prepare import (
    RoundsPrepared,
    check_e0,
    labelled,
    refuse_overlap,
)


def prepare(config: CagoConfig, say: Say) -> RoundsPrepared:
    """Read and check; writes nothing.

    Raises `DataError`, `ConfigError`, `ModelError` and their kin, one sentence each, where rounds
    cannot work.
    """
    potential = opened(config)
    initial, isolated, valid, test = labelled(config, potential.elements, say)
    frames, starts = read_starts(config.explore.start, say)
    if alone := next((f for f in frames if checks.is_isolated(f)), None):
        raise DataError(
            f"explore.start: {alone.origin} is an isolated atom, which has no dynamics; move it to "
            "a file of data.initial."
        )
    checks.check_structures(frames, potential.elements)
    if remark := config.reference.assumed(frames):
        say(remark)
    parts = {"data.initial": initial, "data.valid": valid}
    refuse_overlap(parts | ({"data.test": test} if test is not valid else {}))
    _check_starts(config, frames, starts)
    _check_first_labels(config, len(initial) + len(starts) * (1 + config.explore.rattled), valid)
    check_e0(config, potential, [*frames, *initial], isolated)
    reference = config.reference
    told = reference.identity()  # an engine that is missing says so here
    loss = config.tune.loss
    problem, replayed = to_learn(config, potential, loss, [*frames, *initial], valid, say)
    sets = (frames, initial, isolated, valid, test, replayed)
    return RoundsPrepared(
        config=config,
        problem=problem,
        foundation=untuned(potential),
        reference=reference,
        starts=starts,
        initial=initial,
        isolated=isolated,
        identity=identity_of(potential, sets, told),
        pool=[],
        valid=valid,
        test=test,
    )


def _check_starts(config: CagoConfig, frames: list[Frame], starts: list[Atoms]) -> None:
    explore, attack = config.explore, config.acquire.attacked
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
        explore.check(starts, max(explore.frames_for(n, len(starts)) for n in of_dynamics))


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
