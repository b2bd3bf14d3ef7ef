"""What a fine-tuning starts from, checked before anything is written: data, model, strategy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from tunesmith.config import E0Settings, TuneConfig
from tunesmith.core import E0s, Frame
from tunesmith.data import checks
from tunesmith.data.e0 import choose_e0s, needs_prediction
from tunesmith.data.formats import Beside, read_contents
from tunesmith.data.naming import expanded, told_apart
from tunesmith.doctor.examine import examine
from tunesmith.doctor.findings import refusal, require_codes
from tunesmith.doctor.unused import judge_unused
from tunesmith.errors import DataError, ModelError
from tunesmith.posterior.ensemble import Ensemble
from tunesmith.potentials import zoo
from tunesmith.run_folder import stamp
from tunesmith.tune.choice import choose, warnings, with_strategy
from tunesmith.tune.replay import predicted
from tunesmith.words import counted

#: validation structures below which recalibrated error bars are a guess
#: (docs/measurements/posteriors-of-ethanol.md)
FEW = 10
#: validation structures below which the choice of an epoch is mostly chance
FEW_VALID = 5
#: labels below which none is set apart as a test where each member splits for itself
NO_TEST = 10


@dataclass(frozen=True)
class Intake:
    """What is learnt from, and from which model.

    config: with its strategy. replayed: structures to replay, as selected. beside: what the files
    say beside their frames. identity: of model and data, to the bit. remarks: what is likely to
    disappoint, and why this strategy.
    """

    config: TuneConfig
    start: Ensemble
    train: list[Frame]
    valid: list[Frame]
    isolated: list[Frame]
    replayed: list[Frame]
    beside: dict[str, Beside]
    identity: dict[str, str]
    remarks: tuple[str, ...]


def take_in(config: TuneConfig, console: Console) -> Intake:
    """Read and check; writes nothing. Raises `DataError`, `ModelError` and their kin."""
    require_codes(config.data.accept)
    train, valid, isolated, beside = _frames(config, console)
    model = config.model
    potential = zoo.load(model.source, head=model.head, dtype=model.dtype, device=model.device)
    start = Ensemble(potential, [potential.weights()], E0s(potential.e0s))
    remarks = list[str]()
    for part in (train, valid) if valid else (train,):
        # forces of zero are left to the doctor, who has a foundation to tell by
        checks.require_labels(
            part, potential.elements, beside, energies=not config.forces_only, zeros=True
        )
    if config.forces_only and _lacks_energies((*train, *valid)):
        remarks.append(
            "forces are learnt without energies (tune.loss.energy=0): the model's zero of energy "
            "stays the foundation's, and no error of energies is known."
        )
    if config.undecided:
        structures = [frame.atoms for frame in (*train, *valid)]
        known = potential.weights()
        name, why = choose(
            structures,
            config.scope,
            replayable=_replayable(potential.base.source),
            weights=sum(known[name].numel() for name in potential.names.trainable()),
        )
        config = with_strategy(config, name)
        remarks.append(why)
    remarks += warnings(config)
    if not valid:
        remarks.append(
            f"only {len(train)} labels: no test set is set apart, and error bars are recalibrated "
            "out of the bag, each structure by the members that have not seen it."
        )
    elif config.tune.sampler.count > 1 and len(valid) < FEW:
        remarks.append(
            f"only {len(valid)} validation structures recalibrate the error bars, which want {FEW} "
            "or more: give a file as data.valid, or a larger data.valid_fraction."
        )
    elif 0 < len(valid) < FEW_VALID:
        remarks.append(
            f"the best epoch is chosen by only {counted(len(valid), 'validation structure')}, and "
            "errors on so few say little: give a file as data.valid, or a larger "
            "data.valid_fraction."
        )
    with_stress = sum(f.label is not None and f.label.stress is not None for f in train)
    periodic = sum(bool(f.atoms.pbc.all()) for f in train)
    if 0 < with_stress < periodic:
        remarks.append(
            f"{with_stress} of {periodic} periodic structures have stress; the others teach none."
        )
    if potential.capabilities.native_needs_cell and not all(f.atoms.pbc.all() for f in train):
        remarks.append(
            f"structures without a cell need none here; the calculator of {potential.base.package} "
            "itself wants a periodic box around them, wider than twice its cutoff of "
            f"{potential.cutoff:g} Å."
        )
    for remark in remarks:
        console.print(remark)
    replayed = config.tune.anchor.select(potential, train, config.seed)
    identity = stamp.identity(potential, train + valid + isolated + replayed)
    return Intake(config, start, train, valid, isolated, replayed, beside, identity, tuple(remarks))


def _lacks_energies(frames: Sequence[Frame]) -> bool:
    return not all(frame.label and np.isfinite(frame.label.energy) for frame in frames)


def _replayable(source: str) -> bool:
    """Whether structures to replay are shipped with a model."""
    try:
        zoo.shipped_frames(source, "replay")
    except ModelError:
        return False
    return True


def _frames(
    config: TuneConfig, console: Console
) -> tuple[list[Frame], list[Frame], list[Frame], dict[str, Beside]]:
    """Training, validation and isolated-atom frames, and what stands beside them in the files."""
    data = config.data
    beside: dict[str, Beside] = {}

    paths = expanded(data.train)
    files = [*paths, *([Path(data.valid)] if data.valid is not None else [])]
    if data.valid is not None and Path(data.valid).resolve() in {p.resolve() for p in paths}:
        raise DataError(
            f"data.valid: {data.valid} is learnt from, too, so that its errors would say nothing; "
            "give another file, or leave it out, and a part of the training files is set apart."
        )
    called = dict(zip(files, told_apart(files), strict=True))

    def read(path: Path) -> list[Frame]:
        found = read_contents(
            path,
            energy_key=data.energy_key,
            forces_key=data.forces_key,
            stress_key=data.stress_key,
            format=data.format,
            name=called[path],
            partial=config.forces_only,
        )
        n = len(found.frames)
        console.print(f"{path}: {counted(n, 'structure')}; {found.keys}", markup=False)
        for f in judge_unused(path.name, found.keys):
            if f.code not in data.accept:
                console.print(f"{f.code}: {f.message}; {f.cure}", markup=False)
        beside.update(found.beside)
        return found.frames

    train, isolated = checks.separate_isolated([f for path in paths for f in read(path)])
    if not train:
        raise DataError("the training files hold only isolated atoms; add structures to learn.")
    if data.valid is not None:
        valid, _ = checks.separate_isolated(read(Path(data.valid)))
        if not valid:
            raise DataError(f"{data.valid} holds only isolated atoms; give structures or leave it.")
    elif config.tune.sampler.splits and len(train) < NO_TEST:
        valid = []
    else:
        train, valid = checks.split(train, data.valid_fraction, np.random.default_rng(config.seed))
    return train, valid, isolated, beside


def examined(given: Intake, console: Console) -> list[str]:
    """Codes of what the doctor finds worth a look.

    Raises `DataError` where training would be spoilt and the user has not accepted that.
    """
    config = given.config
    found = examine(
        given.train,
        given.start,
        valid=given.valid or None,
        isolated=given.isolated,
        beside=given.beside,
        seed=config.seed,
        energies=not config.forces_only,
    ).without(config.data.accept)
    if found.errors:
        raise DataError(refusal(found))
    warned = [f for f in found.findings if f.severity == "warning"]
    for finding in warned:
        console.print(f"{finding.code}: {finding.message}; {finding.cure}", markup=False)
    return [f.code for f in warned]


def align(
    settings: E0Settings,
    start: Ensemble,
    train: list[Frame],
    isolated: list[Frame],
    *,
    fresh: bool = False,
) -> E0s:
    """The isolated-atom energies of a model tuned from ``start``.

    fresh: its weights start anew and know no binding energy; averages then take it away, as the
    shift of a model trained from scratch does.
    """
    method = settings.method
    if _lacks_energies(train):
        if method not in ("auto", "foundation", "table"):
            raise DataError(
                f"tune.e0.method={method} needs energies, which the labels lack; leave it out."
            )
        if method == "auto":
            own = choose_e0s("foundation", frames=train, isolated=(), foundation=start.e0s.values)
            return replace(own, reason="E0s: the foundation model's own; no energies are learnt.")
    elif fresh and method == "auto":
        method = "average"
    energies = None
    if needs_prediction(method):
        energies = np.array([label.energy for label in predicted(start.potential, train)])
    return choose_e0s(
        method,
        frames=train,
        isolated=isolated,
        foundation=start.e0s.values,
        predicted=energies,
        table=settings.table,
    )
