"""Everything that can be checked before rounds from a pool cost anything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from tunesmith.config import PoolConfig
from tunesmith.core import E0s, Frame, Reference, derived_seed
from tunesmith.data import checks
from tunesmith.data.e0 import choose_e0s
from tunesmith.data.formats import read_frames
from tunesmith.data.rows import canonical, label_key
from tunesmith.errors import DataError
from tunesmith.potentials import zoo
from tunesmith.potentials.base import Potential
from tunesmith.references.hidden import Hidden
from tunesmith.tune import folder
from tunesmith.tune.coordinates import Coordinates, pretrained
from tunesmith.tune.problem import Problem
from tunesmith.uncertainty.ensemble import Ensemble


@dataclass(frozen=True)
class Prepared:
    """What rounds work on.

    pool: the candidates, without labels whatever their files hold. reference: who labels them.
    initial, isolated, valid, test: labelled. problem: what is to be learnt, as yet without labels.
    identity: of all that decides results.
    """

    config: PoolConfig
    problem: Problem
    foundation: Ensemble
    pool: list[Frame]
    reference: Reference
    initial: list[Frame]
    isolated: list[Frame]
    valid: list[Frame]
    test: list[Frame]
    identity: dict[str, str]

    @property
    def potential(self) -> Potential:
        return self.problem.potential


def prepare(config: PoolConfig, say: Callable[[str], None]) -> Prepared:
    """Read and check; writes nothing.

    Raises `DataError`, `ConfigError`, `ModelError` and their kin, one sentence each, where rounds
    cannot work.
    """
    torch.set_num_threads(config.execute.threads)
    model = config.model
    potential = zoo.load(model.source, head=model.head, dtype=model.dtype, device=model.device)
    data, known = config.data, potential.elements
    initial, isolated = checks.separate_isolated(_read(config, data.initial, say))
    valid, _ = checks.separate_isolated(_read(config, (data.valid,), say))
    test = valid
    if data.test is not None:
        test, _ = checks.separate_isolated(_read(config, (data.test,), say))
    given = _read(config, config.explore.files, say)
    pool = [replace(frame, label=None) for frame in given]
    _check_pool(config, pool, known)
    for part in (initial, isolated):
        if part:
            checks.require_labels(part, known)
    for name, part in (("data.valid", valid), ("data.test", test)):
        if not part:
            raise DataError(f"{name}: holds only isolated atoms; give labelled structures.")
        checks.require_labels(part, known)
    parts = {"explore.files": pool, "data.initial": initial, "data.valid": valid}
    refuse_overlap(parts | ({"data.test": test} if data.test is not None else {}))
    _check_elements(pool, [*initial, *valid, *test], say)
    _check_e0(config, potential, [*pool, *initial], isolated)
    hidden = isinstance(config.reference, Hidden)
    reference: Reference = config.reference.among(given) if hidden else config.reference
    told = reference.identity()  # an engine that is missing says so here
    problem, replayed = _problem(config, potential, [*pool, *initial], valid)
    if problem.replay:
        say(problem.replay.reason)
    foundation = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    sets = (pool, initial, isolated, valid, test, replayed)
    identity = {
        "model": potential.base.sha256,
        "data": " ".join(folder.fingerprint(part) for part in sets),
        "reference": canonical(told),
    }
    return Prepared(
        config, problem, foundation, pool, reference, initial, isolated, valid, test, identity
    )


def _read(config: PoolConfig, names: Sequence[str], say: Callable[[str], None]) -> list[Frame]:
    data, frames = config.data, []
    for name in names:
        read, used = read_frames(
            name,
            energy_key=data.energy_key,
            forces_key=data.forces_key,
            stress_key=data.stress_key,
        )
        say(f"{name}: {len(read)} structures; {used}")
        frames += read
    return frames


def _check_pool(config: PoolConfig, pool: list[Frame], known: Sequence[int]) -> None:
    checks.check_structures(pool, known)
    if alone := next((f for f in pool if checks.is_isolated(f)), None):
        raise DataError(
            f"explore.files: {alone.origin} is an isolated atom, which is no candidate; move it "
            "to a file of data.initial."
        )
    config.explore.check(len(pool), config.acquire.batch)


def refuse_overlap(parts: dict[str, list[Frame]]) -> None:
    """Raise `DataError` where exactly the same structure stands in two sets, or twice in the pool.

    parts: by the setting that names their files.
    """
    seen: dict[str, tuple[str, Frame]] = {}
    for name, frames in parts.items():
        for frame in frames:
            key = label_key(frame.atoms, {})
            where, first = seen.setdefault(key, (name, frame))
            if first is frame or (where == name and name != "explore.files"):
                continue
            if where == name:
                said = f"{frame.origin} is the same structure as {first.origin}"
            else:
                said = f"{frame.origin} is also {first.origin} of {where}"
            raise DataError(f"{name}: {said}; remove one of the two.")


def _check_elements(pool: list[Frame], others: list[Frame], say: Callable[[str], None]) -> None:
    """Say where the pool has elements on which nothing will be measured, or the reverse."""
    ours, theirs = ({int(z) for f in frames for z in f.atoms.numbers} for frames in (pool, others))
    if not ours & theirs:
        raise DataError(
            f"the pool is made of {checks.symbols(ours)} and the labelled structures of "
            f"{checks.symbols(theirs)}; give labelled structures of the pool's elements."
        )
    if more := theirs - ours:
        say(f"no candidate contains {checks.symbols(more)}, which labelled structures do")
    if more := ours - theirs:
        say(f"no labelled structure contains {checks.symbols(more)}, which candidates do")


def _check_e0(
    config: PoolConfig, potential: Potential, frames: list[Frame], isolated: list[Frame]
) -> None:
    """What the settings of isolated atoms leave open of the pool's elements is refused now."""
    settings = config.tune.e0
    if settings.method in ("isolated", "table"):
        choose_e0s(
            settings.method,
            frames=frames,
            isolated=isolated,
            foundation=potential.e0s,
            table=settings.table,
        )


def _problem(
    config: PoolConfig, potential: Potential, frames: list[Frame], valid: list[Frame]
) -> tuple[Problem, list[Frame]]:
    """What is to be learnt, and the structures that are replayed for ``frames``."""
    tune, seed = config.tune, derived_seed(config.seed, "tune")
    replayed = tune.anchor.select(potential, frames, seed)
    at = pretrained(potential, tune.subspace, seed)
    Coordinates(potential, tune.subspace, at, replay=bool(replayed))  # refuses what cannot be
    replay = tune.anchor.replay(potential, replayed, tune.loss) if replayed else None
    zero = E0s(potential.e0s)
    problem = Problem(
        potential, tune.subspace, tune.anchor, tune.loss, [], valid, zero, seed, replay
    )
    return problem, replayed
