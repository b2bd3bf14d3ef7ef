"""The members of every cluster, farthest first."""

from dataclasses import dataclass

import numpy as np

from tunesmith.acquire.lcmd.leading_coordinates import LeadingCoordinates
from tunesmith.acquire.lcmd.nearest import Rounding

_MANY = 4  # one in so many of a list may have left


@dataclass
class _List:
    """rows: as long as they are members. nearness: their −d², rising. lines: of their images."""

    rows: np.ndarray
    nearness: np.ndarray
    lines: np.ndarray

    def cut(self, keep: np.ndarray | slice) -> None:
        self.rows, self.nearness = self.rows[keep], self.nearness[keep]
        self.lines = self.lines[keep]


class ClusterMembers:
    """Rows of each cluster in order of falling squared distance to its centre.

    A member's distance does not change, and a row that has left does not come back: lists are
    sorted once, and rows that have left are dropped when many are met. owner: of every row, kept up
    to date by the caller.
    """

    def __init__(
        self, owner: np.ndarray, leading: LeadingCoordinates | None, rounded: Rounding
    ) -> None:
        self._owner, self._leading, self._rounded = owner, leading, rounded
        self._lists: list[_List] = []
        self._reach = np.empty(0)  # d² of the first of each list
        self._lengths = np.empty(0, int)
        self._gone = np.empty(0, int)  # how many of each have left

    def append(self, rows: np.ndarray, distance: np.ndarray) -> None:
        """A new cluster of these rows at these squared distances."""
        self._lists.append(self._list(rows, distance))
        self._reach = np.append(self._reach, distance.max(initial=-1))
        self._lengths, self._gone = np.append(self._lengths, len(rows)), np.append(self._gone, 0)

    def append_all(self, distance: np.ndarray, clusters: int) -> None:
        """As many new clusters, as their owners say."""
        small = self._owner.astype(np.int16) if clusters < 2**15 else self._owner
        order = np.argsort(small, kind="stable").astype(np.int32)
        ends = np.bincount(self._owner, minlength=clusters).cumsum()
        for rows in np.split(order, ends[:-1]):
            self.append(rows, distance[rows])

    def replace(self, cluster: int, rows: np.ndarray, distance: np.ndarray) -> None:
        """Its members, at other squared distances than before."""
        self._lists[cluster] = self._list(rows, distance)
        self._reach[cluster] = distance.max(initial=-1)

    def of(self, cluster: int) -> np.ndarray:
        """All members of a cluster, the farthest first."""
        kept = self._lists[cluster]
        kept.cut(self._owner.take(kept.rows) == cluster)
        self._lengths[cluster], self._gone[cluster] = len(kept.rows), 0
        return kept.rows

    def first(self, cluster: int, within: float) -> np.ndarray:
        """Of a cluster that is not empty the farthest members, and all less than that much
        closer (squared)."""
        kept = self._lists[cluster]
        start = next(i for i, row in enumerate(kept.rows) if self._owner[row] == cluster)
        kept.cut(slice(start, None))
        self._reach[cluster] = -kept.nearness[0]
        rows = kept.rows[: kept.nearness.searchsorted(kept.nearness[0] + within, "right")]
        return np.asarray(rows[self._owner[rows] == cluster])

    def farther(self, least: np.ndarray) -> tuple[list[tuple[int, int]], int]:
        """Clusters with members farther from their centres than these squared distances, one for
        each cluster, and how long a part of the list they are at most; the sum of these."""
        clusters = np.flatnonzero(self._reach > least).tolist()
        found = [(c, int(self._lists[c].nearness.searchsorted(-least[c]))) for c in clusters]
        return found, sum(n for _, n in found)

    def within(self, parts: list[tuple[int, int]], row: int) -> np.ndarray:
        """Rows of first parts of lists, sorted, that a row may be closer to than their centre."""
        found = []
        w, b = (None, 0.0) if self._leading is None else self._leading.sought(row)
        for cluster, n in parts:
            kept = self._lists[cluster]
            if w is None:
                found.append(kept.rows[:n])
            else:
                found.append(kept.rows.take((kept.lines[:n] @ w < b).nonzero()[0]))
        if not found:
            return np.empty(0, np.int32)
        rows = np.concatenate(found)
        of = np.repeat([cluster for cluster, _ in parts], [len(f) for f in found])
        return np.sort(rows[self._owner.take(rows) == of])

    def left(self, lost: np.ndarray) -> None:
        """So many rows have left each of the clusters, (clusters,)."""
        self._gone += lost[: len(self._gone)]
        for cluster in np.flatnonzero(_MANY * self._gone > self._lengths).tolist():
            self.of(cluster)

    def _list(self, rows: np.ndarray, distance: np.ndarray) -> _List:
        nearness = -distance
        order = np.argsort(nearness)
        rows, nearness = rows[order].astype(np.int32, copy=False), nearness[order]
        if self._leading is None:
            return _List(rows, nearness, np.empty((len(rows), 0), np.float32))
        return _List(rows, nearness, self._leading.lines(rows, self._rounded.most(-nearness)))
