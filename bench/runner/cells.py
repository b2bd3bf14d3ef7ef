"""Cells: which are wanted, what they cost, and their way through processes side by side."""

import sys
import time
from collections.abc import Callable, Container, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import fields
from typing import Any

from bench.runner.lines import C, Lines


def selected(
    cells: list[C], conditions: list[str], kind: type[C], others: Iterable[type[Any]] = ()
) -> list[C]:
    """Those that meet every condition FIELD=VALUE,VALUE; none do without the field. Exits on one
    that neither these nor the others have."""
    names, all_names = ([f.name for k in of for f in fields(k)] for of in ([kind], [kind, *others]))
    for condition in conditions:
        field, _, values = condition.partition("=")
        if not values or field not in all_names:
            known = ", ".join(dict.fromkeys(all_names))
            sys.exit(f"--only {condition}: give FIELD=VALUE,… with a field of {known}.")
        wanted = values.split(",") if field in names else ()
        cells = [c for c in cells if str(getattr(c, field, None)) in wanted]
    return cells


def listed(costs: dict[Any, float], done: Container[Any]) -> str:
    """A line for every cell, with what it is estimated to cost."""
    return "\n".join(
        f"{'done' if cell in done else '    '} {cell.name:<40} {cost:6.0f} CPU s"
        for cell, cost in costs.items()
    )


def run_cells(
    cells: list[C],
    lines: Lines[C],
    jobs: int,
    one: Callable[[C], dict[str, Any] | str],
    written: Callable[[], None],
    *,
    work: Callable[[C], float],
    told: Callable[[dict[str, Any]], str],
) -> list[str]:
    """Every cell that has no line yet, ``jobs`` at a time; what went wrong with others.

    one: computes a cell. written: called after every line. work: proportional to
    the time a cell takes. told: a result in some words.
    """
    todo = [c for c in cells if c not in lines.found]
    if len(todo) < len(cells):
        say(f"{len(cells) - len(todo)} of {len(cells)} cells are done already.")
    started, left, wrong = time.monotonic(), sum(map(work, todo)), []
    total = left
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[dict[str, Any] | str], C] = {}
        try:
            running = {pool.submit(one, cell): cell for cell in todo}
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    cell, answer = running.pop(future), future.result()
                    left -= work(cell)
                    if isinstance(answer, str):
                        wrong.append(f"{cell.name}: {answer}")
                        say(f"{cell.name} went wrong:\n{answer}")
                        continue
                    lines.add(cell, answer)
                    written()
                    rest = (time.monotonic() - started) * left / max(total - left, 1)
                    say(
                        f"[{len(cells) - len(running)}/{len(cells)}] {cell.name}: "
                        f"{_told(answer, told)}; about {rest / 60:.0f} min left"
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return wrong


def _told(result: dict[str, Any], told: Callable[[dict[str, Any]], str]) -> str:
    if "failed" in result:
        return f"ended with an error: {result['failed']}"
    return f"{told(result)}" + (f"; {result['cpu']:.0f} CPU s" if "cpu" in result else "")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
