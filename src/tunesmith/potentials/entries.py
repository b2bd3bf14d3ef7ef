"""What a backend says of its models before it is asked to load one."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tunesmith.potentials.file_kind import FileContent
from tunesmith.potentials.potential import Potential

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ZooEntry:
    """A model, or several of one kind, in words for a table.

    names: by which it is asked for; "FILE": as a file. how_to_get: what to do where it is not here.
    """

    names: tuple[str, ...]
    package: str
    elements: str
    domain: str
    licence: str
    available: bool
    how_to_get: str


@dataclass(frozen=True)
class Compute:
    """In which precision and where a potential computes."""

    dtype: "torch.dtype"
    device: "torch.device"


class Backend(Protocol):
    """What a model package is known by: a module, or any object, of the entry-point group
    ``tunesmith.backend``; ``<package>_zoo`` of our own. Importing it needs nothing of the package.

    PACKAGE: what `Base.package` is for its potentials, and the name it is registered by. IMPORTED:
    the Python package that computes, whose version decides numbers.
    FILES: what its model files are, in words as "a SevenNet checkpoint".
    """

    PACKAGE: str
    IMPORTED: str
    FILES: str

    def entries(self) -> list[ZooEntry]:
        """Every model that can be asked for by name, and whether it can be loaded here."""
        ...

    def answers(self, name: str) -> bool:
        """Whether a name is of this backend's families, known or not."""
        ...

    def named(self, name: str, head: str | None, compute: Compute) -> Potential:
        """A model by name. Raises `ModelError` for one that is not known, or not here."""
        ...

    def recognises(self, content: FileContent) -> bool:
        """Whether a file is of this backend, told from what stands in it. Files of others are no
        error, whatever they hold."""
        ...

    def from_file(
        self, path: Path, head: str | None, default: str | None, compute: Compute
    ) -> Potential:
        """A model of a file that was recognised.

        default: which of several heads is meant where ``head`` names none; None: one must be named.
        """
        ...


def installed(package: str) -> bool:
    """Whether a Python package can be imported here."""
    return find_spec(package) is not None
