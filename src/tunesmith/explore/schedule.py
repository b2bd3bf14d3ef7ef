"""A temperature or a pressure in the course of time: constant, in ramps, in jumps."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith import units
from tunesmith.errors import ConfigError

#: as a user writes it: one value, or points of time and value
Written = str | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Schedule:
    """Piecewise linear through (times, values), constant before the first and after the last point.

    times: fs, never decreasing; two equal times are a jump. values: in the package's own unit.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]

    def at(self, time: float) -> float:
        """The value at ``time`` (fs); at a jump the value after it."""
        after = bisect_right(self.times, time)
        if after == 0:
            return self.values[0]
        if after == len(self.times):
            return self.values[-1]
        (t0, t1), (v0, v1) = self.times[after - 1 : after + 1], self.values[after - 1 : after + 1]
        return v0 + (v1 - v0) * (time - t0) / (t1 - t0)


def read(written: Written, dimension: str, field: str) -> Schedule:
    """``"300 K"`` or ``[["0 ps", "300 K"], ["10 ps", "800 K"]]`` as a schedule.

    dimension: a key of `units.UNITS`. Raises `ConfigError` where a unit is missing or times go
    backwards.
    """
    if isinstance(written, str):
        return Schedule((0.0,), (units.parse(written, dimension, field=field).value,))
    if not written:
        raise ConfigError(f"{field}: the schedule has no points; give [[time, value], …].")
    times = tuple(units.parse(t, "time", field=field).value for t, _ in written)
    values = tuple(units.parse(v, dimension, field=field).value for _, v in written)
    for before, after, (text, _) in zip(times, times[1:], written[1:], strict=False):
        if after < before:
            raise ConfigError(
                f"{field}: its times go backwards at {text!r}; put the points in order of time."
            )
    return Schedule(times, values)
