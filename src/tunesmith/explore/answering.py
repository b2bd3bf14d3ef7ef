"""The calculator of one step: it asks for each new structure once, and only for sane ones."""

from collections.abc import Callable

import numpy as np
from ase import Atoms

from tunesmith.errors import DataError
from tunesmith.explore.explosion import ExplosionError, Limits, what_is_wrong
from tunesmith.explore.state import Answer, Walker

#: (index of the walker, structure without constraints or calculator) → what drives the step
Asked = Callable[[int, Atoms], Answer]


class Answering:
    """What ASE's integrators need of a calculator, for one step of walker number ``index``."""

    def __init__(
        self, index: int, walker: Walker, ask: Asked, limits: Limits, stress: bool
    ) -> None:
        self.index, self.walker, self.ask = index, walker, ask
        self.limits, self.stress = limits, stress
        self.known = walker.answer
        self.positions, self.cell = walker.positions, walker.cell

    def at(self, atoms: Atoms) -> Answer:
        """The answer for this structure, asked for if it is not the last one.

        Raises `ExplosionError` before asking where the structure makes no sense, and after where
        the answer is not finite.
        """
        same = np.array_equal(atoms.positions, self.positions)
        if self.known is not None and same and np.array_equal(atoms.cell.array, self.cell):
            return self.known
        clean = Atoms(
            atoms.numbers,
            atoms.positions,
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            info=dict(self.walker.info),
        )
        wrong = what_is_wrong(clean, self.limits, self.walker.start_volume)
        if wrong is not None:
            raise ExplosionError(self.index, wrong, clean)
        # copies: what the caller does to its arrays afterwards must not reach the state
        self.positions, self.cell = clean.positions.copy(), clean.cell.array.copy()
        self.known = self._checked(self.ask(self.index, clean), clean)
        return self.known

    def _checked(self, answer: Answer, atoms: Atoms) -> Answer:
        forces = np.array(answer.forces, float)
        stress = None if answer.stress is None else np.array(answer.stress, float)
        if forces.shape != (len(atoms), 3) or (stress is not None and stress.shape != (3, 3)):
            raise ValueError(f"forces {forces.shape} for {len(atoms)} atoms, or stress not (3, 3)")
        if self.stress and stress is None:
            raise DataError("explore.ensemble: npt needs a stress, and the model gives none.")
        parts = (answer.energy, forces) if stress is None else (answer.energy, forces, stress)
        if not all(np.isfinite(part).all() for part in parts):
            raise ExplosionError(self.index, "the forces on it are not finite numbers", atoms)
        return Answer(float(answer.energy), forces, stress)

    # what ASE calls

    def get_forces(self, atoms: Atoms) -> np.ndarray:
        return self.at(atoms).forces.copy()

    def get_stress(self, atoms: Atoms) -> np.ndarray:
        stress = self.at(atoms).stress
        assert stress is not None  # seen to where it came in
        return stress.copy()
