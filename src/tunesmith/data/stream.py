"""Structures of files too large to hold: each in turn, then a few again with their labels."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from tunesmith.core import Frame
from tunesmith.data.frames import Reading
from tunesmith.data.images import check_file, iter_images
from tunesmith.data.keys import QUANTITIES, KeysUsed, choose_keys, values_of
from tunesmith.data.kinds import How
from tunesmith.data.naming import expanded, told_apart


class Stream:
    """The structures of several files, numbered from 0 through all of them.

    total: how many there are; None where a file does not tell before it is read. Raises
    `DataError` for a file that is absent, named twice, empty or cut off.
    """

    def __init__(self, paths: Sequence[Path], how: How | None = None) -> None:
        self.paths, self.how = expanded(paths), how
        self._names = told_apart(self.paths)
        counts = [check_file(path, how) for path in self.paths]
        known = [n for n in counts if n is not None]
        self.total = sum(known) if len(known) == len(counts) else None
        self._numbers: list[array[int]] = []  # in each file, which may leave some out
        self._keys: list[KeysUsed] = []
        #: what people should know of each file, by its name, after one whole pass
        self.notes: dict[str, tuple[str, ...]] = {}

    def __iter__(self) -> Iterator[Frame]:
        """Bare structures, without labels, one in memory at a time.

        Raises `DataError` where one cannot be read, and where the labels of a file stand under
        different names.
        """
        self._numbers, self._keys = [], []
        for path, name in zip(self.paths, self._names, strict=True):
            kinds: dict[frozenset[str], str] = {}
            keys, notes, numbers = KeysUsed(), list[str](), array("q")
            reading = Reading(KeysUsed())
            for number, image in iter_images(path, how=self.how, notes=notes):
                values, origin = values_of(image), f"{name}#{number}"
                numbers.append(number)
                if (kind := frozenset(values)) not in kinds:
                    kinds[kind] = origin
                    keys = _keys_of(kinds)
                yield reading.frame(image, values, origin)
            self.notes[name] = (*notes, *reading.notes())
            self._numbers.append(numbers)
            self._keys.append(keys)

    def read(self, numbers: Sequence[int]) -> list[Frame]:
        """The structures of these numbers, in this order, with their labels where they have any.

        After one whole pass over the structures, which counted them.
        """
        starts = [0, *accumulate(map(len, self._numbers))]
        found: dict[int, Frame] = {}
        for k, path in enumerate(self.paths):
            here = [i for i in numbers if starts[k] <= i < starts[k + 1]]
            where = {self._numbers[k][i - starts[k]]: i for i in here}
            if not where:
                continue
            reading = Reading(self._keys[k])
            for number, image in iter_images(path, where.keys(), how=self.how):
                origin = f"{self._names[k]}#{number}"
                found[where[number]] = reading.frame(image, values_of(image), origin)
        return [found[int(i)] for i in numbers]


def _keys_of(kinds: dict[frozenset[str], str]) -> KeysUsed:
    """Under which keys labels stand, from the names that occur together and where they first do."""
    values = [dict.fromkeys(kind) for kind in kinds]
    return choose_keys(values, dict.fromkeys(QUANTITIES), list(kinds.values()))
