"""Are these structures fit to choose from? Files of candidates beside what is labelled already."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.core import Frame
from tunesmith.data.checks import check_structures, is_isolated, symbols
from tunesmith.data.stream import Stream
from tunesmith.doctor.sets import Known, digest, fingerprint
from tunesmith.errors import DataError
from tunesmith.words import counted

#: what structures are left out as that the labelled ones hold
LABELLED = "labelled already"


@dataclass(frozen=True)
class Candidates:
    """The structures of files that may be chosen.

    numbers: (n,) of the candidates among all structures of the files. elements: theirs. copies:
    how many are copies of earlier ones. isolated: how many isolated atoms were left out; left_out:
    how many as they are among others, by the name of these.
    """

    stream: Stream
    numbers: np.ndarray
    elements: frozenset[int]
    copies: int
    isolated: int
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Frame]:
        """One after the other, without labels, from another pass over the files."""
        left = iter(self.numbers.tolist())
        here = next(left, None)
        for number, frame in enumerate(self.stream):
            if number == here:
                here = next(left, None)
                yield frame

    def read(self, rows: Sequence[int]) -> list[Frame]:
        """Candidates by their place among them, with their labels where they have any."""
        return self.stream.read([int(self.numbers[i]) for i in rows])


def look(
    stream: Stream,
    labelled: Sequence[Frame],
    known: frozenset[int] | None = None,
    *,
    others: Mapping[str, Sequence[Frame]] | None = None,
    new_elements: bool = False,
    seen: Callable[[], object] = lambda: None,
) -> Candidates:
    """Read every structure once; ``seen`` is called for each.

    known: elements of the model, None for any. Structures that are labelled already, or among the
    others, are left out and counted; one with an element that no labelled structure has is refused
    unless ``new_elements``. Raises `DataError`, naming structures.
    """
    indices = {name: Known(them) for name, them in {LABELLED: labelled, **(others or {})}.items()}
    left_out = dict.fromkeys(indices, 0)
    familiar = frozenset(z for f in labelled for z in f.atoms.numbers.tolist())
    numbers, digests = array("q"), array("q")
    elements: set[int] = set()
    isolated = 0
    new: dict[int, str] = {}
    for number, frame in enumerate(stream):
        seen()
        if is_isolated(frame):
            isolated += 1
            continue
        check_structures([frame], known)
        mark = fingerprint(frame.atoms)
        there = (k for k, index in indices.items() if index.find(frame.atoms, mark) is not None)
        if (name := next(there, None)) is not None:
            left_out[name] += 1
            continue
        here = set(frame.atoms.numbers.tolist())
        for z in here - elements - familiar:
            new[z] = frame.origin
        elements |= here
        numbers.append(number)
        digests.append(digest(frame.atoms, mark))
    if labelled and new and not new_elements:
        raise DataError(
            f"{next(iter(new.values()))}: has {symbols(new)}, which no labelled structure has; "
            "check that the files belong together, or give --new-elements if the new elements "
            "are what should be labelled."
        )
    if not numbers:
        counts = [f"{n} {name}" for name, n in left_out.items() if n or name == LABELLED]
        left = ", ".join([*counts, counted(isolated, "isolated atom")])
        raise DataError(f"the pool has no candidate ({left}); give structures to choose from.")
    copies = len(digests) - len(np.unique(digests))
    rows = np.array(numbers)
    return Candidates(stream, rows, frozenset(elements), copies, isolated, left_out)
