"""Molecular dynamics as an explorer: `init` and `step`, with a state that can be saved to the bit."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from tunesmith.core import Settings
from tunesmith.explore.explosion import ExplosionError
from tunesmith.explore.state import Answer, State, Walker, pack, unpack

__all__ = ["MD", "Answer", "ExplosionError", "State", "Walker"]
#: (index of the walker, structure without constraints) → what drives the step
Asked = Callable[[int, Atoms], Answer]


class MD(Settings):
    """SIGNATURES ONLY, the bodies follow."""

    kind: ClassVar[str] = "md"
    start: tuple[str, ...]
    walkers: int = 1
    ensemble: str = "langevin"
    timestep: str = "0.5 fs"
    temperature: str | tuple[tuple[str, str], ...] = "300 K"
    time: str = "1 ps"
    write_every: str = "10 fs"

    @property
    def needs_stress(self) -> bool:
        raise NotImplementedError

    @property
    def write_steps(self) -> int:
        """Steps between written frames."""
        raise NotImplementedError

    @property
    def total_steps(self) -> int:
        """Steps of one walker until `time`."""
        raise NotImplementedError

    def init(self, structures: list[Atoms], seed: int) -> State:
        raise NotImplementedError

    def step(self, state: State, answer: Asked) -> State:
        raise NotImplementedError

    def time_of(self, walker: Walker) -> float:
        """fs"""
        raise NotImplementedError

    def temperature_of(self, walker: Walker) -> float:
        """K, of the kinetic energy now."""
        raise NotImplementedError

    def target_temperature(self, walker: Walker) -> float:
        """K"""
        raise NotImplementedError

    def finished(self, state: State) -> bool:
        raise NotImplementedError

    def restart(self, state: State, walker: int, good: State) -> State:
        """Walker goes back to where it is in ``good``, with new momenta from its own generator."""
        raise NotImplementedError

    def pack(self, state: State) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return pack(state)

    def unpack(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> State:
        return unpack(arrays, info)
