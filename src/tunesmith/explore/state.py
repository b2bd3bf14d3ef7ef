"""Where a molecular dynamics run stands: everything its next step depends on, and nothing else.

Å, eV, eV/Å, eV/Å³ (ASE's sign), masses in u, momenta in ASE's unit (sqrt(eV u)). Arrays are never
written to once they are in a `Walker`, so states may share them.
"""

from dataclasses import dataclass, field, fields
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint


@dataclass(frozen=True)
class Answer:
    """What drives one step: energy in eV, forces (n, 3) eV/Å without constraints, stress (3, 3)
    eV/Å³ or None."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None = None


@dataclass(frozen=True)
class Walker:
    """One trajectory.

    numbers, masses (n,); positions, momenta (n, 3); cell (3, 3); pbc (3,). energy, forces, stress:
    the answer at these positions, None before the first step (stress also where nobody gave one).
    variables: the thermostat's and barostat's, by their names in ASE's integrator. rng: the
    ``bit_generator.state`` of the walker's own generator. constraints: ASE's ``todict`` of each.
    info: charge and multiplicity, where the start structure states them. start: which start
    structure it came from, and start_volume its cell's volume, Å³ (0 without a cell). steps: done
    so far. restarts: how often it went back to a good frame.
    """

    numbers: np.ndarray
    masses: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    rng: dict[str, Any]
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    variables: dict[str, np.ndarray] = field(default_factory=dict)
    constraints: tuple[dict[str, Any], ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    start: int = 0
    start_volume: float = 0.0
    steps: int = 0
    restarts: int = 0

    @property
    def answer(self) -> Answer | None:
        """The answer at the current positions, None before the first step."""
        if self.energy is None or self.forces is None:
            return None
        return Answer(self.energy, self.forces, self.stress)

    def atoms(self) -> Atoms:
        """A fresh structure with momenta; no constraints, no calculator."""
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=self.info)
        atoms.set_masses(self.masses)
        atoms.set_momenta(self.momenta)
        return atoms

    def constrained(self, atoms: Atoms) -> Atoms:
        """A copy of a structure with this trajectory's constraints."""
        found: Atoms = atoms.copy()
        found.set_constraint([dict2constraint(c) for c in self.constraints])
        return found


@dataclass(frozen=True)
class DynamicsState:
    """All walkers, and whose turn it is."""

    walkers: tuple[Walker, ...]
    turn: int = 0


#: fields of a walker that are arrays (some may be None), and those that JSON holds exactly
_ARRAYS = ("numbers", "masses", "positions", "momenta", "cell", "pbc", "forces", "stress")
_PLAIN = tuple(f.name for f in fields(Walker) if f.name not in (*_ARRAYS, "variables"))


def pack(state: DynamicsState) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and a JSON-able mapping, that together are the state to the bit."""
    arrays: dict[str, np.ndarray] = {}
    walkers = []
    for i, walker in enumerate(state.walkers):
        for name in _ARRAYS:
            if (value := getattr(walker, name)) is not None:
                arrays[f"{i}.{name}"] = value
        arrays |= {f"{i}.variables.{k}": v for k, v in walker.variables.items()}
        walkers.append({name: getattr(walker, name) for name in _PLAIN})
    return arrays, {"turn": state.turn, "walkers": walkers}


def unpack(arrays: dict[str, np.ndarray], info: dict[str, Any]) -> DynamicsState:
    """What `pack` packed. Raises `KeyError` or `TypeError` where something is missing."""
    walkers = []
    for i, plain in enumerate(info["walkers"]):
        start = f"{i}.variables."
        variables = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        plain = plain | {"constraints": tuple(plain["constraints"])}
        values: dict[str, Any] = {name: arrays.get(f"{i}.{name}") for name in _ARRAYS}
        walkers.append(Walker(variables=variables, **values, **plain))
    return DynamicsState(tuple(walkers), info["turn"])


def generator(state: dict[str, Any]) -> np.random.Generator:
    """A generator that goes on from a saved state."""
    bits = np.random.PCG64(0)
    bits.state = cast(Any, state)
    return np.random.Generator(bits)


def saved(rng: np.random.Generator) -> dict[str, Any]:
    """The state of a generator, JSON-able."""
    return dict(rng.bit_generator.state)
