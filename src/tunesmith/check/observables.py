"""What stable replicas say of a material: density, self-diffusion, first shells; as JSON values."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from pydantic import Field
from rich import box
from rich.console import Console
from rich.table import Table

from tunesmith.check.averages import block_average
from tunesmith.check.diffusion import NANO, molecules, self_diffusion
from tunesmith.check.rdf import rdf
from tunesmith.check.replicas import equilibrated
from tunesmith.check.trajectory import Trajectory
from tunesmith.contracts import Check, Examined, Health
from tunesmith.explore.md import MD
from tunesmith.words import counted

#: u/Å³ in g/cm³
DENSITY = 1.66053906660
#: ensembles whose random or damping forces change how far particles go
DAMPED = ("langevin",)
#: samples of one trajectory that g(r) is counted in: those between tell little more
_SAMPLES = 200


def density(trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
    """g/cm³ of every sample, for each trajectory."""
    return [DENSITY * t.masses.sum() / t.volumes for t in trajectories]


def particles(atoms: Atoms, species: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """What can diffuse, by name: atoms of each of ``species``; without those, molecules by formula;
    without molecules (all atoms joined by bonds) atoms of every element."""
    symbols = np.array(atoms.get_chemical_symbols())
    if not species:
        groups = molecules(atoms)
        if len(groups) > 1:
            formulas = [atoms[g].get_chemical_formula("hill") for g in groups]
            names = sorted(set(formulas))
            return {n: [g for g, f in zip(groups, formulas, strict=True) if f == n] for n in names}
    names = sorted(set(species or symbols.tolist()))
    return {n: [np.array([i]) for i in np.flatnonzero(symbols == n)] for n in names}


class _OfStable(Check):
    """Averages over the stable replicas of every member, and over the stable members."""

    needs: ClassVar[frozenset[str]] = frozenset({"start", "dynamics"})
    #: keys of what it says
    keys: ClassVar[tuple[str, ...]]
    species: tuple[str, ...] = Field((), description="elements it is said of; none: all")

    @abstractmethod
    def of_member(self, md: MD, atoms: Atoms, trajectories: list[Trajectory]) -> dict[str, Any]:
        """By its keys; what cannot be said is absent, never 0."""

    def run(self, examined: Examined) -> Health:
        """Empty without three periodic directions, and of members without a stable replica."""
        at, found = examined.dynamics, []
        for replicas in at.members:
            trajectories = equilibrated(replicas, at.equilibration)
            something = trajectories and examined.start.pbc.all()
            found.append(self.of_member(at.md, examined.start, trajectories) if something else None)
        told = [f for f, well in zip(found, at.stable, strict=True) if well and f is not None]
        over = over_members(told, self.keys) if told else {}
        values = {"members": [f or {} for f in found], "observables": over}
        return Health(f"of {counted(len(told), 'stable member')}.", None, values)


class Density(_OfStable):
    """``density_g_per_cm3``: mean and error."""

    kind: ClassVar[str] = "density"
    keys: ClassVar[tuple[str, ...]] = ("density_g_per_cm3",)

    def of_member(self, md: MD, atoms: Atoms, trajectories: list[Trajectory]) -> dict[str, Any]:
        return {self.keys[0]: _plain(asdict(block_average(density(trajectories))))}


class SelfDiffusion(_OfStable):
    """``diffusion`` by particle: value and error in 10⁻⁹ m²/s."""

    kind: ClassVar[str] = "diffusion"
    keys: ClassVar[tuple[str, ...]] = ("diffusion",)

    def of_member(self, md: MD, atoms: Atoms, trajectories: list[Trajectory]) -> dict[str, Any]:
        if md.ensemble in DAMPED:
            return {}
        groups = particles(atoms, self.species)
        return {"diffusion": {name: _diffusion(trajectories, g) for name, g in groups.items()}}


class Shells(_OfStable):
    """``shells`` by pair (position of the first maximum and minimum in Å, number of neighbours) and
    ``rdf`` by pair (r in Å, g, error)."""

    kind: ClassVar[str] = "rdf"
    keys: ClassVar[tuple[str, ...]] = ("shells",)

    def of_member(self, md: MD, atoms: Atoms, trajectories: list[Trajectory]) -> dict[str, Any]:
        names = sorted(set(self.species or atoms.get_chemical_symbols()))
        count = {n: int(np.sum(atoms.numbers == chemical_symbols.index(n))) for n in names}
        thinned = [t.every(max(1, len(t) // _SAMPLES)) for t in trajectories]
        shells, curves = {}, {}
        for a, b in combinations_with_replacement(names, 2):
            if a == b and count[a] < 2:
                continue
            pair = rdf(thinned, (a, b))
            shell = pair.first_shell()
            if shell is not None:
                shells[f"{a}-{b}"] = {
                    "maximum_A": shell.maximum,
                    "minimum_A": shell.minimum,
                    **_plain(asdict(shell.number)),
                }
            curves[f"{a}-{b}"] = {"r_A": pair.r.tolist(), "g": pair.g.tolist()}
            curves[f"{a}-{b}"] |= {"error": [_number(x) for x in pair.error]}
        return {"shells": shells, "rdf": curves}


def over_members(found: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """For several members together: the mean of their means, its statistical error and the members'
    spread (standard deviation, None for one).

    keys: of single values, and of tables of them, where what every member has counts.
    """
    joined: dict[str, Any] = {}
    for key in keys:
        if all("mean" in f.get(key, {}) for f in found):
            joined[key] = _joined([f[key] for f in found])
            continue
        names = [n for n in found[0].get(key, {}) if all(n in f[key] for f in found)]
        joined[key] = {name: _joined([f[key][name] for f in found]) for name in names}
    return joined


def show_observables(found: dict[str, Any], screen: Console) -> None:
    """As a table, where there is anything."""
    if not found:
        return
    table = Table("", "mean", "error", "members' spread", box=box.SIMPLE_HEAD)

    def row(name: str, values: dict[str, Any]) -> None:
        cells = (values[k] for k in ("mean", "error", "spread"))
        table.add_row(name, *("–" if v is None else f"{v:.4g}" for v in cells))

    if "density_g_per_cm3" in found:
        row("density (g/cm³)", found["density_g_per_cm3"])
    for name, values in found.get("diffusion", {}).items():
        row(f"self-diffusion of {name} (10⁻⁹ m²/s)", values)
    for name, values in found.get("shells", {}).items():
        row(f"first shell of {name} (atoms)", values)
    screen.print(table)


def _joined(values: list[dict[str, Any]]) -> dict[str, float | None]:
    means = np.array([v["mean"] for v in values])
    errors = np.array([np.nan if v["error"] is None else v["error"] for v in values])
    return {
        "mean": float(means.mean()),
        "error": _number(np.sqrt((errors**2).sum()) / len(values)),
        "spread": float(means.std(ddof=1)) if len(values) > 1 else None,
    }


def _diffusion(trajectories: list[Trajectory], groups: list[np.ndarray]) -> dict[str, Any]:
    result = self_diffusion(trajectories, groups=groups)
    return {
        "particles": result.n_particles,
        "mean": NANO * result.value,
        "error": _number(NANO * result.error),
        "exponent": _number(result.exponent),
        "fit_fs": list(result.fit),
    }


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    """As JSON has it: None where it is not finite."""
    return float(value) if np.isfinite(value) else None
