"""Structures by their atoms' surroundings, without a model: SOAP, computed by dscribe."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import BeforeValidator, Field

from tunesmith import units
from tunesmith.core import Frame
from tunesmith.errors import ConfigError
from tunesmith.features.representation import (
    Describe,
    Network,
    Representation,
    numbers_of,
    refuse_others,
)
from tunesmith.settings import one_or_more


class SOAP(Representation):
    """Smooth overlap of atomic positions: the power spectra of all atoms, averaged ("outer").

    With n = n_max × elements, n (n + 1) / 2 × (l_max + 1) columns. Everything not named here is
    dscribe's default: Gaussian-type orbitals, sigma 1 Å. Periodic images count in directions that
    are periodic.
    """

    kind: ClassVar[str] = "soap"
    packages: ClassVar[dict[str, str]] = {"dscribe": "pip install 'tunesmith[select]'"}

    r_cut: str = Field("6 Å", description="how far an atom sees")
    n_max: int = Field(8, ge=1, description="radial functions")
    l_max: int = Field(6, ge=0, le=20, description="highest order of the angular functions")
    elements: Annotated[tuple[str, ...] | None, BeforeValidator(one_or_more)] = Field(
        None, description="that have columns; None: those of the structures given together"
    )

    def model_post_init(self, context: Any) -> None:
        # dscribe's own limit, where its Gaussians no longer reach zero
        if not units.parse(self.r_cut, "length", field="r_cut").value > 1:
            raise ConfigError(f"r_cut: {self.r_cut} is too short; use more than 1 Å.")
        numbers_of(self.elements or ())

    @property
    def needs_elements(self) -> bool:
        """Unless they are named."""
        return self.elements is None

    def for_elements(self, elements: Iterable[int]) -> Self:
        """The same with columns for these atomic numbers, unless elements are named."""
        if self.elements is not None:
            return self
        return self.model_copy(
            update={"elements": tuple(chemical_symbols[z] for z in sorted(set(elements)))}
        )

    def describer(self, network: Network | None) -> Describe:
        from dscribe.descriptors import SOAP as Descriptor

        if not self.elements:
            raise ConfigError(
                "elements: soap has a column for every pair of them, and the structures are not "
                "known beforehand; name them, as H,C,N,O."
            )
        r_cut = units.parse(self.r_cut, "length", field="r_cut").value
        known = numbers_of(self.elements)

        @cache
        def descriptor(periodic: bool) -> Any:
            return Descriptor(
                species=list(known),
                r_cut=r_cut,
                n_max=self.n_max,
                l_max=self.l_max,
                average="outer",
                periodic=periodic,
            )

        def describe(frames: list[Frame]) -> np.ndarray:
            refuse_others(frames, known, self.kind)
            rows = [descriptor(bool(f.atoms.pbc.any())).create(f.atoms) for f in frames]
            return np.stack(rows).astype(np.float32)

        return describe
