"""How a potential travels to another process: by where it came from, never by value."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tunesmith.errors import ModelError
from tunesmith.potentials import zoo
from tunesmith.potentials.potential import Potential


@dataclass(frozen=True)
class Handle:
    """Which potential is meant: enough to load it in another process."""

    source: str
    sha256: str
    head: str | None
    dtype: str
    device: str

    def open(self) -> Potential:
        """This process's own copy, loaded once. Raises `ModelError` where it has changed."""
        if self not in _OPEN:
            potential = zoo.load(self.source, head=self.head, dtype=self.dtype, device=self.device)
            if potential.base.sha256 != self.sha256:
                raise ModelError(
                    f"{self.source} has changed while it was in use; restore the old file."
                )
            _OPEN[self] = potential
        return _OPEN[self]


#: potentials of this process, by what they are
_OPEN: dict[Handle, Potential] = {}
#: a module's weights are swapped while it runs, so one task at a time in each process
_LOCK = threading.Lock()


def handle(potential: Potential) -> Handle:
    """The handle of a potential, which `Handle.open` gives back in this process."""
    base = potential.base
    dtype = str(potential.dtype).removeprefix("torch.")
    key = Handle(base.source, base.sha256, base.head, dtype, str(potential.device))
    _OPEN[key] = potential
    return key


@contextmanager
def alone(threads: int) -> Iterator[None]:
    """For a task that uses potentials: no other such task of this process runs meanwhile.

    threads: of the process that asked for the work, which the one that does it takes over for the
    same last bits.
    """
    with _LOCK:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        yield
