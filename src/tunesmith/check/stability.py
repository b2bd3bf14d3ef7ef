"""What a simulation must not do if its model is to count as stable."""

from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from pydantic import Field, field_validator
from rich import box
from rich.console import Console
from rich.table import Table

from tunesmith import units
from tunesmith.check.averages import share
from tunesmith.contracts import Check, Examined, Health
from tunesmith.errors import ConfigError
from tunesmith.explore.explosion import too_close
from tunesmith.explore.integrators import ENSEMBLES
from tunesmith.explore.md import MD
from tunesmith.settings import build

#: settings of molecular dynamics that a check decides itself
_OWN = ("start", "walkers", "min_distance", "max_temperature", "max_volume_change", "max_restarts")
#: of the distance limit: what the explorer, which looks at every step, stops at
_COINCIDE = 0.05


class Stability(Check):
    """Criteria (method page 4, Stability): distances and density are looked at every so many steps;
    a number that is not finite, a temperature over the limit and, without a cell, parts that fly
    apart end a simulation at any step.
    """

    kind: ClassVar[str] = "stability"
    needs: ClassVar[frozenset[str]] = frozenset({"start", "dynamics"})
    min_distance: float | str = Field(
        0.5, description="a fraction of the sum of covalent radii, or a length as '0.4 Å'"
    )
    density: tuple[float, float] = Field(
        (0.25, 2.0), description="lowest and highest density, in units of the start's"
    )
    max_temperature: str = Field("5000 K", description="hotter is an explosion")
    every: int = Field(100, ge=1, description="steps between looks at distances and density")

    @field_validator("min_distance", mode="before")
    @classmethod
    def _as_number(cls, value: Any) -> Any:
        """A bare number given as text, as the command line gives it."""
        try:
            return float(value)
        except (TypeError, ValueError):
            return value

    def model_post_init(self, context: Any) -> None:
        if isinstance(self.min_distance, float) and not 0 < self.min_distance < 1:
            raise ConfigError(
                f"min_distance: {self.min_distance:g} must be a fraction of the sum of covalent "
                "radii between 0 and 1, or a length with its unit, as '0.4 Å'."
            )
        if self._length is not None and self._length <= 0:
            raise ConfigError(f"min_distance: {self.min_distance} must be over 0.")
        low, high = self.density
        if not 0 < low < 1 < high:
            raise ConfigError(f"density: {self.density} must enclose 1, as (0.25, 2).")

    @cached_property
    def _length(self) -> float | None:
        """Å, where the limit is a length."""
        if isinstance(self.min_distance, float):
            return None
        return units.parse(self.min_distance, "length", field="min_distance").value

    def dynamics(self, *, replicas: int = 3, **settings: Any) -> MD:
        """Molecular dynamics of ``replicas`` trajectories that these criteria end, and nothing
        stricter.

        settings: those of `MD` (explore.md), ensemble ``bussi`` where none is given, because it
        disturbs diffusion least; ``write_every`` is the time between samples. Raises `ConfigError`
        for those that the criteria decide.
        """
        for name in _OWN:
            if name in settings:
                raise ConfigError(
                    f"dynamics.{name}: a check decides it, by its own criteria and the number of "
                    "replicas; leave it out."
                )
        settings = {"ensemble": "bussi", "max_temperature": self.max_temperature} | settings
        known = ENSEMBLES.get(str(settings["ensemble"]))
        if known is not None and "max_volume_change" in known.settings:
            # twice as far as the criterion: the box must not collapse between two looks at it
            low, high = self.density
            settings["max_volume_change"] = 2 * max(1 / low, high)
        own = {"start": "given", "walkers": replicas, "min_distance": _COINCIDE, "max_restarts": 0}
        return build(MD, settings | own, "dynamics")

    def what_is_wrong(self, atoms: Atoms, start_volume: float) -> str | None:
        """Which criterion this structure breaks, as a clause; None where it breaks none.

        start_volume: Å³, of the cell at the start; 0 without three periodic directions.
        """
        if start_volume > 0:
            density = start_volume / atoms.cell.volume
            low, high = self.density
            if not low <= density <= high:
                return f"the density is {density:.3g} times that of the start"
        if self._length is None:
            assert isinstance(self.min_distance, float)
            return too_close(atoms, self.min_distance, covalent_radii[atoms.numbers])
        return too_close(atoms, self._length, np.full(len(atoms), 0.5))

    def run(self, examined: Examined) -> Health:
        """Every member's replicas, who is stable, and how sure that is."""
        at = examined.dynamics
        rows = [
            {"member": i, "stable": stable, "replicas": [_replica(r) for r in replicas]}
            for i, (stable, replicas) in enumerate(zip(at.stable, at.members, strict=True))
        ]
        of, formula = asdict(share(at.stable)), examined.start.get_chemical_formula("hill")
        values = {"stable_members": of, "members": rows}
        return Health(_verdict(of, at.md, formula), of["k"] == of["n"], values)

    def show(self, health: Health, screen: Console) -> None:
        screen.print(_members(health.values["members"]))


def _replica(replica: Any) -> dict[str, Any]:
    return {
        "stable": replica.stable,
        "wrong": replica.wrong,
        "time_fs": replica.time,
        "temperature_K": float(np.mean(replica.temperatures)),
    }


def _verdict(of: dict[str, Any], md: MD, formula: str) -> str:
    """One line: how many are stable, and how sure that is."""
    what = f"{md.walkers} replicas of {md.time} ({md.ensemble}, {formula})"
    if of["n"] == 1:
        return f"{'Stable' if of['k'] else 'Not stable'} in {what}."
    share_ = f"{100 * of['share']:.0f} ± {100 * of['error']:.0f} %"
    between = f"{100 * of['low']:.0f} to {100 * of['high']:.0f} %"
    return f"{of['k']} of {of['n']} members are stable in {what}: {share_} (95 %: {between})."


def _members(rows: list[dict[str, Any]]) -> Table:
    table = Table("member", "stable replicas", "K", "what went wrong", box=box.SIMPLE_HEAD)
    for row in rows:
        replicas = row["replicas"]
        wrong = [f"{1e-3 * r['time_fs']:.3g} ps: {r['wrong']}" for r in replicas if not r["stable"]]
        kelvin = np.mean([r["temperature_K"] for r in replicas])
        stable = f"{sum(r['stable'] for r in replicas)} of {len(replicas)}"
        table.add_row(str(row["member"]), stable, f"{kelvin:.0f}", "\n".join(wrong))
    return table
