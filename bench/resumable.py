"""Cells of a long bench: each computed in a process of its own, kept as a line of a file when it is
done, so that the same command goes on where it was stopped."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

#: a frozen dataclass of plain values with a ``name``
C = TypeVar("C", bound=Any)


def child(script: Path, step: str, **arguments: Any) -> dict[str, Any] | str:
    """A step in a process of its own, one thread: its answer, or the end of what it complained."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, str(script), step, json.dumps(arguments)]
    quiet = step == "cell"
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
        env=os.environ | one_thread,
    )
    if done.returncode:
        return "\n".join((done.stderr or "").splitlines()[-8:]) or f"exit code {done.returncode}"
    return dict(json.loads(done.stdout.splitlines()[-1]))


def needed(script: Path, step: str, **arguments: Any) -> dict[str, Any]:
    """As `child`, and without its answer there is no going on."""
    answer = child(script, step, **arguments)
    if isinstance(answer, str):
        sys.exit(f"{script.name} {step} failed: {answer}")
    return answer


class Lines(Generic[C]):
    """A file of finished cells, one JSON object a line, each with the conditions it was made in."""

    def __init__(self, path: Path, conditions: dict[str, Any], kind: type[C]) -> None:
        self.path, self.conditions = path, conditions
        self.found: dict[C, dict[str, Any]] = {}
        text = path.read_text() if path.exists() else ""
        self._begin = "\n" if text and not text.endswith("\n") else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a kill tore it; that cell is done again
            if entry["conditions"] == conditions:
                self.found[kind(**entry["cell"])] = entry["result"]

    def add(self, cell: C, result: dict[str, Any]) -> None:
        self.found[cell] = result
        entry = {"cell": asdict(cell), "conditions": self.conditions, "result": result}
        with self.path.open("a") as out:
            out.write(self._begin + json.dumps(entry) + "\n")
        self._begin = ""


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
    the time a cell takes. told: one line of a result.
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
                        f"[{len(cells) - len(running)}/{len(cells)}] {cell.name}: {told(answer)}; "
                        f"about {rest / 60:.0f} min left"
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return wrong


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
