"""Total charge and multiplicity of a structure, under the names that data sets give them."""

import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tunesmith.errors import DataError

#: what else public sets call them; 2S+1 all of the latter
SYNONYMS = {
    "charge": ("total_charge", "system_charge", "net_charge", "molecular_charge", "Charge"),
    "multiplicity": ("spin_multiplicity", "total_spin", "Multiplicity", "mult"),
}
#: words of names that are about electrons
_WORDS = {"charge", "spin", "multiplicity", "mult", "uhf", "unpaired", "nelect"}
#: words of names that are about how something was computed
_OF_METHOD = {
    "polarized",
    "polarised",
    "channels",
    "channel",
    "orbit",
    "density",
    "cutoff",
    "mixing",
}
_KNOWN = {"charge", "multiplicity", *(name for names in SYNONYMS.values() for name in names)}


def take_electrons(info: dict[str, Any], total_z: int, origin: str) -> dict[str, str]:
    """Leave ``charge`` and ``multiplicity`` in ``info`` as Python integers, by those names alone.

    total_z: sum of the atomic numbers. Returns which other name each came from. Raises `DataError`
    for names that say different things, that could mean several, and for impossible numbers.
    """
    came: dict[str, str] = {}
    for proper, others in SYNONYMS.items():
        there = [name for name in (proper, *others) if name in info]
        values = {name: _integer(info.pop(name), name, origin) for name in there}
        if len(set(values.values())) > 1:
            said = ", ".join(f"{name}={value}" for name, value in values.items())
            raise DataError(f"{origin}: {said} say different things; keep the right one.")
        if values:
            info[proper] = next(iter(values.values()))
            if there[0] != proper:
                came[proper] = there[0]
    _refuse_unknown(info, origin)
    if info.get("multiplicity", 1) < 1:
        raise DataError(
            f"{origin}: {came.get('multiplicity', 'multiplicity')} = {info['multiplicity']} is not "
            "possible; it is 2S+1, give an integer of at least 1."
        )
    electrons = total_z - info.get("charge", 0)
    if came.get("multiplicity") == "total_spin" and (electrons + info["multiplicity"]) % 2 == 0:
        raise DataError(
            f"{origin}: total_spin={info['multiplicity']} is no 2S+1 of {electrons} electrons; "
            "give 'multiplicity' (2S+1) instead."
        )
    return came


def _refuse_unknown(info: Mapping[str, Any], origin: str) -> None:
    """A name that speaks of charge or spin and is none that is read: 'spin' is S, 2S or 2S+1."""
    for name, value in info.items():
        if not isinstance(name, str):
            continue
        words = set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))
        if name in _KNOWN or not words & _WORDS or not _is_integer(value):
            continue
        proper = "charge" if words & {"charge", "nelect"} else "multiplicity"
        if words & _OF_METHOD or value == info.get(proper):
            continue
        if proper in info and proper == "charge" and "nelect" not in words:
            raise DataError(
                f"{origin}: charge={info[proper]} and {name}={value} say different things; keep "
                "the right one, or rename the other without the word charge."
            )
        if proper in info:
            continue
        if proper == "charge":
            raise DataError(
                f"{origin}: {name!r} looks like a charge and is not read; call it 'charge' if it "
                "is the total charge in e, else rename it without the word."
            )
        raise DataError(
            f"{origin}: {name!r} does not say whether it is S, 2S or 2S+1; give 'multiplicity' "
            "(2S+1) instead, or rename it without the word if it is none."
        )


def _is_integer(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    return real and float(value).is_integer()


def _integer(value: Any, name: str, origin: str) -> int:
    if not _is_integer(value):
        raise DataError(f"{origin}: {name} = {value} is not possible; give an integer.")
    return round(float(value))
