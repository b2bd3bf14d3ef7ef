"""An objective's gradient by finite differences, for models that give energies and forces only.

Two-point differences over all positions and the nine components of a strain; every displaced
structure is one call of every model, whatever order they are made in.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import voigt_6_to_full_3x3_stress

from tunesmith.core import Objective, Point, Quantities
from tunesmith.errors import ModelError

#: structures → for each what the models say of it: energy (M,), forces (M, n, 3), stress (M, 3, 3)
Models = Callable[[list[Atoms]], list[Quantities]]


@dataclass(frozen=True)
class Calculators:
    """Any ASE calculators as a committee; ``Models``.

    stress: whether it is asked for. executor: where the calls are made, ``chunk`` structures at a
    time (the calculators travel with them, so they must be picklable for processes); None: here.
    """

    calculators: Sequence[Calculator]
    stress: bool = False
    executor: Executor | None = None
    chunk: int = 16

    def __post_init__(self) -> None:
        if len(self.calculators) < 2:
            raise ModelError(
                "a committee of one never disagrees, so there is nothing to attack; give several "
                "calculators."
            )

    def __call__(self, frames: list[Atoms]) -> list[Quantities]:
        """What every calculator says of every structure."""
        parts = [frames[i : i + self.chunk] for i in range(0, len(frames), self.chunk)]
        if self.executor is None:
            return [q for part in parts for q in asked(self.calculators, part, self.stress)]
        tasks = [self.executor.submit(asked, self.calculators, p, self.stress) for p in parts]
        return [q for task in tasks for q in task.result()]


def asked(calculators: Sequence[Calculator], frames: list[Atoms], stress: bool) -> list[Quantities]:
    """Energies, forces without constraints and, if asked, stresses of structures."""
    found = []
    for atoms in frames:
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        wanted = ["energy", "forces", *(["stress"] if stress else [])]
        said = []
        for calculator in calculators:
            calculator.calculate(bare, wanted, all_changes)
            own = dict(calculator.results)
            said.append(own | {"energy": own.get("free_energy", own["energy"])})
        found.append(
            Quantities(
                np.array([float(r["energy"]) for r in said]),
                np.array([r["forces"] for r in said], float),
                np.array([_full(r["stress"]) for r in said]) if stress else None,
            )
        )
    return found


def _full(stress: np.ndarray) -> np.ndarray:
    stress = np.asarray(stress, float)
    return voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress


@dataclass(frozen=True)
class Differences:
    """`Objective` and its gradient from 3n + 1 calls of the models a structure of n atoms, and
    nine more where it is periodic in three directions.

    step: Å, and of strain. central: differences to both sides, at twice the calls: the error falls
    with the step squared.
    """

    models: Models
    objective: Objective
    step: float = 1e-4
    central: bool = False

    def evaluate(self, frames: Mapping[int, Atoms]) -> dict[int, Point]:
        """The objective at every structure, all displaced ones in one batch."""
        plans = {number: [atoms, *self.displaced(atoms)] for number, atoms in frames.items()}
        said = iter(self.models([atoms for plan in plans.values() for atoms in plan]))
        points = {}
        for number, plan in plans.items():
            judged = [self.objective.judge(next(said)) for _ in plan]
            values = np.array([j.value for j in judged])
            slopes = self._slopes(values)
            n = 3 * len(frames[number])
            strain = slopes[n:].reshape(3, 3) if len(slopes) > n else np.zeros((3, 3))
            points[number] = Point(
                float(values[0]), judged[0].std, slopes[:n].reshape(-1, 3), strain
            )
        return points

    def _slopes(self, values: np.ndarray) -> np.ndarray:
        if self.central:
            ahead, behind = values[1:].reshape(2, -1)
            return (ahead - behind) / (2 * self.step)
        return (values[1:] - values[0]) / self.step

    def displaced(self, atoms: Atoms) -> list[Atoms]:
        """The structure displaced by every coordinate and, if periodic, strained; x, y, z of the
        first atom come first."""
        plan = []
        for step in (self.step, -self.step) if self.central else (self.step,):
            for i in range(3 * len(atoms)):
                moved = atoms.copy()
                moved.positions.reshape(-1)[i] += step
                plan.append(moved)
            for i in range(9 if atoms.pbc.all() else 0):
                strain = np.zeros(9)
                strain[i] = step
                deformation = np.eye(3) + strain.reshape(3, 3)
                moved = atoms.copy()
                moved.set_cell(atoms.cell.array @ deformation)
                moved.positions = atoms.positions @ deformation
                plan.append(moved)
        return plan
