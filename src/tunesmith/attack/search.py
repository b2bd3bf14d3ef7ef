"""Adversarial attack: move a structure until the model's expected force error is the one wanted.

Calibrated adversarial geometry optimisation (CAGO), eq. 8: L-BFGS on what `objective` says, over
the coordinates of `scaled`, within the limits of `attack_settings`. Whatever computes the objective
and its gradient is passed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

import numpy as np
from ase import Atoms
from scipy.optimize import minimize

from tunesmith.attack.attack_settings import Attack
from tunesmith.attack.lockstep import together
from tunesmith.attack.scaled import Scaled
from tunesmith.core import Point
from tunesmith.errors import DataError

Reason = Literal["on target", "stalled", "too close", "too far", "not finite", "evaluations"]
#: Å; the unit of the optimiser's variables, and with it the length of its first step over all atoms
_UNIT = 0.1
#: of the objective of a structure that is off target by the tolerance: a step that gains less, or a
#: slope by a variable that is less, is a stall
_STALL = 1e-3
#: Å; a search that must stay in a smaller box around the best structure has met its limit
_SMALLEST = 0.01


class Evaluate(Protocol):
    """What computes the objective and its gradient, of several structures by their numbers."""

    def __call__(self, frames: Mapping[int, Atoms]) -> Mapping[int, Point]: ...


@dataclass(frozen=True)
class Attacked:
    """What came of one structure.

    atoms: the structure reached, which keeps to all limits. start_std, std: expected force error,
    rms over atoms, before and after, eV/Å. off: of σ_i − δ, rms over atoms, after; largest_std: the
    largest of any atom, after. displacement: the largest of any atom, Å; strain: the cell's largest
    principal strain, 0 where it did not move. evaluations: of objective and gradient. reason: why
    it stopped.
    """

    atoms: Atoms
    start_std: float
    std: float
    off: float
    largest_std: float
    displacement: float
    strain: float
    evaluations: int
    reason: Reason

    def facts(self) -> dict[str, Any]:
        """All of it but the structure, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "atoms"}


def attack(
    frames: Sequence[Atoms],
    settings: Attack,
    evaluate: Evaluate,
    ended: Callable[[int, Attacked], None] = lambda number, found: None,
) -> list[Attacked]:
    """Attack every structure; ``settings.batch`` of them are evaluated together.

    ended: called as each is done. Raises `DataError`, naming the structure by its number, before
    anything is computed.
    """
    searches = []
    for number, atoms in enumerate(frames):
        try:
            searches.append(_Search(settings.space(atoms), settings))
        except DataError as error:
            raise DataError(f"structure {number}: {error}") from None
    return together([s.run for s in searches], evaluate, settings.batch, ended)


@dataclass(frozen=True)
class _Best:
    """A structure that keeps to all limits."""

    vector: np.ndarray
    value: float
    gradient: np.ndarray
    std: np.ndarray


class _StoppedError(Exception):
    """The search is over."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class _LimitError(Exception):
    """The optimiser asked for a structure that is not allowed."""

    def __init__(self, vector: np.ndarray, reason: Reason) -> None:
        super().__init__(reason)
        self.vector = vector.copy()
        self.reason: Reason = reason


class _Search:
    """The attack on one structure. Vectors are in units of `_UNIT`, values in those of N δ²."""

    def __init__(self, space: Scaled, settings: Attack) -> None:
        self.space, self.settings = space, settings
        self.scale = len(space.start) * settings.error**2
        self.evaluations, self.start_std = 0, np.nan
        self.best: _Best | None = None

    def run(self, ask: Callable[[Atoms], Point]) -> Attacked:
        """To its end."""

        def function(vector: np.ndarray) -> tuple[float, np.ndarray]:
            return self._value(vector, ask)

        try:
            self._value(np.zeros(len(self.space)), ask)
            reason = self._descend(function)
        except _StoppedError as stopped:
            reason = stopped.reason
        except _LimitError as limit:  # a start that cannot be predicted
            raise DataError(
                f"{self.space.start.get_chemical_formula()}: its prediction is {limit.reason}; "
                "leave the structure out."
            ) from None
        if reason == "stalled" and self._on_target(self._reached.std):
            reason = "on target"
        return self._result(reason)

    def _descend(self, function: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> Reason:
        """L-BFGS; where a step meets a limit, again from the best structure, in a smaller box."""
        reach, met = np.inf, None
        stall = _STALL * self.settings.tolerance**2
        while True:
            centre = self._reached
            box = None if met is None else [(x - reach, x + reach) for x in centre.vector]
            try:
                minimize(
                    function,
                    centre.vector,
                    jac=True,
                    method="L-BFGS-B",
                    bounds=box,
                    options={"ftol": stall, "gtol": stall, "maxfun": 10**9, "maxiter": 10**9},
                )
            except _LimitError as limit:
                met = limit.reason
                reach = np.abs(limit.vector - self._reached.vector).max() / 4
                if not reach * _UNIT >= _SMALLEST:
                    return met
                continue
            moved = np.abs(self._reached.vector - centre.vector).max()
            if met is None or moved < 0.99 * reach:
                return "stalled"
            # the box has held it back: the same again, around where it got to

    def _value(self, vector: np.ndarray, ask: Callable[[Atoms], Point]) -> tuple[float, np.ndarray]:
        """Objective and gradient at a vector, in the optimiser's units."""
        if self.best is not None and np.array_equal(vector, self.best.vector):
            return self.best.value, self.best.gradient
        atoms = self.space.atoms(_UNIT * vector)
        if (broken := self._broken(vector, atoms)) is not None:
            raise _LimitError(vector, broken)
        if self.evaluations == self.settings.evaluations:
            raise _StoppedError("evaluations")
        point = ask(atoms)
        self.evaluations += 1
        gradient = self.space.gradient(_UNIT * vector, point) * _UNIT / self.scale
        if not (np.isfinite(point.value) and np.isfinite(gradient).all()):
            raise _LimitError(vector, "not finite")
        here = _Best(vector.copy(), point.value / self.scale, gradient, point.std)
        if self.best is None:
            self.start_std = _rms(point.std)
        on_target = not self.settings.biased and self._on_target(point.std)
        if on_target or self.best is None or here.value < self.best.value:
            self.best = here
        if on_target:
            raise _StoppedError("on target")
        return here.value, here.gradient

    def _broken(self, vector: np.ndarray, atoms: Atoms) -> Reason | None:
        """The limit that a structure does not keep to."""
        if not np.isfinite(vector).all():
            return "not finite"
        if self.space.displacement(_UNIT * vector).max() > self.settings.reach:
            return "too far"
        if self.space.strain(_UNIT * vector) > self.settings.max_strain:
            return "too far"
        return None if self.settings.too_close(atoms) is None else "too close"

    def _on_target(self, std: np.ndarray) -> bool:
        """Whether L ≤ N (tolerance · δ)², without bias."""
        return self._off(std) <= self.settings.tolerance * self.settings.error

    def _off(self, std: np.ndarray) -> float:
        return _rms(std - self.settings.error)

    @property
    def _reached(self) -> _Best:
        assert self.best is not None
        return self.best

    def _result(self, reason: Reason) -> Attacked:
        best = self._reached
        vector = _UNIT * best.vector
        return Attacked(
            self.space.atoms(vector),
            self.start_std,
            _rms(best.std),
            self._off(best.std),
            float(best.std.max()),
            float(self.space.displacement(vector).max()),
            self.space.strain(vector),
            self.evaluations,
            reason,
        )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
