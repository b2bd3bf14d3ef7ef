"""Physical quantities as a user writes them: a number, a unit and, where it matters, "per what".

Inside the package everything is eV, Å, fs, K; a text such as ``"0.5 kcal/mol"`` is turned into
those units once, at the boundary.
"""

import re
from dataclasses import dataclass

from ase import units as u

from tunesmith.errors import UnitError

_KCAL, _KJ = u.kcal / u.mol, u.kJ / u.mol
_ENERGY = {"eV": 1.0, "meV": 1e-3, "kcal/mol": _KCAL, "kJ/mol": _KJ, "Ha": u.Ha, "Ry": u.Ry}
_LENGTH = {"Å": 1.0, "A": 1.0, "Angstrom": 1.0, "bohr": u.Bohr, "Bohr": u.Bohr, "nm": 10.0}

#: unit name → its value in the package's own unit, per dimension
UNITS: dict[str, dict[str, float]] = {
    "energy": _ENERGY,
    "length": _LENGTH,
    "force": {f"{e}/{x}": a / b for e, a in _ENERGY.items() for x, b in _LENGTH.items()},
    "stress": {
        "GPa": u.GPa,
        "MPa": 1e-3 * u.GPa,
        "kbar": 0.1 * u.GPa,
        "bar": 1e-4 * u.GPa,
        "atm": 1.01325e-4 * u.GPa,
        "eV/Å^3": 1.0,
        "eV/A^3": 1.0,
    },
    "time": {"fs": 1.0, "ps": 1e3, "ns": 1e6},
    "rate": {"/fs": 1.0, "/ps": 1e-3, "1/fs": 1.0, "1/ps": 1e-3, "fs^-1": 1.0, "ps^-1": 1e-3},
    "temperature": {"K": 1.0},
    "wall time": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
}
#: the package's own unit of each dimension, as shown to users
BASE_UNIT = {
    "energy": "eV",
    "length": "Å",
    "force": "eV/Å",
    "stress": "eV/Å^3",
    "time": "fs",
    "rate": "/fs",
    "temperature": "K",
    "wall time": "s",
}
#: of anything, in the package's own unit: no simulation is as long, no structure as large
_MOST = 1e12
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_PER = re.compile(r"(.*?)\s*(?:/|\bper\s+)\s*(atom|structure)")


@dataclass(frozen=True)
class Quantity:
    """A value in the package's own unit; ``per`` is "atom", "structure" or None (not said)."""

    value: float
    per: str | None = None


def parse(text: str, dimension: str, *, field: str = "value") -> Quantity:
    """Read ``"20 meV per atom"`` as a quantity of ``dimension`` (a key of `UNITS`).

    Raises `UnitError` when the number or the unit is missing, unknown or of another dimension.
    """
    table = UNITS[dimension]
    example = f"'1 {BASE_UNIT[dimension]}'"
    match = _NUMBER.fullmatch(str(text))
    if match is None or not match[2]:
        raise UnitError(
            f"{field}: {text!r} needs a number and a unit of {dimension}, as {example}."
        )
    unit, per = match[2], None
    if dimension == "energy" and (found := _PER.fullmatch(unit)):
        unit, per = found[1], found[2]
    unit = unit.replace("Å³", "Å^3")
    if dimension == "rate":
        unit = unit.replace("/ ", "/")  # as people write it: 0.01 / fs
    if unit not in table:
        known = ", ".join(list(table)[:8])
        raise UnitError(f"{field}: unknown unit {unit!r} of {dimension}; use one of {known}.")
    value = float(match[1]) * table[unit]
    if not abs(value) <= _MOST:
        raise UnitError(
            f"{field}: {text!r} is more than {_MOST:.0e} {BASE_UNIT[dimension]}; give less."
        )
    return Quantity(value, per)
