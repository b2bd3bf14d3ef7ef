"""Everything that can be checked before rounds cost anything; of those from a pool here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tunesmith.config import CagoConfig, PoolConfig
from tunesmith.core import Frame, Label, Reference, derived_seed
from tunesmith.data import checks
from tunesmith.data.e0 import choose_e0s
from tunesmith.data.label_row import label_key
from tunesmith.errors import DataError
from tunesmith.loop.inputs import Prepared, Say, identity_of, opened, read, to_learn, untuned
from tunesmith.potentials.potential import Potential


@dataclass(frozen=True, kw_only=True)
class RoundsPrepared(Prepared):
    """pool: the candidates, without labels whatever their files hold; empty where rounds make their
    own structures, whose valid and test may be empty too. valid, test: labelled. rest: candidates
    by number, with the labels they hide, that measure every round's model until they are asked for.
    """

    pool: list[Frame]
    valid: list[Frame]
    test: list[Frame]
    rest: dict[int, Frame] = field(default_factory=dict)


def prepare(config: PoolConfig, say: Say) -> RoundsPrepared:
    """Read and check; writes nothing.

    Raises `DataError`, `ConfigError`, `ModelError` and their kin, one sentence each, where rounds
    cannot work.
    """
    potential = opened(config)
    data, known = config.data, potential.elements
    initial, isolated, valid, test = labelled(config, known, say)
    given = read(config, config.explore.files, say)
    pool = [replace(frame, label=None) for frame in given]
    _check_pool(config, pool, known)
    parts = {"explore.files": pool, "data.initial": initial, "data.valid": valid}
    refuse_overlap(parts | ({"data.test": test} if data.test is not None else {}))
    _check_elements(pool, [*initial, *valid, *test], say)
    check_e0(config, potential, [*pool, *initial], isolated)
    reference: Reference = config.reference.among(given)
    told = reference.identity()  # an engine that is missing says so here
    problem, replayed = to_learn(config, potential, config.tune.loss, [*pool, *initial], valid, say)
    sets = (pool, initial, isolated, valid, test, replayed)
    return RoundsPrepared(
        config=config,
        problem=problem,
        foundation=untuned(potential),
        reference=reference,
        starts=[],
        initial=initial,
        isolated=isolated,
        identity=identity_of(potential, sets, told),
        pool=pool,
        valid=valid,
        test=test,
        rest=_rest(config, pool, reference, say),
    )


# ------------------------------------------------------------------- of rounds of any kind


def labelled(
    config: PoolConfig | CagoConfig, known: Sequence[int], say: Say
) -> tuple[list[Frame], list[Frame], list[Frame], list[Frame]]:
    """Initial structures, isolated atoms, validation and test structures.

    The last is the very list of the validation where there is no other file; both are empty where
    there is none at all.
    """
    data = config.data
    initial, isolated = checks.separate_isolated(read(config, data.initial, say))
    parts = {}
    for name, file in (("data.valid", data.valid), ("data.test", data.test)):
        if file is not None:
            parts[name], _ = checks.separate_isolated(read(config, (file,), say))
    for part in (initial, isolated):
        if part:
            checks.require_labels(part, known)
    for name, part in parts.items():
        if not part:
            raise DataError(f"{name}: holds only isolated atoms; give labelled structures.")
        checks.require_labels(part, known)
    valid = parts.get("data.valid", [])
    return initial, isolated, valid, parts.get("data.test", valid)


def _check_pool(config: PoolConfig, pool: list[Frame], known: Sequence[int]) -> None:
    checks.check_structures(pool, known)
    if alone := next((f for f in pool if checks.is_isolated(f)), None):
        raise DataError(
            f"explore.files: {alone.origin} is an isolated atom, which is no candidate; move it "
            "to a file of data.initial."
        )
    config.explore.check(len(pool), config.acquire.batch)


def _rest(
    config: PoolConfig, pool: list[Frame], reference: Reference, say: Say
) -> dict[int, Frame]:
    """Candidates drawn by lot, the same however many rounds there are; those without a label that
    holds are passed over."""
    found: dict[int, Frame] = {}
    if (wanted := config.explore.rest) is None:
        return found
    for number in np.random.default_rng(derived_seed(config.seed, "rest")).permutation(len(pool)):
        label = reference.label(pool[number].atoms)
        if isinstance(label, Label):
            found[int(number)] = replace(pool[number], label=label)
        if len(found) == wanted:
            break
    say(f"explore.rest: {len(found)} candidates measure every round too, until they are asked for")
    return found


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


def _check_elements(pool: list[Frame], others: list[Frame], say: Say) -> None:
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


def check_e0(
    config: PoolConfig | CagoConfig,
    potential: Potential,
    frames: list[Frame],
    isolated: list[Frame],
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
