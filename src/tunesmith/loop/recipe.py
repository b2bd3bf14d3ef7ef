"""What a run is made of, whoever explores: a recipe, found by ``explore.kind``, and its course.

`tunesmith.loop.run` asks, the same of every recipe:

| call | what happens |
|---|---|
| `Recipe.prepare` | all is read, and refused what can be before it costs anything |
| `Recipe.open` | the course where it stands: at its checkpoint, else at its beginning |
| `Course.run` | explore, acquire, label, tune, calibrate, to the end; saved on the way |
| `Recipe.write` | what the user is left with, and the summary of it |
| `Recipe.show` | the summary, for people |
| `Recipe.estimate`, `show_cost` | what a run will cost, and that for people |

The law of a course: it is a function of the configuration, of the labels in the store and of where
it stands, never of the time it takes nor of when it was interrupted. A run that was killed goes on
to the same result, to the bit at the same number of threads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from tunesmith.loop.tools import Tools


@dataclass(frozen=True)
class End:
    """Why a run is over, in words; well: as it was asked for."""

    reason: str
    well: bool = True


class Ready(Protocol):
    """What a run works on, read and checked (`tunesmith.loop.inputs` has most of it).

    config: has ``MAY_CHANGE``, the starts of the paths of settings that may differ when a run is
    resumed, and the sections ``explore``, ``reference`` and ``execute``. identity: of all that
    decides results.
    """

    @property
    def config(self) -> Any: ...

    @property
    def identity(self) -> dict[str, str]: ...


class Course(Protocol):
    """A run on its way."""

    def run(self) -> None:
        """Go on until there is an end; saved by then, also where it is interrupted."""
        ...

    def end(self) -> End | None:
        """Why it is over; None while it is not."""
        ...

    def is_of(self, summary: Mapping[str, Any]) -> bool:
        """Whether a summary was written of the course as it stands."""
        ...


class Recipe(Protocol):
    """One way to run the loop. Any: its own `Ready` and `Course`."""

    def prepare(self, config: Any, say: Callable[[str], None]) -> Any:
        """Read and check; writes nothing. say: takes what people should know of what was read.

        Raises `TunesmithError`s, one sentence each, where a run cannot work.
        """
        ...

    def open(self, ready: Any, out: Path, tools: Tools) -> Course:
        """The course where it stands in the folder ``out``, which it claims."""
        ...

    def write(self, course: Any) -> dict[str, Any]:
        """Write everything into the run's folder, ``summary.json`` last; the summary.

        By names of `tunesmith.run_folder.seal`: what has others is not looked after.

        It holds ``as_asked``: whether the run ended as it was asked to.
        """
        ...

    def show(self, summary: dict[str, Any], screen: Console) -> None:
        """The summary, for people."""
        ...

    def estimate(self, ready: Any, out: Path, tools: Tools) -> dict[str, Any]:
        """Seconds of the run's parts. Labels that it makes stay in the store."""
        ...

    def show_cost(self, cost: dict[str, Any], screen: Console) -> None:
        """The estimate, for people."""
        ...
