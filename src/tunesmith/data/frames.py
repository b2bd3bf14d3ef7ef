"""One structure of a file, with all the file says of it → a frame with its label."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from tunesmith.core import Frame, Label
from tunesmith.data.declared import Units, declared
from tunesmith.data.electrons import take_electrons
from tunesmith.data.keys import LABEL_KEYS, KeysUsed, Values, is_number, shape_of
from tunesmith.errors import DataError

_FRAME_KEYS = ("config_type", "config_weight", "weight")
_SIX = "stress of six numbers read as xx yy zz yz xz xy"


class Reading:
    """How the frames of one file are understood; remembers what it took from where.

    keys: of the labels. partial: energy or forces alone make a label, with NaN for the rest.
    constraints: whether structures keep theirs.
    """

    def __init__(self, keys: KeysUsed, partial: bool = False, constraints: bool = False) -> None:
        self.keys, self.partial, self.constraints = keys, partial, constraints
        self._units = Units()
        self._said: dict[str, None] = {}  # in the order of their coming

    def notes(self) -> tuple[str, ...]:
        """What people should know of the frames so far."""
        return (*self._units.converted(), *self._said)

    def scale(self, values: Values, n_atoms: int, origin: str) -> float:
        """What turns a frame's energies into eV."""
        units, _ = declared(values, self.keys.names, origin)
        return units.factor("energy", n_atoms, origin) if units.energy else 1.0

    def frame(self, image: Atoms, values: Values, origin: str) -> Frame:
        """A bare structure beside its label; what the labels were called leaves info and arrays.

        values: as `values_of` of the image. Raises `DataError`.
        """
        atoms, keys = image.copy(), self.keys
        atoms.calc = None
        if not self.constraints:
            atoms.set_constraint()
        units, declarations = declared(values, keys.names, origin)
        self._units = self._units.joined(units, origin)
        length, cell = (units.factor(q, len(atoms), origin) for q in ("positions", "cell"))
        if cell != 1.0:
            atoms.set_cell(atoms.cell.array * cell)
        if length != 1.0:
            atoms.positions *= length
        dropped = {*LABEL_KEYS, *_FRAME_KEYS, *keys.names.values(), *declarations}
        for store in (atoms.info, atoms.arrays):
            for key in dropped & store.keys():
                del store[key]
        came = take_electrons(atoms.info, int(atoms.numbers.sum()), origin)
        self._said |= dict.fromkeys(f"{name} from {other}" for name, other in came.items())
        _refuse_partly_occupied(atoms, origin)
        weight = _number(values.get("config_weight", values.get("weight", 1.0)), "weight", origin)
        if not weight >= 0:
            raise DataError(f"{origin}: the weight is {weight}; give a number of at least 0.")
        config_type = str(values.get("config_type", "Default"))
        label = self._label(atoms, values, units, origin)
        # ASE's own results have this order by contract
        six = keys.stress in image.info and shape_of(image.info[keys.stress]) == (6,)
        if six and label is not None and label.stress is not None:
            self._said[_SIX] = None
        return Frame(atoms, label, origin, weight, config_type)

    def _label(self, atoms: Atoms, values: Values, units: Units, origin: str) -> Label | None:
        """In eV, eV/Å and eV/Å³."""
        keys, n = self.keys, len(atoms)
        there = [key in values for key in (keys.energy, keys.forces)]
        forces = values.get(keys.forces or "")
        if forces is None and n == 1:
            forces, there[1] = np.zeros((1, 3)), there[0]
        if not (any(there) if self.partial else all(there)):
            return None
        energy, zero = np.nan, None
        if keys.energy is not None and keys.energy in values:
            scale = units.factor("energy", n, origin)
            energy = scale * _number(values[keys.energy], keys.energy, origin)
            zero_key = {"free_energy": "energy", "REF_energy": "REF_energy_zero"}.get(keys.energy)
            if zero_key in values:
                zero = scale * _number(values[zero_key], zero_key, origin)
        if forces is None:
            forces = np.full((n, 3), np.nan)
        forces = units.factor("forces", n, origin) * _array(forces, str(keys.forces), origin)
        if forces.shape != (n, 3):
            raise DataError(
                f"{origin}: {keys.forces!r} has shape {forces.shape} instead of ({n}, 3); "
                "correct the file."
            )
        stress = None
        if keys.stress is not None and keys.stress in values and atoms.pbc.all():
            given = _array(values[keys.stress], keys.stress, origin)
            stress = units.factor("stress", n, origin) * _stress(given, keys.stress, origin)
        return Label(energy, forces, stress, zero)


def _refuse_partly_occupied(atoms: Atoms, origin: str) -> None:
    """A site of a crystal (CIF) or an atom in two places (PDB) that is there in part only: ASE
    takes it for whole."""
    said = atoms.info.get("occupancy", {})
    sites = list(said.values()) if isinstance(said, dict) else []
    shares = [x for site in sites for x in (site.values() if isinstance(site, dict) else [site])]
    shares += np.ravel(atoms.arrays.get("occupancy", ())).tolist()
    if any(is_number(share) and 0 < share < 1 for share in shares):
        raise DataError(
            f"{origin}: has sites that are occupied in part, which no calculation takes; write a "
            "structure whose sites are whole."
        )


def _stress(value: np.ndarray, key: str, origin: str) -> np.ndarray:
    """(3, 3) from 3×3, nine numbers by row, or Voigt's six in ASE's order xx yy zz yz xz xy."""
    if value.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(value))
    if value.size == 9:
        return value.reshape(3, 3)
    raise DataError(
        f"{origin}: {key!r} has {value.size} numbers; give six in the order xx yy zz yz xz xy "
        "(ASE; VASP's is xx yy zz xy yz zx), nine by rows, or 3×3."
    )


def _number(value: Any, key: str, origin: str) -> float:
    if is_number(value):
        return float(value)
    raise DataError(f"{origin}: {key!r} is {value!r}, not a number; correct the file.")


def _array(value: Any, key: str, origin: str) -> np.ndarray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{origin}: {key!r} does not hold numbers only; correct the file."
        ) from None
