"""Structures of files too large to hold: each in turn, then a few again with their labels."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from tunesmith.core import Frame
from tunesmith.data.formats import KeysUsed, choose_keys, frame_from, values_of
from tunesmith.data.images import check_file, iter_images
from tunesmith.errors import DataError


class Stream:
    """The structures of several files, numbered from 0 through all of them.

    total: how many there are; None where a file does not tell before it is read. Raises
    `DataError` for a file that is absent, empty or cut off.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        names = [path.name for path in self.paths]
        # two files of one name are told apart by their folders
        self._names = [str(p) if names.count(p.name) > 1 else p.name for p in self.paths]
        if twice := next((p for p in self.paths if self.paths.count(p) > 1), None):
            raise DataError(f"{twice}: named twice; name each file once.")
        counts = [check_file(path) for path in self.paths]
        known = [n for n in counts if n is not None]
        self.total = sum(known) if len(known) == len(counts) else None
        self._counts: list[int] = []
        self._keys: list[KeysUsed] = []

    def __iter__(self) -> Iterator[Frame]:
        """Bare structures, without labels, one in memory at a time.

        Raises `DataError` where one cannot be read, and where the labels of a file stand under
        different names.
        """
        self._counts, self._keys = [], []
        for path, name in zip(self.paths, self._names, strict=True):
            kinds: dict[frozenset[str], str] = {}
            keys, n = KeysUsed(), 0
            for n, image in enumerate(iter_images(path), 1):
                values, origin = values_of(image), f"{name}#{n - 1}"
                if (kind := frozenset(values)) not in kinds:
                    kinds[kind] = origin
                    keys = _keys_of(kinds)
                yield frame_from(image, values, origin, KeysUsed())
            self._counts.append(n)
            self._keys.append(keys)

    def read(self, numbers: Sequence[int]) -> list[Frame]:
        """The structures of these numbers, in this order, with their labels where they have any.

        After one whole pass over the structures, which counted them.
        """
        starts = [0, *accumulate(self._counts)]
        found: dict[int, Frame] = {}
        for k, path in enumerate(self.paths):
            here = sorted(i - starts[k] for i in numbers if starts[k] <= i < starts[k + 1])
            if not here:
                continue
            for i, image in zip(here, iter_images(path, set(here)), strict=True):
                origin = f"{self._names[k]}#{i}"
                found[starts[k] + i] = frame_from(image, values_of(image), origin, self._keys[k])
        return [found[int(i)] for i in numbers]


def _keys_of(kinds: dict[frozenset[str], str]) -> KeysUsed:
    """Under which keys labels stand, from the names that occur together and where they first do."""
    values = [dict.fromkeys(kind) for kind in kinds]
    return choose_keys(values, dict.fromkeys(("energy", "forces", "stress")), list(kinds.values()))
