"""The backend: its models by name, its files, and how they are opened."""

from pathlib import Path

from tunesmith.core import Base
from tunesmith.errors import ModelError
from tunesmith.potentials.entries import Compute, ZooEntry
from tunesmith.potentials.file_kind import FileContent
from tunesmith.potentials.potential import Potential

PACKAGE = "eam"
IMPORTED = "tinyparts"
FILES = "an embedded-atom model of tinyparts"
#: stands in every file, so that it is known again
FORMAT = "tinyparts embedded atoms 1"
NAME = "eam:untrained"


def entries() -> list[ZooEntry]:
    """What `tunesmith models` shows."""
    untrained = "nothing yet: learns from your labels alone"
    return [
        ZooEntry((NAME,), PACKAGE, "H C N O", untrained, "MIT", True, ""),
        ZooEntry(("FILE",), PACKAGE, "its own elements", FILES, "its own", True, ""),
    ]


def answers(name: str) -> bool:
    """Whether a name is of this backend."""
    return name.partition(":")[0] == "eam"


def named(name: str, head: str | None, compute: Compute) -> Potential:
    """A model by name."""
    if name != NAME:
        raise ModelError(f"there is no model {name!r}; there is {NAME}.")
    # torch is imported where it is needed: commands that need no model do not wait for it
    from tinyparts.eam_potential import EAMPotential, untrained

    _single(head, name)
    held, digest = untrained()
    return EAMPotential(held, Base(name, digest, PACKAGE), compute)


def recognises(content: FileContent) -> bool:
    """Whether a file is of this backend: by the texts in its pickle, which is not run."""
    return FORMAT in content.words


def from_file(path: Path, head: str | None, default: str | None, compute: Compute) -> Potential:
    """A file that was recognised."""
    from tinyparts.eam_network import read
    from tinyparts.eam_potential import EAMPotential

    _single(head, str(path))
    held, digest = read(path)
    return EAMPotential(held, Base(str(path.resolve()), digest, PACKAGE), compute)


def _single(head: str | None, source: str) -> None:
    if head is not None:
        raise ModelError(f"{source} has a single head; leave model.head out.")
