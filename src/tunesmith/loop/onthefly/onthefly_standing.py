"""Where a run stands: everything its next step depends on, as one frozen value; and packed."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from tunesmith.core import BY_MEMBERS, Members, Settings
from tunesmith.loop.checkpoint import Packed
from tunesmith.settings import build, plain


@dataclass(frozen=True)
class Record:
    """One structure that was labelled on the way, as it looked before its label was learnt.

    key: of the label in the store. walker; time: of that walker, fs; clock: simulated by all
    walkers, fs. why: in words. Energies in eV: predicted, labelled, untuned (the foundation's,
    aligned alike), raw and calibrated std (None where the prediction was no number). probability:
    the largest of the criteria's. tail: P(a larger |error|) under the calibrated law, so that
    the error lies in the 95 % interval where it is at least 0.05. threshold: K then, None where
    not asked. force_rmse, untuned_force_rmse: eV/Å. by: the criterion that asked, as of `Decision`.
    force_ratio, untuned_force_ratio: the largest of any atom of its force error over its threshold;
    None where forces are not judged.
    """

    key: str
    walker: int
    time: float
    clock: float
    why: str
    predicted: float
    labelled: float
    untuned: float
    raw_std: float | None
    std: float | None
    probability: float
    tail: float | None
    threshold: float | None
    force_rmse: float
    untuned_force_rmse: float
    by: str = ""
    force_ratio: float | None = None
    untuned_force_ratio: float | None = None

    @property
    def error(self) -> float:
        """Of the prediction, eV."""
        return self.predicted - self.labelled


@dataclass(frozen=True)
class AttackRecord:
    """One attack on a structure that was labelled on the way, by the posterior that had asked.

    walker, time, clock: as of `Record`. target: the error wanted; start_std, std: that expected
    before and after, rms over atoms (None where the attack could not start); off, displacement,
    strain, evaluations: as of `Attacked`; stopped: its reason. calibration: `holds`, or why the
    target is beyond it; aim: the error aimed at instead, None where it is the target. outcome: what
    came of it; why: in words, empty where it was learnt. key: of the label in the store. error: the
    real one, rms over members and atoms; mean_error: that of the members' mean; both before
    anything was learnt; None without a label. eV/Å, Å, fs.
    """

    walker: int
    time: float
    clock: float
    target: float
    outcome: Literal["learnt", "not learnt", "failed", "not labelled"]
    why: str = ""
    key: str | None = None
    start_std: float | None = None
    std: float | None = None
    off: float | None = None
    displacement: float = 0.0
    strain: float = 0.0
    evaluations: int = 0
    stopped: str = "could not start"
    calibration: str = ""
    aim: float | None = None
    error: float | None = None
    mean_error: float | None = None

    @property
    def labelled(self) -> bool:
        return self.error is not None


@dataclass(frozen=True)
class OnTheFlyStanding:
    """The state of a run between two steps.

    explorer: the explorer's own state; good: two earlier ones to go back to, the older first.
    updates: of the members, so far. calibration: by quantity. keys: of every label learnt from,
    in order, in the label store. records: of those labelled on the way; attacks: on them. steps:
    of all walkers; since_good: those since ``good`` changed, or something went back to it; clock:
    time they simulated together, fs, what was thrown away after an explosion included.
    labelled_at, silent_until: on that clock, the last label and the end of the pause after a failed
    call. owed: the pause was made to try again afterwards (policy retry). failures, explosions: in
    a row; failed, exploded: in all. longer: how much longer sampling is; locked: labels in a row at
    which it was at its longest and did not help. written: bytes of the trajectory.
    """

    explorer: Any
    good: tuple[Any, Any]
    members: Members
    updates: int = 0
    calibration: dict[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    attacks: tuple[AttackRecord, ...] = ()
    steps: int = 0
    since_good: int = 0
    clock: float = 0.0
    labelled_at: float = 0.0
    silent_until: float = 0.0
    owed: bool = False
    failures: int = 0
    failed: int = 0
    explosions: int = 0
    exploded: int = 0
    longer: float = 1.0
    locked: int = 0
    written: int = 0

    @property
    def made(self) -> int:
        """Labels made on the way, those of adversaries included."""
        return len(self.records) + sum(a.labelled for a in self.attacks)

    @property
    def given(self) -> int:
        """How many of ``keys`` the run started from."""
        beside = sum(a.outcome == "learnt" for a in self.attacks)
        return len(self.keys) - len(self.records) - beside


#: fields of an `OnTheFlyStanding` that JSON holds as they are
_PLAIN = (
    *("updates", "keys", "steps", "since_good", "clock", "labelled_at", "silent_until", "owed"),
    *("failures", "failed", "explosions", "exploded", "longer", "locked", "written"),
)


def pack(at: OnTheFlyStanding, explorer: Any) -> Packed:
    """For the checkpoint. explorer: packs its own states."""
    tensors: dict[str, torch.Tensor] = {}
    states = []
    for i, state in enumerate((at.explorer, *at.good)):
        arrays, info = explorer.pack(state)
        # ascontiguousarray would turn numbers into vectors
        tensors |= {f"{i}/{k}": torch.from_numpy(np.array(v)) for k, v in arrays.items()}
        states.append(info)
    info = {
        **{name: getattr(at, name) for name in _PLAIN},
        "explorer": states,
        "calibration": plain(at.calibration),
        "records": [asdict(record) for record in at.records],
        "attacks": [asdict(record) for record in at.attacks],
    }
    return Packed(at.updates, at.members, tensors, info)


def unpack(packed: Packed, explorer: Any) -> OnTheFlyStanding:
    """What `pack` packed. Raises `KeyError` or `TypeError` where something is missing."""
    tensors, info = packed.tensors, packed.info
    states = [
        explorer.unpack(
            {k[2:]: v.numpy() for k, v in tensors.items() if k.startswith(f"{i}/")}, one
        )
        for i, one in enumerate(info["explorer"])
    ]
    laws = info["calibration"]
    if BY_MEMBERS not in laws:
        raise KeyError(BY_MEMBERS)  # what attacks follow, and noise heads of all layers
    values: dict[str, Any] = {k: info[k] for k in _PLAIN} | {"keys": tuple(info["keys"])}
    if packed.members is None:
        raise KeyError("members")
    return OnTheFlyStanding(
        explorer=states[0],
        good=(states[1], states[2]),
        members=packed.members,
        calibration={name: build(Settings, law, "calibrate") for name, law in laws.items()},
        records=tuple(Record(**record) for record in info["records"]),
        attacks=tuple(AttackRecord(**record) for record in info["attacks"]),
        **values,
    )
