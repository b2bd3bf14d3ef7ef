"""Which vectors a file of the cache holds: everything that decides them, as one name."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from ase import Atoms

from tunesmith.core import Frame, Weights
from tunesmith.data.label_row import canonical, label_key
from tunesmith.errors import DataError
from tunesmith.features.representation import Network, Representation
from tunesmith.registry import BACKENDS
from tunesmith.settings import plain

_FORMAT = 2  # of what is kept, and of how it is computed where no version says so


def key_of(
    representation: Representation,
    source: Iterable[str | Path | Atoms | Frame],
    network: Network | None,
) -> str:
    """A file name for the vectors of some structures.

    From the representation's settings, the model's weights, file, head and precision, the versions
    of the packages that compute, and the content of files or the structures themselves. Raises
    `DataError` for a file that is not there.
    """
    packages = {"tunesmith": version("tunesmith"), "numpy": version("numpy")}
    model = None
    if representation.needs_model and network is not None:
        model = _model(network)
        packages["torch"] = version("torch")
        for name in _distributions(BACKENDS.get(network.potential.base.package).IMPORTED):
            packages[name] = version(name)
    identity = {
        "format": _FORMAT,
        "representation": plain(representation),
        "model": model,
        "packages": packages | representation.versions(),
    }
    total = hashlib.sha256(canonical(identity).encode())
    for item in source:
        total.update(_digest(item).encode() + b"\n")
    return f"{representation.kind}-{total.hexdigest()[:40]}"


@cache
def _distributions(package: str) -> list[str]:
    """What is installed under the name of an import."""
    # looks into every installed distribution, which takes a second
    return packages_distributions().get(package, [])


def _model(network: Network) -> dict[str, Any]:
    base, potential = network.potential.base, network.potential
    return {
        "package": base.package,
        "sha256": base.sha256,
        "head": base.head,
        "weights": _weights(network.weights),
        "dtype": str(potential.dtype),
        "device": potential.device.type,
    }


def _weights(weights: Weights) -> str:
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def _digest(item: str | Path | Atoms | Frame) -> str:
    if not isinstance(item, str | Path):
        return label_key(item.atoms if isinstance(item, Frame) else item, {})
    path = Path(item)
    try:
        with path.open("rb") as file:
            # how a file is read depends on what it is called
            return f"{path.suffix} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from None
