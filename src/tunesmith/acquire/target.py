"""The accuracy a user asks for: the one physical knob of every method."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import Field, PrivateAttr, model_validator

from tunesmith.core import Settings
from tunesmith.errors import ConfigError
from tunesmith.registry import nearest
from tunesmith.units import Quantity, parse

_ELEMENTS = {symbol: z for symbol, z in atomic_numbers.items() if z > 0}
_DEFAULT = "default"


class Target(Settings):
    """How large an error may be, and how likely a larger one.

    energy: of the whole structure, "0.5 kcal/mol". forces: the length of any atom's error vector,
    "100 meV/Å", or by element, {H: "50 meV/Å", default: "100 meV/Å"}; atoms of elements that are
    not named, where there is no default, are not judged. probability: of an error over that,
    above which a structure counts as uncertain.
    """

    energy: str | None = Field(None, description="largest energy error of the whole structure")
    forces: str | dict[str, Any] | None = Field(
        None, description="largest force error of any atom, as '100 meV/Å'; or by element"
    )
    probability: float = Field(
        0.05, gt=0, lt=1, description="of a larger error, that may be tolerated"
    )
    _energy: Quantity | None = PrivateAttr(None)
    _forces: tuple[float, ...] | None = PrivateAttr(None)  # eV/Å by atomic number

    @model_validator(mode="after")
    def _read(self) -> "Target":
        if self.energy is not None:
            self._energy = positive(self.energy, "energy", "target.energy")
        if self.forces is not None:
            self._forces = _by_number(self.forces)
        return self

    @property
    def empty(self) -> bool:
        """Whether no accuracy is asked for at all."""
        return self.energy is None and self.forces is None

    def energy_of(self, atoms: Atoms) -> float | None:
        """Largest energy error of this structure, eV; None where none is asked for.

        Raises `ConfigError` where the target is per atom: what is judged is the whole structure.
        """
        if self._energy is None:
            return None
        if self._energy.per == "atom":
            raise ConfigError(
                f"target.energy: {self.energy!r} is per atom, but the criterion is of the whole "
                f"structure; for these {len(atoms)} atoms write "
                f"'{1e3 * self._energy.value * len(atoms):.6g} meV per structure'."
            )
        return self._energy.value

    def forces_of(self, atoms: Atoms) -> np.ndarray | None:
        """Largest force error of every atom, (n,) eV/Å, inf where not judged; None if not asked."""
        return None if self._forces is None else np.array(self._forces)[atoms.numbers]


def positive(text: Any, dimension: str, field: str) -> Quantity:
    """A quantity that must be over zero. Raises `UnitError` or `ConfigError`."""
    quantity = parse(text, dimension, field=field)
    if not 0 < quantity.value < np.inf:
        raise ConfigError(f"{field}: {text!r} must be over zero.")
    return quantity


def _by_number(forces: str | dict[str, Any]) -> tuple[float, ...]:
    """Thresholds by atomic number, inf where an element is not judged."""
    named = forces if isinstance(forces, dict) else {_DEFAULT: forces}
    if not named:
        raise ConfigError("target.forces: no element is named; name some, or leave forces out.")
    values = {}
    for symbol, text in named.items():
        field = f"target.forces.{symbol}" if isinstance(forces, dict) else "target.forces"
        if symbol != _DEFAULT and symbol not in _ELEMENTS:
            raise ConfigError(
                f"{field}: there is no such element; {nearest(symbol, [*_ELEMENTS, _DEFAULT])}"
                if symbol.capitalize() in _ELEMENTS or symbol.lower() == _DEFAULT
                else f"{field}: there is no such element; write its symbol, or {_DEFAULT}."
            )
        values[symbol] = positive(text, "force", field).value
    table = [values.get(_DEFAULT, np.inf)] * (max(_ELEMENTS.values()) + 1)
    for symbol, value in values.items():
        if symbol != _DEFAULT:
            table[_ELEMENTS[symbol]] = value
    return tuple(table)
