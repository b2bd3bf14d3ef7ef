"""Rounds that make their own structures: frames of a committee's dynamics, attacked or as they are.

Calibrated adversarial geometry optimisation (CAGO), active-learning procedure: what `Cago` says is
where structures come from, and the objects of ``acquire`` below are what is done with them.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from pydantic import Field

from tunesmith import units
from tunesmith.contracts import FrameExplorer, FrameRule
from tunesmith.core import Settings
from tunesmith.errors import ConfigError, DataError
from tunesmith.explore.explosion import too_close
from tunesmith.explore.integrators import ENSEMBLES
from tunesmith.explore.md import MD
from tunesmith.explore.md_settings import MDSettings
from tunesmith.explore.pool import RoundsState
from tunesmith.settings import OneOf

_NPT = "npt"
#: frames of a round where none are asked for: of one system, and of each of several
_FRAMES, _FRAMES_EACH = 20, 5


class Filter(Settings):
    """Which structures are not worth a label, or their label not worth learning."""

    max_force: str = Field(
        default="40 eV/Å", description="before labelling: largest force by the committee's mean"
    )
    min_distance: float | str = Field(
        default=0.6,
        description="before it: a fraction of the sum of covalent radii, or as '0.75 Å'",
    )
    max_label_force: str = Field(
        default="30 eV/Å", description="after it: largest force of the reference"
    )

    def model_post_init(self, context: Any) -> None:
        for name in ("max_force", "max_label_force"):
            if self._parsed(name, "force") <= 0:
                raise ConfigError(f"{name}: {getattr(self, name)!r} must be over zero.")
        if isinstance(self.min_distance, float) and not 0 <= self.min_distance < 1:
            raise ConfigError(
                f"min_distance: {self.min_distance:g} must be a fraction of the sum of covalent "
                "radii under 1, or a length with its unit, as '0.75 Å'."
            )
        if isinstance(self.min_distance, str):
            self._parsed("min_distance", "length")

    def _parsed(self, name: str, dimension: str) -> float:
        return units.parse(getattr(self, name), dimension, field=name).value

    def before(self, atoms: Atoms, forces: np.ndarray) -> str | None:
        """Why a structure is not labelled, in two words; None where it is. forces: (n, 3) eV/Å, by
        the mean of the committee."""
        if isinstance(self.min_distance, float):
            close = too_close(atoms, self.min_distance, covalent_radii[atoms.numbers])
        else:
            length = self._parsed("min_distance", "length")
            close = too_close(atoms, length, np.full(len(atoms), 0.5))
        if close is not None:
            return "too close"
        large = not _largest(forces) <= self._parsed("max_force", "force")
        return "force predicted" if large else None

    def after(self, forces: np.ndarray) -> str | None:
        """Why a label of these forces is not learnt, as a clause; None where it is."""
        largest = _largest(forces)
        if largest <= self._parsed("max_label_force", "force"):
            return None
        return f"a force of {largest:.3g} eV/Å is over {self.max_label_force}"


def _largest(forces: np.ndarray) -> float:
    return float(np.linalg.norm(forces, axis=1).max())


class Cago(MDSettings, FrameExplorer):
    """Rounds from start structures on: the first from structures learnt already, then from
    molecular dynamics by the committee's mean, one run of every system a round.

    Settings of dynamics are those of ``explore.kind: md``. A run that explodes ends there, unless
    ``max_restarts`` sends it back to its start with new momenta.
    """

    kind: ClassVar[str] = "cago"
    start: tuple[str, ...] = Field(
        min_length=1, description="files of start structures, one of each system"
    )
    rounds: int = Field(8, ge=0, description="rounds of proposing, labelling and learning")
    rattled: int = Field(
        4, ge=0, description="displaced copies of each start structure that are labelled with it"
    )
    rattle: str = Field("0.05 Å", description="standard deviation of their coordinates")
    training_rounds: int = Field(
        2, ge=0, description="first rounds, from structures learnt already instead of dynamics"
    )
    training_frames: int = Field(5, ge=1, description="structures of each system in those rounds")
    frames: int | None = Field(
        None, ge=1, description="of each system in all others; null: 20 of one, 5 of several"
    )
    npt_from: int | None = Field(
        None, ge=1, description="round from which pressure is constant (npt); null: never"
    )
    filter: Filter = Field(
        default_factory=Filter, description="which structures are not worth a label"
    )
    max_restarts: int = Field(0, ge=0, description="explosions of one run before it ends there")

    @classmethod
    def fitted(cls, values: dict[str, Any]) -> dict[str, Any]:
        """As of `MDSettings`, for the ensemble and for constant pressure after it."""
        if values.get("npt_from") is None:
            return super().fitted(values)
        name = values.get("ensemble", "langevin")
        if name in ENSEMBLES and ENSEMBLES[name].stress:
            raise ConfigError(
                f"npt_from: {name!r} has constant pressure from the beginning; leave it out."
            )
        own = ENSEMBLES[name].settings if name in ENSEMBLES else {}
        later = {k: values[k] for k in ENSEMBLES[_NPT].settings if k in values and k not in own}
        first = super().fitted({k: v for k, v in values.items() if k not in later})
        given = {k: v for k, v in {**first, **later}.items() if v is not None}
        return {**first, **ENSEMBLES[_NPT].settings, **given}

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        if self._parsed("rattle", "length") <= 0:
            raise ConfigError(f"rattle: {self.rattle!r} must be over zero.")
        for number in (1, self.npt_from or 1):
            self.dynamics(number)

    def dynamics(self, number: int, temperature: str | None = None) -> MD:
        """Molecular dynamics of a round. temperature: None: as set."""
        values = {name: getattr(self, name) for name in MDSettings.model_fields}
        if self.npt_from is not None and number >= self.npt_from:
            values["ensemble"] = _NPT
        used = ENSEMBLES[values["ensemble"]].settings
        for name in {k for e in ENSEMBLES.values() for k in e.settings} - used.keys():
            values[name] = None
        if temperature is not None:
            values["temperature"] = temperature
        return MD(**values)

    def from_training(self, number: int) -> bool:
        """Whether a round begins at structures that were learnt."""
        return number <= self.training_rounds

    def frames_for(self, number: int, systems: int) -> int:
        """Structures of every system in a round."""
        if self.from_training(number):
            return self.training_frames
        return self.frames or (_FRAMES if systems == 1 else _FRAMES_EACH)

    def check(self, starts: list[Atoms], wanted: int) -> None:
        """Raise `DataError` where the dynamics of these systems cannot be, or is too short.

        wanted: structures of each system in a round.
        """
        md = self.dynamics(max(1, self.npt_from or 1))
        md.init(starts, 0)
        written = self.walkers * (md.total_steps // md.write_steps)
        if written < wanted:
            raise DataError(
                f"explore.time: {self.time} with frames every {self.write_every} makes {written} "
                f"of each system, but a round takes {wanted}; simulate longer, write more often, "
                "or lower explore.frames."
            )

    @cached_property
    def displacement(self) -> float:
        """Å, standard deviation of each coordinate of rattled copies."""
        return self._parsed("rattle", "length")

    def finished(self, state: RoundsState) -> bool:
        """Whether every round is done."""
        return state.rounds >= self.rounds

    def after(self, state: RoundsState) -> RoundsState:
        """With one more round done."""
        return RoundsState(state.rounds + 1)


class ByAttack(FrameRule):
    """Frames are attacked, and what comes of it is labelled."""

    kind: ClassVar[str] = "attack"
    attack: Annotated[Any, OneOf("acquire.attack", "force-error")] = Field(
        default=None, validate_default=True, description="how; its target is target.forces"
    )
    attackers: int | None = Field(
        None, ge=2, description="members that attack a frame of dynamics, drawn for it; null: all"
    )
    training_attackers: int | None = Field(
        3, ge=2, description="the same in the first rounds, of structures learnt already"
    )
    times: float | None = Field(
        None,
        gt=1,
        description="aim at so many times the error expected of the frames as they are, while that "
        "is over the target; null: at the target",
    )
    beyond_calibration: bool = Field(
        False, description="aim there also where the calibration is not known to hold"
    )

    @property
    def attacked(self) -> Any:
        return self.attack

    @property
    def beyond(self) -> bool:
        return self.beyond_calibration

    def check(self, members: int) -> None:
        for name in ("attackers", "training_attackers"):
            if (asked := getattr(self, name) or 0) > members:
                raise ConfigError(
                    f"acquire.{name}: {asked} of {members} members cannot attack; ask for fewer, "
                    "or for more tune.sampler.members."
                )

    def aim(self, target: float, plain: float) -> float:
        return target if self.times is None else max(target, self.times * plain)

    def several(self, *, learnt: bool) -> int | None:
        return self.training_attackers if learnt else self.attackers


class MaxUncertainty(FrameRule):
    """The frames of dynamics in which some atom's force is most uncertain: a baseline."""

    kind: ClassVar[str] = "max-uncertainty"
    candidates: int = Field(100, ge=1, description="frames of each system that are compared")

    @property
    def compared(self) -> int:
        return self.candidates


class HotMD(FrameRule):
    """Frames of hotter dynamics by chance: a baseline."""

    kind: ClassVar[str] = "hot-md"
    temperature: str = Field("500 K", description="of all dynamics, in place of explore's")

    @property
    def hotter(self) -> str:
        return self.temperature
