"""CHGNet's models by name: those inside the installed package, checked before they are read."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tunesmith.core import Base
from tunesmith.errors import MissingDependencyError, ModelError
from tunesmith.potentials.entries import Compute, ZooEntry, installed
from tunesmith.potentials.file_kind import FileContent
from tunesmith.potentials.potential import Potential
from tunesmith.potentials.trust import sha256
from tunesmith.registry import nearest

PACKAGE = "chgnet"
IMPORTED = "chgnet"
FILES = "a CHGNet checkpoint"
INSTALL = "pip install 'tunesmith[chgnet]'"
#: what chgnet itself loads where no version is named
DEFAULT = "0.3.0"


@dataclass(frozen=True)
class _Version:
    """A model inside chgnet's wheel: its file below ``pretrained``, and the file's sha256."""

    file: str
    sha256: str
    elements: str
    domain: str


VERSIONS = {
    "0.3.0": _Version(
        "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
        "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
        "89 elements",
        "crystals, PBE+U (MPtrj)",
    ),
    "0.2.0": _Version(
        "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
        "ef624f78b6db9d315b4ef256f1bb3207449924191b91720dc17d3f60c5df980e",
        "89 elements",
        "crystals, PBE+U (MPtrj); older",
    ),
    "r2scan": _Version(
        "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
        "88 elements",
        "crystals, r2SCAN (MP-r2SCAN)",
    ),
}
NAMES = tuple(f"chgnet:{version}" for version in VERSIONS)


def entries() -> list[ZooEntry]:
    """The models inside the wheel, and any file."""
    here = installed(IMPORTED)
    lacking = "" if here else INSTALL
    named = [
        ZooEntry((f"chgnet:{name}",), PACKAGE, v.elements, v.domain, "BSD", here, lacking)
        for name, v in VERSIONS.items()
    ]
    file = ZooEntry(
        ("FILE",),
        PACKAGE,
        "its own elements",
        "any CHGNet checkpoint; runs no code, needs no trust",
        "its own",
        here,
        lacking,
    )
    return [*named, file]


def answers(name: str) -> bool:
    """Names that start as CHGNet's do."""
    return name.partition(":")[0] == "chgnet"


def named(name: str, head: str | None, compute: Compute) -> Potential:
    """A model of the installed package; "chgnet" alone is the one that chgnet loads unasked.

    Raises `ModelError` for an unknown name, and for a file that is not the one it was published as.
    """
    version = VERSIONS.get(name.partition(":")[2] if ":" in name else DEFAULT)
    if version is None:
        raise ModelError(f"there is no model {name!r}; {nearest(name, list(NAMES))}")
    full = name if ":" in name else f"chgnet:{DEFAULT}"
    path = _folder() / "pretrained" / version.file
    if not path.is_file() or sha256(path) != version.sha256:
        raise ModelError(
            f"{full}: {path} is not the file that chgnet was published with; reinstall chgnet by "
            "`pip install --force-reinstall chgnet`."
        )
    return _loaded(path, full, head, compute)


def recognises(content: FileContent) -> bool:
    """A dictionary with the keys of chgnet's checkpoints."""
    return content.words >= {"model", "model_args", "state_dict"}


def from_file(path: Path, head: str | None, default: str | None, compute: Compute) -> Potential:
    """A checkpoint, which can hold no code and has one head. Raises as `chgnet_files.load`."""
    return _loaded(path, str(path.resolve()), head, compute)


def _loaded(path: Path, source: str, head: str | None, compute: Compute) -> Potential:
    if head is not None:
        raise ModelError(f"{source} has a single head; leave model.head out.")
    from tunesmith.potentials.chgnet import chgnet_files
    from tunesmith.potentials.chgnet.chgnet_potential import CHGNetPotential

    checkpoint, digest = chgnet_files.load(path)
    base = Base(source, digest, PACKAGE)
    return CHGNetPotential(checkpoint, base, dtype=compute.dtype, device=compute.device)


def _folder() -> Path:
    """Where chgnet is installed, without importing it."""
    found = find_spec(IMPORTED)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(f"CHGNet models need chgnet; install it with `{INSTALL}`.")
    return Path(next(iter(found.submodule_search_locations)))
