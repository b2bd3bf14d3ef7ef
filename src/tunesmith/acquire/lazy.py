"""Greedy choice of values that only ever fall, without looking at most of them again.

A value computed earlier bounds the value now: only candidates whose old value is at least the best
new one have to be computed again (Minoux 1978, lazy greedy).
"""

from collections.abc import Callable

import numpy as np

_FIRST = 2048  # candidates looked at together; more each time in a turn
_LEADERS = 64


def lazy_greedy(
    values: np.ndarray,
    evaluate: Callable[[np.ndarray], np.ndarray],
    take: Callable[[int], None],
    n: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """The n candidates a plain greedy choice takes, their values when taken, and how many values
    were computed on the way.

    values: (pool,) of every candidate now, overwritten; −inf keeps one out. evaluate(rows): what
    they are now, never more than before. take(row): one is chosen, values may fall.
    """
    picks, scores = np.empty(n, int), np.empty(n)
    looked = np.zeros(len(values), np.int32)  # the turn a value is of
    leaders, computed = np.empty(0, int), 0
    for turn in range(n):
        best, rows, size = -np.inf, leaders[values[leaders] > -np.inf], _FIRST
        seen = [rows]
        while turn:
            if len(rows):
                values[rows] = evaluate(rows)
                looked[rows] = turn
                computed += len(rows)
                best = max(best, values[rows].max())
            rows = np.flatnonzero(values >= best)
            rows = rows[(looked[rows] < turn) & (values[rows] > -np.inf)]
            if not len(rows):
                break
            if len(rows) > size:
                rows = np.sort(rows[np.argpartition(values[rows], -size)[-size:]])
            size *= 2
            seen.append(rows)
        picks[turn] = np.argmax(values)
        scores[turn] = values[picks[turn]]
        values[picks[turn]] = -np.inf
        take(int(picks[turn]))
        leaders = _largest(values, np.concatenate(seen) if turn else np.arange(len(values)))
    return picks, scores, computed


def _largest(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if len(rows) > _LEADERS:
        rows = rows[np.argpartition(values[rows], -_LEADERS)[-_LEADERS:]]
    return np.sort(rows)
