"""What every representation of a structure as a vector has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar, Protocol, Self

import numpy as np
from ase.data import atomic_numbers

from tunesmith.core import Frame, Settings, Weights
from tunesmith.data.checks import symbols
from tunesmith.errors import ConfigError, DataError, MissingDependencyError, ModelError
from tunesmith.kernels import Kernel
from tunesmith.potentials.potential import Potential

#: frames to their vectors (B, d)
Describe = Callable[[list[Frame]], np.ndarray]


@dataclass(frozen=True)
class Network:
    """A potential with the one set of weights that represents structures."""

    potential: Potential
    weights: Weights


class HasNetwork(Protocol):
    """A posterior, as far as representations ask it."""

    def network(self) -> Network: ...


class Representation(Settings):
    """A rule that gives every structure a vector.

    kernel: the one it is made for. needs_model: whether it asks a posterior's network. packages:
    distribution → how to install it, of what it computes with beside the network's own.
    """

    kind: ClassVar[str]
    kernel: ClassVar[Kernel] = "cosine"
    needs_model: ClassVar[bool] = False
    packages: ClassVar[dict[str, str]] = {}

    @property
    def needs_elements(self) -> bool:
        """Whether its columns depend on which elements there are, and those are not named."""
        return False

    def for_elements(self, elements: Iterable[int]) -> Self:
        """The same with columns for these atomic numbers, where `needs_elements`.

        For sets of structures that are represented one by one and then compared.
        """
        return self

    def prepare(self, network: Network | None) -> Describe:
        """All that can be done, and refused, before there is a structure.

        Raises `ModelError` without a model that is needed, `MissingDependencyError` without a
        package that is.
        """
        self.versions()
        if not self.needs_model:
            return self.describer(None)
        if network is None:
            raise ModelError(
                f"the representation {self.kind!r} asks a model; name one, or use soap or morgan."
            )
        return self.describer(network)

    def describer(self, network: Network | None) -> Describe:
        """What `prepare` gives, for those who write a representation."""
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Versions of the packages it computes with. Raises `MissingDependencyError`."""
        found = {}
        for package, install in self.packages.items():
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                raise MissingDependencyError(
                    f"the representation {self.kind!r} needs {package}, which is not installed; "
                    f"install it with: {install}"
                ) from None
        return found


def numbers_of(names: Iterable[str]) -> tuple[int, ...]:
    """Atomic numbers of chemical symbols, sorted. Raises `ConfigError`."""
    names = tuple(names)
    if unknown := [s for s in names if atomic_numbers.get(s, 0) < 1]:
        raise ConfigError(f"elements: {unknown[0]!r} is no element; use symbols such as C.")
    return tuple(sorted({atomic_numbers[s] for s in names}))


def refuse_others(frames: list[Frame], elements: Iterable[int], kind: str) -> None:
    """Raise `DataError` for a frame with an element that a representation has no columns for."""
    known = set(elements)
    for frame in frames:
        if others := set(frame.atoms.numbers.tolist()) - known:
            raise DataError(
                f"{frame.origin}: has {symbols(others)}, but the representation {kind!r} is set up "
                f"for {symbols(known)}; name all elements, or leave the frame out."
            )
