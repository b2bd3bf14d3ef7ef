"""Several algorithms that each wait for answers, asked together: one batch answers all of them.

Each runs in a thread of its own, between two answers; the answers are computed in the caller's
thread, when every algorithm that still runs waits for one. Which questions meet in a batch depends
on the questions alone, never on the speed of a thread.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


class _EndedError(BaseException):
    """Nobody answers any more. Not an `Exception`: no algorithm may take it for its own."""


class _Runner(Generic[Q, A, R]):
    """One algorithm in its thread; ``news`` is what it says next: a question or its end."""

    def __init__(self, work: Callable[[Callable[[Q], A]], R]) -> None:
        self.news: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[Callable[[Q], A]], R]) -> None:
        try:
            self.news.put(("result", work(self._ask)))
        except _EndedError:
            pass
        except BaseException as error:
            self.news.put(("error", error))

    def _ask(self, question: Q) -> A:
        self.news.put(("question", question))
        answer = self.answers.get()
        if isinstance(answer, _EndedError):
            raise answer
        found: A = answer
        return found


def together(
    works: Sequence[Callable[[Callable[[Q], A]], R]],
    answer: Callable[[Mapping[int, Q]], Mapping[int, A]],
    width: int,
    ended: Callable[[int, R], None] = lambda number, result: None,
) -> list[R]:
    """The results of all works, in their order; at most ``width`` of them run at a time.

    A work is called with the function it asks by. answer: questions by number of their work, in
    ascending order, to an answer for each. ended: called with each result as it comes. An error of
    a work or of ``answer`` ends all of them and is raised.
    """
    waiting = list(range(len(works)))[::-1]
    running: dict[int, _Runner[Q, A, R]] = {}
    asked: dict[int, Q] = {}
    results: dict[int, R] = {}
    try:
        while waiting or running:
            if waiting and len(running) < width:
                number = waiting.pop()
                running[number] = _Runner(works[number])
            elif silent := running.keys() - asked.keys():
                number = min(silent)
            else:
                answers = answer({number: asked[number] for number in sorted(asked)})
                asked.clear()
                for number, runner in running.items():
                    runner.answers.put(answers[number])
                continue
            kind, news = running[number].news.get()
            if kind == "question":
                asked[number] = news
                continue
            del running[number]
            if kind == "error":
                raise news
            results[number] = news
            ended(number, news)
    finally:
        for runner in running.values():
            runner.answers.put(_EndedError())
    return [results[number] for number in range(len(works))]
