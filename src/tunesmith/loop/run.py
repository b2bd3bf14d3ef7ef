"""A whole run, whatever its recipe: from a configuration to a run folder, and on from there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from tunesmith.core import Settings
from tunesmith.engines.processes import executor
from tunesmith.errors import ConfigError
from tunesmith.loop.interrupts import Interrupts
from tunesmith.loop.recipe import Course, Ready, Recipe
from tunesmith.loop.screen import Screen
from tunesmith.loop.stopwatch import Stopwatch
from tunesmith.loop.tools import Tools
from tunesmith.references.engine import NO_NUMBERS
from tunesmith.registry import RECIPES
from tunesmith.run_folder import seal, stamp


def run(config: Any, out: str | Path, console: Console | None = None) -> dict[str, Any]:
    """Explore, label what the model should learn, learn; returns the run's summary.

    config: of a recipe, as `tunesmith.config.load_run` reads it. The folder ``out`` then holds
    labels, the tuned model, its committee, a picture, and of dynamics the trajectory. Called again
    it resumes, to the same result to the bit at the same number of threads, or, when finished, only
    returns the summary. A longer ``explore.time``, or more ``explore.rounds``, extend a finished
    run.

    What happens is said on ``console``, stderr where none is given. Raises `TunesmithError`s of one
    sentence; what was done by then is kept.
    """
    out, recipe = Path(out), recipe_of(config)
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    ready = _ready(recipe, config, out, console)
    with stamp.alone(out), _tools(config, console) as tools:
        course = recipe.open(ready, out, tools)
        if (end := course.end()) is not None and (done := _finished(out, course)) is not None:
            tools.screen.say(f"{out} is finished: {end.reason}.")
            return done
        course.run()
        end = course.end()
        assert end is not None
        tools.screen.say(f"{end.reason}.")
        tools.screen.busy("writing results")
        seal.put_aside(out, tools.screen.say)
        summary = recipe.write(course)
        seal.seal(out)
        return summary


def estimate(config: Any, out: Path, console: Console) -> dict[str, Any]:
    """Check a run as a real one would, and time its parts; seconds. Raises what a run would."""
    recipe = recipe_of(config)
    ready = _ready(recipe, config, out, console)
    with _tools(config, console) as tools, tools.interrupts.at_once():
        return recipe.estimate(ready, out, tools)


def recipe_of(config: Any) -> Recipe:
    """By the kind of its explorer. Raises `ConfigError` for an explorer without one."""
    kind = config.explore.kind
    if kind not in RECIPES.names():
        raise ConfigError(
            f"explore.kind: nothing runs {kind!r}; its package must offer a recipe under that name "
            "(entry point tunesmith.recipe)."
        )
    recipe: Recipe = RECIPES.get(kind)()
    return recipe


def may_change(config: Any) -> tuple[str, ...]:
    """Starts of the paths of settings that may differ when a run is resumed."""
    free = (f"reference.{name}" for name in (*NO_NUMBERS, "max_memory"))
    return (*config.MAY_CHANGE, *free)


def _ready(recipe: Recipe, config: Settings, out: Path, console: Console) -> Ready:
    """What a run works on; refused where the folder is another run's."""
    known = stamp.stored(out, config, may_change(config))
    ready: Ready = recipe.prepare(config, console.print)
    if known is not None:
        stamp.require_same(out, known["identity"], ready.identity)
    return ready


@contextmanager
def _tools(config: Any, console: Console) -> Iterator[Tools]:
    screen, settings = Screen(console), config.execute
    try:
        with Interrupts() as interrupts, executor(settings.processes, settings.threads) as pool:
            yield Tools(Stopwatch(), interrupts, screen, pool)
    finally:
        screen.close()


def _finished(out: Path, course: Course) -> dict[str, Any] | None:
    """The summary of just this end, where it is written and all of it is as it was."""
    try:
        summary = dict(json.loads((out / "summary.json").read_text()))
    except (OSError, ValueError):
        return None
    return summary if course.is_of(summary) and seal.intact(out) else None
