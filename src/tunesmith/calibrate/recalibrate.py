"""Error bars of a finished posterior, made honest on structures it has not learnt from.

One law for each quantity (energy, forces and, of crystals, stress), as on the fly, but from a fixed
validation set and with another belief beforehand. On the fly the prior of `gamma` is cautious on
purpose (a = 1.5, b = 10: errors a few times σ), since over-confidence would stop the labels that
could correct it; tens of records outweigh it. On a validation set too wide is as wrong as too
narrow. The limit a → 1, b → 0 is the scale of largest likelihood, the paper's own choice (appendix
A), a poor estimate from five structures. Between them stands one record's worth of belief that σ is
right, λ_MAP = (1/2 + n/2) / (1/2 + n M_n/2).

A power law is of the error of a single member, Gamma of that of the mean. The former is fitted to
all points at once (`PowerLaw.fit`); where they are too few, or errors do not grow with the spread,
it learns structure by structure as Gamma does, and its exponent stays near 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunesmith.calibrate.few_members import as_of
from tunesmith.calibrate.gamma import GammaCalibration
from tunesmith.calibrate.powerlaw import PowerLaw
from tunesmith.contracts import Posterior
from tunesmith.core import BY_MEMBERS, Frame, Prediction, Quantities
from tunesmith.errors import DataError, ModelError

#: λ_MAP = 1 before the first record, and as much weight as one record
ONE_RECORD = GammaCalibration(1.5, 0.5)
#: of every law's errors
UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³", BY_MEMBERS: "eV/Å"}
#: of the rms spread of force components; below it members agree to rounding, as where symmetry
#: makes a force zero, and the ratio of error to spread says nothing
_ROUNDING = 1e-3
_BATCH = 8


@dataclass(frozen=True)
class _Record:
    """One quantity of one structure: raw std, error of the mean, both of one shape, and rms error
    of the members (of the mean, where a posterior has none)."""

    std: np.ndarray
    error: np.ndarray
    member: np.ndarray


def recalibrated(
    posterior: Posterior, frames: list[Frame], law: Any = ONE_RECORD
) -> dict[str, Any]:
    """The calibrations of "energy", "forces" and "stress" that labelled frames support.

    law: before the first of them. Each frame makes one record of every quantity, its force
    components together one (errors within a structure are alike), and so its six components of
    stress. An energy that the posterior's ``e0s`` leave open makes none, nor a stress that is not
    labelled; a quantity without records is absent. A posterior that predicts noise also has a law
    `BY_MEMBERS`, of what its members differ by without it: a law holds for the spread that it was
    fitted to.

    Raises `DataError` where there is no labelled frame, `ModelError` where the posterior has no
    spread.
    """
    labelled = [frame for frame in frames if frame.label is not None]
    if not labelled:
        raise DataError("no labelled structure to recalibrate error bars on; give some.")
    found = [
        _all_members(prediction, at, k, f, posterior.judged)
        for prediction, at, k, f in _each(posterior, labelled)
    ]
    return _learnt(posterior, labelled, found, law)


def out_of_bag(
    posterior: Posterior,
    frames: list[Frame],
    unseen: Sequence[Sequence[int]],
    law: Any = ONE_RECORD,
) -> dict[str, Any]:
    """The same on the labelled frames that a committee has learnt from.

    unseen: of every member, the indices of the frames that it has not seen. A frame is judged by
    the mean and the spread of the members that have not seen it, three at least (two, where no
    frame has three); no others make a record. Their spread counts as that which all members would
    have shown (`few_members`). Raises `ModelError` where the posterior has no members, or
    predicts noise beside them.
    """
    fresh = [[m for m, seen in enumerate(unseen) if i in seen] for i in range(len(frames))]
    fewest = 3 if any(len(members) >= 3 for members in fresh) else 2
    found, judged, counts, every = [], [], [], len(unseen)
    for (prediction, at, k, frame), members in zip(_each(posterior, frames), fresh, strict=True):
        if prediction.members is None or prediction.var_noise is not None:
            raise ModelError(
                "out of the bag only the spread of members can be judged; give validation frames."
            )
        if len(members) < fewest:
            continue
        values = _values(prediction.members, at, k, frame)
        some = {name: value[members] for name, value in values.items()}
        found.append({name: _of_members(value, frame, name) for name, value in some.items()})
        judged.append(frame)
        counts.append(len(members))
    return _learnt(posterior, judged, found, law, (counts, every))


def facts_of(laws: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each calibration what a summary says: its factor, or a, b, the number of points or records
    and the calibrated error bars between which it was seen to hold (None: not known); `UNITS`."""
    return {
        name: {"kind": law.kind, "factor": float(law.std(1.0))}
        if not isinstance(law, PowerLaw)
        else {
            "kind": law.kind,
            "a": law.a,
            "b": law.b,
            "records": law.records,
            "range": _range(law),
        }
        for name, law in laws.items()
    }


def _range(law: PowerLaw) -> list[float] | None:
    if law.low is None or law.high is None:
        return None
    low, high = law.std([law.low, law.high])
    return [float(low), float(high)]


def said_of(laws: Mapping[str, Any]) -> list[str]:
    """A line on each calibration, for people, in `UNITS`."""
    if not laws:
        return ["no unseen structure tells errors: error bars are raw spreads"]
    lines = []
    for name, law in laws.items():
        unit = UNITS[name]
        name = "forces, by members alone" if name == BY_MEMBERS else name
        if not isinstance(law, PowerLaw):
            lines.append(f"{name}: error bars are {float(law.std(1.0)):.3g} times the spread")
            continue
        line = f"{name}: error bar = {law.a:.3g} · spread^{law.b:.3g} ({unit}), "
        line += f"from {law.records} {'structures' if law.rate else 'points'}"
        if (ends := _range(law)) is None:
            line += ", too few to say where it holds"
        else:
            said = f"from {ends[0]:.3g} to {ends[1]:.3g} {unit}"
            if ends[0] == ends[1]:  # of one group of points
                said = f"near {ends[0]:.3g} {unit} alone"
            line += f", seen to hold for error bars {said}"
        lines.append(line)
    return lines


# ------------------------------------------------------------------------------- records


def _each(
    posterior: Posterior, frames: list[Frame]
) -> Iterator[tuple[Prediction, slice, int, Frame]]:
    """Of every frame: a prediction that holds it, its atoms and its number there."""
    for i in range(0, len(frames), _BATCH):
        batch = frames[i : i + _BATCH]
        stress = any(_labelled_stress(frame) for frame in batch)
        prediction = posterior.predict([frame.atoms for frame in batch], stress=stress)
        ends = np.cumsum(prediction.n_atoms)
        for k, frame in enumerate(batch):
            yield prediction, slice(ends[k] - prediction.n_atoms[k], ends[k]), k, frame


def _labelled_stress(frame: Frame) -> bool:
    known = frame.label is not None and frame.label.stress is not None
    return known and bool(frame.atoms.pbc.all())


def _values(said: Sequence[Quantities], at: slice, k: int, frame: Frame) -> dict[str, np.ndarray]:
    """Of one frame what every one of ``said`` says, with a leading axis: energy (where there is a
    label of it), forces (n, 3) and, where it is predicted and labelled, the six components of
    stress."""
    found = {"forces": np.array([q.forces[at] for q in said])}
    if not np.isnan(_of_label(frame, "energy")):
        found["energy"] = np.array([q.energy[k] for q in said])
    if _labelled_stress(frame) and all(q.stress is not None for q in said):
        found["stress"] = np.array([_six(q.stress[k]) for q in said])  # type: ignore[index]
    return found


def _six(stress: np.ndarray) -> np.ndarray:
    """The components of a symmetric tensor, each once."""
    return np.asarray(stress)[np.triu_indices(3)]


def _of_label(frame: Frame, name: str) -> Any:
    assert frame.label is not None
    known = getattr(frame.label, name)
    return _six(known) if name == "stress" else known


def _all_members(
    prediction: Prediction, at: slice, k: int, frame: Frame, judged: Sequence[str]
) -> dict[str, _Record]:
    """Records of one frame by the whole posterior."""
    if (std := prediction.std()) is None:
        raise ModelError("a single fit has no spread to recalibrate; tune two members or more.")
    both = _values((std, prediction.mean), at, k, frame)
    records = {}
    for name, said in _values(prediction.members or (prediction.mean,), at, k, frame).items():
        if name not in judged:
            continue
        known, (own, mean) = _of_label(frame, name), both[name]
        records[name] = _Record(own, mean - known, _rms(said - known))
    if BY_MEMBERS in judged and prediction.var_noise is not None:
        assert prediction.var_model is not None
        own = np.sqrt(prediction.var_model.forces[at])
        records[BY_MEMBERS] = replace(records["forces"], std=own)
    return records


def _of_members(values: np.ndarray, frame: Frame, name: str) -> _Record:
    """values: (M, …), of some members."""
    errors = values - _of_label(frame, name)
    return _Record(values.std(axis=0, ddof=1), errors.mean(axis=0), _rms(errors))


def _rms(errors: Any) -> np.ndarray:
    return np.sqrt(np.mean(np.square(errors), axis=0))


def _learnt(
    posterior: Posterior,
    frames: list[Frame],
    found: list[dict[str, _Record]],
    law: Any,
    fewer: tuple[list[int], int] | None = None,
) -> dict[str, Any]:
    """fewer: how many members each record is of, and of how many the law is to be."""
    e0s = posterior.e0s
    counts, every = fewer or ([0] * len(frames), 0)
    laws: dict[str, Any] = {}
    for name in UNITS:
        known = [
            (records[name], members)
            for frame, records, members in zip(frames, found, counts, strict=True)
            if name in records
            and (name != "energy" or e0s is None or e0s.fixes(frame.atoms.numbers))
        ]
        # members alone agree to rounding where they do beside the whole spread
        whole = [r["forces" if name == BY_MEMBERS else name] for r in found if name in r]
        floor = None if name == "energy" else rounding([record.std for record in whole])
        pairs = [(_points(record, floor), members) for record, members in known]
        records = [record for record, _ in pairs if record.std.size]
        if records and fewer:
            members = [m for record, m in pairs if record.std.size]
            stds = as_of([record.std for record in records], members, every)
            records = [replace(r, std=std) for r, std in zip(records, stds, strict=True)]
        if records:
            own = _fitted(records, _of_quantity(law, name))
            laws |= {} if own is None else {name: own}
    return laws


def rounding(stds: Sequence[np.ndarray]) -> float:
    """The size below which numbers are rounding beside the others, in their unit. stds: spreads of
    one quantity, whole ones, of any shapes: where members agree so, that says nothing of errors."""
    if not stds:
        return 0.0
    squares = np.concatenate([np.ravel(std) ** 2 for std in stds])
    return float(_ROUNDING * np.sqrt(np.mean(squares)))


def _of_quantity(law: Any, name: str) -> Any:
    """A floor is in the unit of energies and forces, and would drown a stress."""
    if name == "stress" and isinstance(law, PowerLaw):
        return law.model_copy(update={"floor": 0.0})
    return law


def _points(record: _Record, floor: float | None) -> _Record:
    """As vectors; those with a spread over the floor, where there is one."""
    parts = [np.atleast_1d(part) for part in (record.std, record.error, record.member)]
    return _Record(*(part if floor is None else part[parts[0] > floor] for part in parts))


def _fitted(records: list[_Record], law: Any) -> Any:
    """A power law of all points at once, where its exponent is free and they support it; else
    record by record, from what is believed beforehand. None where no record says anything."""
    power = isinstance(law, PowerLaw)
    pairs = [(r.std, r.member if power else r.error) for r in records]
    if power and law.width != 0:
        std, error = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        try:
            return PowerLaw.fit(std, error, floor=law.floor or None)
        except DataError:
            pass  # too few points, or errors that do not grow with the spread
    pairs = [pair for pair in pairs if (pair[0] > (law.floor if power else 0.0)).any()]
    for std, error in pairs:
        law = law.update(std, error)
    return law if pairs else None
