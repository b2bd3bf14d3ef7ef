"""Units that a file declares of its own numbers (``energy_unit=hartree``): read, never ignored."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tunesmith import units
from tunesmith.errors import DataError, UnitError

#: quantity → its dimension, and the words that files call it by
_QUANTITIES = {
    "energy": ("energy", ("energy", "energies")),
    "forces": ("force", ("force", "forces", "gradient")),
    "stress": ("stress", ("stress", "virial")),
    "positions": (
        "length",
        ("position", "positions", "pos", "coord", "coords", "coordinates", "length", "distance"),
    ),
    "cell": ("length", ("cell", "lattice")),
}
#: words beside those of the quantity that change nothing of a declaration
_FILLING = {"of", "the", "total", "name", "system"}
_OWN = {name: units.BASE_UNIT[dimension] for name, (dimension, _) in _QUANTITIES.items()}
_UNIT = re.compile(r"(?:^|(?<=[_\W]))units?(?=$|[_\W])", re.IGNORECASE)
#: of all quantities at once, where they are those of this package
_ALL_OURS = ("ase", "metal", "ev", "ev,å", "ev,a", "ev/å", "ev/a", "ev_å", "ev_a", "ev-å", "ev-a")
#: other spellings of what `units` knows, in lower case
_SPELT = {
    **dict.fromkeys(("hartree", "hartrees", "eh", "ha"), "Ha"),
    **dict.fromkeys(("rydberg", "rydbergs", "ry"), "Ry"),
    **dict.fromkeys(("ev", "electronvolt", "electronvolts"), "eV"),
    **dict.fromkeys(("angstrom", "angstroms", "ang", "ångström", "å", "a"), "Å"),
    **dict.fromkeys(("bohr", "bohrs", "a0"), "bohr"),
    **{"mev": "meV", "kj": "kJ", "kcal": "kcal", "gpa": "GPa", "mpa": "MPa", "nm": "nm"},
}
_ATOMIC = {"energy": "Ha", "forces": "Ha/bohr", "positions": "bohr", "cell": "bohr"}


@dataclass(frozen=True)
class Units:
    """The units of what a frame holds, as the file writes them; None of what it does not hold."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    positions: str | None = None
    cell: str | None = None

    def factor(self, quantity: str, n_atoms: int, origin: str = "") -> float:
        """What turns the file's number into eV, eV/Å, eV/Å³ or Å. Raises `DataError`."""
        text = getattr(self, quantity) or _OWN[quantity]
        try:
            found = _parsed(text, quantity)
        except UnitError:
            raise DataError(
                f"{origin}: declares {text!r} as the unit of its {quantity}, which is not known "
                f"here; convert to {_OWN[quantity]}."
            ) from None
        return found.value * (n_atoms if found.per == "atom" else 1)

    def converted(self) -> tuple[str, ...]:
        """'energy converted from hartree' of every quantity that is not in this package's unit."""
        names = [n for n in _QUANTITIES if n != "cell" or self.cell != self.positions]
        found = ((name, getattr(self, name)) for name in names)
        return tuple(
            f"{name} converted from {text}" for name, text in found if text and _foreign(self, name)
        )

    def joined(self, other: "Units", origin: str) -> "Units":
        """Of both frames of one file. Raises `DataError`, for the other, where they differ."""
        for name in _QUANTITIES:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine and theirs and self.factor(name, 2) != other.factor(name, 2, origin):
                raise DataError(
                    f"{origin}: the unit of its {name} is {theirs}, of those before it {mine}; "
                    f"declare {name}_unit in every frame, or write one file for each."
                )
        both = {name: getattr(self, name) or getattr(other, name) for name in _QUANTITIES}
        return Units(**both)


def _foreign(units: Units, quantity: str) -> bool:
    return units.factor(quantity, 2) != 1.0


def declared(
    values: Mapping[str, Any], keys: Mapping[str, str | None], origin: str
) -> tuple[Units, set[str]]:
    """The units of a frame, as it declares them, else this package's own; and the names by which it
    does, which must not outlive the numbers they are about.

    values: all it says, by name. keys: under which names its labels are used, None for none. Raises
    `DataError` for an unknown unit, where two contradict each other, and where one label has a unit
    that is not this package's and another none.
    """
    found: dict[str, str] = {}
    names: set[str] = set()
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, str):
            continue
        plain = _apart(key)
        if not _UNIT.search(plain) or plain.lower() == "unit_cell":
            continue
        stem = re.sub(r"^of[_\W]+", "", _UNIT.sub("", plain).strip("_-. ()"))
        plain_word = any(stem.lower() in called for _, called in _QUANTITIES.values())
        if stem in values and stem not in keys.values() and not plain_word:
            continue  # of another label's
        meant = _meant(stem, value, keys, f"{origin}: {key}={value}")
        names |= {key} if meant or not stem else set()
        for quantity in meant:
            if found.setdefault(quantity, value) != value:
                raise DataError(
                    f"{origin}: declares its {quantity} in {found[quantity]!r} and in {value!r}; "
                    "keep the right one."
                )
    labels = [q for q in ("energy", "forces", "stress") if keys.get(q) in values]
    alone = "cell" in found and "positions" not in found
    if "positions" in found:
        found.setdefault("cell", found["positions"])
    there = Units(**{q: found.get(q, _OWN[q]) for q in (*labels, "positions", "cell")})
    for quantity in (*labels, "positions", "cell"):
        there.factor(quantity, 2, origin)
    if alone and _foreign(there, "cell"):
        raise DataError(
            f"{origin}: declares its cell in {found['cell']!r} and no unit of its positions; add "
            "positions_unit, as positions_unit=Å."
        )
    foreign = [q for q in labels if _foreign(there, q)]
    if foreign and (silent := next((q for q in labels if q not in found), None)):
        raise DataError(
            f"{origin}: declares its {foreign[0]} in {found[foreign[0]]!r} and no unit of its "
            f"{silent}; add {silent}_unit, as {silent}_unit={_OWN[silent]}."
        )
    return there, names


def _meant(stem: str, value: str, keys: Mapping[str, str | None], said: str) -> list[str]:
    """The quantities a declaration is of; none where it is of something else."""
    if not stem:
        if value.lower().replace(" ", "") in _ALL_OURS:
            return []
        raise DataError(
            f"{said} does not say whose units these are; write energy_unit, forces_unit and "
            "positions_unit instead."
        )
    own = [quantity for quantity in _QUANTITIES if quantity in keys and stem == keys[quantity]]
    if own:
        return own
    words = set(re.findall(r"[a-z]+", stem.lower()))
    found = [q for q, (_, called) in _QUANTITIES.items() if words & set(called)]
    if words - _FILLING - {word for q in found for word in _QUANTITIES[q][1]}:
        others = [q for q in found if value.lower() in _SPELT and _other(value, q)]
        if others:
            raise DataError(
                f"{said} may be the unit of the {others[0]} or of something else; write "
                f"{others[0]}_unit, or take it out."
            )
        return []
    return found


def _other(text: str, quantity: str) -> bool:
    """Whether a text is a unit of a quantity, and not this package's own."""
    try:
        return _parsed(text, quantity).value != 1.0
    except UnitError:
        return False


def _apart(key: str) -> str:
    """energyUnit and energyunit as energy_unit."""
    key = re.sub(r"([a-z])([A-Z])", r"\1_\2", key)
    words = "|".join(word for _, called in _QUANTITIES.values() for word in called)
    return re.sub(rf"^({words})(units?)(?![a-z])", r"\1_\2", key, flags=re.IGNORECASE)


@cache
def _parsed(text: str, quantity: str) -> units.Quantity:
    return units.parse(f"1 {_plain(text, quantity)}", _QUANTITIES[quantity][0])


def _plain(text: str, quantity: str) -> str:
    """As `units` writes it: kcal/mol/Å of kcal/mol/angstrom, eV/Å^3 of eV/A3, Ha of au."""
    if text.lower() in ("au", "a.u.", "atomic") and quantity in _ATOMIC:
        return _ATOMIC[quantity]
    text = unicodedata.normalize("NFKC", text).replace("**", "^").strip()
    text = re.sub(r"\s*/\s*", "/", text)
    text = re.sub(r"(?<=[A-Za-zÅå])3$", "^3", text)
    return re.sub(r"[A-Za-zÅåö0-9]+", lambda m: _SPELT.get(m[0].lower(), m[0]), text)
