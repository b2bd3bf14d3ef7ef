"""Where a run stands: everything its next step depends on, as one frozen value."""

from dataclasses import dataclass, field
from typing import Any

from tunesmith.core import Members


@dataclass(frozen=True)
class Record:
    """One structure that was labelled on the way, as it looked before its label was learnt.

    key: of the label in the store. walker; time: of that walker, fs; clock: simulated by all
    walkers, fs. why: in words. Energies in eV: predicted, labelled, untuned (the foundation's,
    aligned alike), raw and calibrated std (None where the prediction was no number). probability:
    the largest of the criteria's. tail: P(a larger |error|) under the calibrated law, so that
    the error lies in the 95 % interval where it is at least 0.05. threshold: K then, None where
    not asked. force_rmse, untuned_force_rmse: eV/Å.
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

    @property
    def error(self) -> float:
        """Of the prediction, eV."""
        return self.predicted - self.labelled


@dataclass(frozen=True)
class Standing:
    """The state of a run between two steps.

    explorer: the explorer's own state; good: two earlier ones to go back to, the older first.
    updates: of the members, so far. calibration: by quantity. keys: of every label learnt from,
    in order, in the label store. records: of those labelled on the way. steps: of all walkers;
    since_good: those since ``good`` changed, or something went back to it; clock: time they
    simulated together, fs, what was thrown away after an explosion included. labelled_at,
    silent_until: on that clock, the last label and the end of the pause after a failed call.
    owed: the pause was made to try again afterwards (policy retry). failures, explosions: in a
    row; failed, exploded: in all. longer: how much longer sampling is; locked: labels in a row at
    which it was at its longest and did not help. written: bytes of the trajectory.
    """

    explorer: Any
    good: tuple[Any, Any]
    members: Members
    updates: int = 0
    calibration: dict[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
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


#: fields of a `Standing` that JSON holds as they are
PLAIN = (
    *("updates", "keys", "steps", "since_good", "clock", "labelled_at", "silent_until", "owed"),
    *("failures", "failed", "explosions", "exploded", "longer", "locked", "written"),
)
