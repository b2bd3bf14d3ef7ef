"""Are these structures fit to choose from? Files of candidates beside what is labelled already."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.core import Frame
from tunesmith.data.checks import check_structures, is_isolated, symbols
from tunesmith.data.stream import Stream
from tunesmith.doctor.sets import Known, digest, fingerprint
from tunesmith.errors import DataError

_NAMED = 3  # frames named in a message


@dataclass(frozen=True)
class Candidates:
    """The structures of files that may be chosen.

    numbers: (n,) of the candidates among all structures of the files. elements: theirs. copies:
    how many are copies of earlier ones. isolated, labelled: structures left out, as isolated atoms
    and because they are labelled already.
    """

    stream: Stream
    numbers: np.ndarray
    elements: frozenset[int]
    copies: int
    isolated: int
    labelled: int

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
    skip_labelled: bool = False,
    new_elements: bool = False,
    seen: Callable[[], object] = lambda: None,
) -> Candidates:
    """Read every structure once; ``seen`` is called for each.

    known: elements of the model, None for any. A structure that is labelled already is refused, or
    left out with ``skip_labelled``; one with an element that no labelled structure has is refused
    unless ``new_elements``. Raises `DataError`, naming structures.
    """
    index = Known(labelled)
    familiar = frozenset(z for f in labelled for z in f.atoms.numbers.tolist())
    numbers, digests = array("q"), array("q")
    elements: set[int] = set()
    isolated = 0
    again: list[tuple[str, str]] = []
    new: dict[int, str] = {}
    for number, frame in enumerate(stream):
        seen()
        if is_isolated(frame):
            isolated += 1
            continue
        check_structures([frame], known)
        mark = fingerprint(frame.atoms)
        if (same := index.find(frame.atoms, mark)) is not None:
            again.append((frame.origin, labelled[same].origin))
            continue
        here = set(frame.atoms.numbers.tolist())
        for z in here - elements - familiar:
            new[z] = frame.origin
        elements |= here
        numbers.append(number)
        digests.append(digest(frame.atoms, mark))
    if again and not skip_labelled:
        _refuse_labelled(again, len(numbers))
    if labelled and new and not new_elements:
        raise DataError(
            f"{next(iter(new.values()))}: has {symbols(new)}, which no labelled structure has; "
            "check that the files belong together, or give --new-elements if the new elements "
            "are what should be labelled."
        )
    if not numbers:
        left = f"{len(again)} are labelled already, {isolated} are isolated atoms"
        raise DataError(f"the pool has no candidate ({left}); give structures to choose from.")
    copies = len(digests) - len(np.unique(digests))
    rows = np.array(numbers)
    return Candidates(stream, rows, frozenset(elements), copies, isolated, len(again))


def _refuse_labelled(again: list[tuple[str, str]], others: int) -> None:
    shown = ", ".join(f"{one} is {other}" for one, other in again[:_NAMED])
    more = f" and {len(again) - _NAMED} more" if len(again) > _NAMED else ""
    n = len(again)
    raise DataError(
        f"{n} of {n + others} structures of the pool {'is' if n == 1 else 'are'} labelled already "
        f"({shown}{more}); leave them out of the pool, or give --skip-labelled."
    )
