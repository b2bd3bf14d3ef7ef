"""Works that ask are answered together, in the same batches every time, and end together."""

import threading
import time
from collections.abc import Callable, Mapping

import pytest

from tunesmith.attack.lockstep import together


def count(n: int, pause: float = 0.0) -> Callable[[Callable[[int], int]], int]:
    """A work that asks n times."""

    def work(ask: Callable[[int], int]) -> int:
        total = 0
        for i in range(n):
            time.sleep(pause)
            total += ask(i)
        return total

    return work


def batches(pauses: list[float], width: int) -> tuple[list[list[int]], list[int], list[int]]:
    seen: list[list[int]] = []
    ends: list[int] = []

    def answer(questions: Mapping[int, int]) -> Mapping[int, int]:
        seen.append(list(questions))
        return {number: 10 * number + q for number, q in questions.items()}

    works = [count(n, pause) for n, pause in zip((1, 3, 0, 2, 4), pauses, strict=True)]
    found = together(works, answer, width, lambda number, result: ends.append(number))
    return seen, found, ends


def test_batches_do_not_depend_on_who_is_faster() -> None:
    slow, quick = [0.02, 0, 0, 0.01, 0], [0, 0.01, 0.02, 0, 0]
    seen, found, ends = batches(slow, 2)
    assert (seen, found, ends) == batches(quick, 2)
    assert found == [0, 10 * 3 + 3, 0, 30 * 2 + 1, 40 * 4 + 6]
    assert sorted(ends) == [0, 1, 2, 3, 4]
    # a freed place is taken at once: never one question alone while another work could ask
    assert seen == [[0, 1], [1, 3], [1, 3], [4], [4], [4], [4]]


def test_all_at_once_where_there_is_room() -> None:
    seen, _, _ = batches([0] * 5, 9)
    assert seen == [[0, 1, 3, 4], [1, 3, 4], [1, 4], [4]]


@pytest.mark.parametrize("where", ["work", "answer"])
def test_an_error_ends_everything(where: str) -> None:
    before = threading.active_count()

    def broken(ask: Callable[[int], int]) -> int:
        ask(0)
        if where == "work":
            raise ValueError("broken")
        return 0

    def answer(questions: Mapping[int, int]) -> Mapping[int, int]:
        if where == "answer":
            raise ValueError("broken")
        return questions

    with pytest.raises(ValueError, match="broken"):
        together([count(5), broken, count(3)], answer, 3)
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before
